from __future__ import annotations

import sys
from types import ModuleType

from avloc.errors import AvlocError


def test_generators_join_by_name_and_missing_ones_are_left_out(monkeypatch):
    import mouth_forgers

    def load_generator(name, folder):
        if name == "transposed-generator":
            raise AvlocError("no weights")
        return f"{name} of {folder.name}"

    module = ModuleType("mouth_generators")
    module.GENERATORS, module.load_generator = ("nearest-generator", "transposed-generator"), load_generator
    module.__spec__ = object()
    monkeypatch.setitem(sys.modules, "mouth_generators", module)
    lines = []
    forgers = mouth_forgers.load_forgers(lines.append)
    assert [*forgers] == ["low-resolution", "blurred", "averaged", "coded", "nearest-generator"]
    assert forgers["nearest-generator"] == "nearest-generator of weights"
    assert lines == ["forger transposed-generator is left out: no weights"]

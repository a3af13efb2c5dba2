from __future__ import annotations

from avloc.errors import AvlocError


def test_generators_join_by_name_and_missing_ones_are_left_out(monkeypatch):
    from forging import mouth_forgers

    def load_generator(name, folder):
        if name == "transposed-generator":
            raise AvlocError("no weights")
        return f"{name} of {folder.name}"

    monkeypatch.setattr(mouth_forgers, "load_generator", load_generator)
    lines = []
    forgers = mouth_forgers.load_forgers(lines.append)
    assert [*forgers] == ["low-resolution", "blurred", "averaged", "coded", "nearest-generator"]
    assert forgers["nearest-generator"] == "nearest-generator of weights"
    assert lines == ["forger transposed-generator is left out: no weights"]


def test_weights_of_both_generators_are_there():
    from forging import mouth_forgers
    from forging.forgers import NEURAL

    lines = []
    assert mouth_forgers.load_forgers(lines.append).keys() >= {name for name in NEURAL if name.endswith("generator")}
    assert not lines

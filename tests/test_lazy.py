from __future__ import annotations

import sys
import types

import pytest

from avloc.lazy import load


@pytest.fixture
def package():
    module = types.ModuleType("avloc_lazy_example")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def test_a_name_is_imported_once_and_kept(package):
    value = load(package.__name__, "OrderedDict", {"OrderedDict": "collections"})
    assert value is sys.modules["collections"].OrderedDict
    assert package.OrderedDict is value


def test_other_names_are_attribute_errors(package):
    with pytest.raises(AttributeError, match="module 'avloc_lazy_example' has no attribute 'odd'"):
        load(package.__name__, "odd", {"OrderedDict": "collections"})
    assert not hasattr(package, "odd")

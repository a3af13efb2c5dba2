from __future__ import annotations

import subprocess
import sys

import pytest

import avloc.models


@pytest.mark.parametrize("name", avloc.models.__all__)
def test_public_names_exist(name):
    assert getattr(avloc.models, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'avloc.models' has no attribute 'odd'"):
        _ = avloc.models.odd


def test_import_does_not_load_torch():
    code = "import sys, avloc.models; print('torch' in sys.modules, dir(avloc.models) == sorted(avloc.models.__all__))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "True"]

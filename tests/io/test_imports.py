from __future__ import annotations

import importlib
import sys

import pytest

from avloc.errors import AvlocError
from avloc.io.imports import import_dotted


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder that is not on `sys.path` yet; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    importlib.invalidate_caches()
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_current_folder_is_appended_once(folder):
    (folder / "avloc_test_module.py").write_text("class A: pass\nclass B: pass\n")
    assert import_dotted("avloc_test_module.A", "a class").__name__ == "A"
    assert import_dotted("avloc_test_module.B", "a class").__name__ == "B"
    assert sys.path.count(str(folder)) == 1
    assert sys.path[-1] == str(folder)


def test_module_in_a_package_of_the_current_folder(folder):
    (folder / "avloc_test_package").mkdir()
    (folder / "avloc_test_package" / "inner.py").write_text("VALUE = 7\n")
    assert import_dotted("avloc_test_package.inner.VALUE", "a number") == 7


def test_folder_without_the_module_stays_off_the_path(folder):
    with pytest.raises(AvlocError, match="cannot be imported"):
        import_dotted("avloc_test_missing.Name", "a class")
    assert str(folder) not in sys.path


def test_installed_module_keeps_the_folder_off_the_path(folder):
    (folder / "avloc").mkdir()
    assert import_dotted("avloc.errors.AvlocError", "a class") is AvlocError
    assert str(folder) not in sys.path


def test_folder_named_datasets_shadows_nothing(folder, tmp_path_factory):
    installed = tmp_path_factory.mktemp("installed")
    for place, value in ((installed, "installed"), (folder, "current folder")):
        (place / "datasets").mkdir()
        (place / "datasets" / "__init__.py").write_text(f"PLACE = {value!r}\n")
    sys.path.insert(0, str(installed))
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "datasets"}
    try:
        assert import_dotted("datasets.PLACE", "a text") == "installed"
    finally:
        sys.modules.pop("datasets", None)
        sys.modules.update(saved)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("avloc_test_missing.Name", "ModuleNotFoundError: No module named 'avloc_test_missing'"),
        ("collections.NoSuchName", "AttributeError: module 'collections' has no attribute 'NoSuchName'"),
        ("avloc_test_syntax.Name", "SyntaxError: "),
        ("avloc_test_error.Name", "ZeroDivisionError: first second"),
    ],
)
def test_error_names_path_expectation_and_cause(folder, path, reason):
    (folder / "avloc_test_syntax.py").write_text("class\n")
    (folder / "avloc_test_error.py").write_text("raise ZeroDivisionError('first\\nsecond')\n")
    with pytest.raises(AvlocError) as caught:
        import_dotted(path, "a subclass of Extractor")
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be imported, expected a subclass of Extractor ({reason}")
    assert "\n" not in message


@pytest.mark.parametrize("path", ["", "name", ".name", "package.", "a..b", "../a.b", "a b.c"])
def test_malformed_path_is_an_error(path):
    with pytest.raises(AvlocError, match="expected the dotted path of a class, like package.module.Name"):
        import_dotted(path, "a class")


@pytest.mark.parametrize("path", [".x", "x.", "..", ".", "a..b", "a b.c", "x"])
def test_what_is_no_dotted_path_is_one_line(path):
    with pytest.raises(AvlocError, match="expected the dotted path of a class, like package.module.Name") as error:
        import_dotted(path, "a class")
    assert "\n" not in str(error.value)

from __future__ import annotations

import sys

import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.speech.installed import installed_file


def test_a_file_is_found_without_running_the_package(tmp_path, monkeypatch):
    for folder in ("avloc_plain", "avloc_space/part"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").write_text("raise SystemError('was run')")
        (tmp_path / folder / "w.pt").write_text("x")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_file("e", "avloc_plain", "w.pt", "r") == str(tmp_path / "avloc_plain" / "w.pt")
    assert installed_file("e", "avloc_space.part", "w.pt", "r") == str(tmp_path / "avloc_space" / "part" / "w.pt")
    assert "avloc_space.part" not in sys.modules


@pytest.mark.parametrize("package", ["avloc_none", "avloc_none.part"])
def test_a_missing_package_is_named_with_the_cure(package):
    with pytest.raises(
        AvlocError, match=r"extractor e: its weights come with the package r, .* --no-deps r\), or give"
    ):
        installed_file("e", package, "w.pt", "r")

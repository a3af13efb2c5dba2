from __future__ import annotations

from pathlib import Path

from avloc.feature_extraction.job.engines.units import absolute_path


def test_only_existing_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").touch()
    assert absolute_path("w.pt") == absolute_path(Path("w.pt")) == str(tmp_path / "w.pt")
    assert absolute_path("microsoft/wavlm-base") == "microsoft/wavlm-base"
    assert absolute_path(3) == 3

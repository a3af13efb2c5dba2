from __future__ import annotations

import re
import subprocess
import sys

import pytest


def test_peak_memory_is_that_of_the_command_alone():
    from evidence import run_measured

    small = run_measured([sys.executable, "-c", "pass"])
    large = run_measured([sys.executable, "-c", "x = b'x' * 200_000_000"])
    assert large.peak_gb - small.peak_gb == pytest.approx(0.2, abs=0.03)
    assert small.seconds > 0
    with pytest.raises(subprocess.CalledProcessError):
        run_measured([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_small_form_fuses_and_scores(tmp_path, capsys, monkeypatch):
    import evidence

    monkeypatch.setattr(evidence, "FITTED_CLIPS", 24)
    options = ["--fused-clips", "30", "--rows", "12", "--scored-clips", "50", "--repeats", "1"]
    evidence.main([*options, "--folder", str(tmp_path)])
    text = capsys.readouterr().out
    assert "50 clip scores" in text
    assert "2 files of 30 clips × 12 rows" in text
    assert re.search(r"peak     0\.\d\d GB", text)
    assert not (tmp_path / "fused.json").exists()

"""The page on augmentation: its code runs, its recipe is read, and its tables name every augmentation and parameter."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avloc.augment import read_recipe
from avloc.augment.catalog import PICTURE, SOUND
from avloc.augment.sound.codecs import CODECS

TEXT = (Path(__file__).parents[2] / "docs" / "augment.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", PYTHON)
def test_code_runs_without_torch(code, tmp_path):
    check = "\nimport sys\nassert 'torch' not in sys.modules"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + check], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr


def test_the_recipe_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("RIRS_NOISES/simulated_rirs/a.wav", "musan/noise/b.wav"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "data" / name, np.ones(160), 16_000)
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe)
    steps = read_recipe("recipe.yaml")
    assert len(steps.audio) == 4
    assert len(steps.visual) == 2


def test_tables_name_every_augmentation_parameter_and_codec():
    rows = [line.split("|")[1:3] for line in TEXT.splitlines() if line.startswith("| `")]
    listed = {name for names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert listed == {*SOUND, *PICTURE}
    for names, parameters in rows:
        fields = {f.name for name in re.findall(r"`(\w+)`", names) for f in dataclasses.fields((SOUND | PICTURE)[name])}
        assert set(re.findall(r"`(\w+)`", parameters)) == fields - {"level"}
    assert all(f"`{codec}`" in TEXT for codec in CODECS)

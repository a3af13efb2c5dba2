"""Clips whose names are not UTF-8, have line ends or terminal escapes, through every verb that takes clips."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest

from avloc.cli.main import main

NOT_UTF8 = os.fsdecode(b"caf\xe9 \xff.mp4")
ODD_NAMES = ("a:b.mp4", "two\nlines\x1b[2J.mp4", NOT_UTF8)
SHOWN = (r"two\nlines\x1b[2J.mp4", r"caf\udce9 \udcff.mp4")


@pytest.fixture
def checkpoint(tmp_path):
    """An untrained network on logspec and residual_grid."""
    import torch

    from avloc.core.descriptions import TrainingContext
    from avloc.feature_extraction.extractors.catalog import build_extractor
    from avloc.models import BoundaryTransformer
    from avloc.models.checkpoint import write_checkpoint

    torch.manual_seed(0)
    audio, visual = (build_extractor(name, {}).describe() for name in ("logspec", "residual_grid"))
    described = (audio, replace(visual, decoder="pyav"))
    model = BoundaryTransformer(audio_dim=described[0].dim, visual_dim=described[1].dim, width=8, heads=2, levels=2)
    write_checkpoint(tmp_path / "odd.ckpt", model, TrainingContext(hop_s=0.04, extractors=described))
    return tmp_path / "odd.ckpt"


def test_odd_names_pass_every_verb(tmp_path, frames, beep, checkpoint, capsys):
    from avloc.datasets.synthetic.encode import write_mp4

    root, out, store = tmp_path / "clips", tmp_path / "out", tmp_path / "store"
    write_mp4(tmp_path / "clip.mp4", frames, beep)
    root.mkdir()
    for name in ODD_NAMES:
        shutil.copy(tmp_path / "clip.mp4", root / name)
    dataset = ["--dataset", "folder", "--root", str(root)]
    runs = {
        "data info": ([*dataset], 0),
        "data check": ([*dataset, "--workers", "1", "--decode"], 1),
        "data sample": ([*dataset, "--out", str(tmp_path / "sheet.png")], 0),
        "extract": ([*dataset, "--store", str(store), "--extractors", "logspec,residual_grid", "--workers", "1"], 0),
        "store ls": ([str(store)], 0),
        "store verify": ([str(store)], 0),
        "predict": (
            [*dataset, "--checkpoint", str(checkpoint), "--store", str(store), "--out", str(out / "p.json")],
            0,
        ),
        "submit": ([str(out / "p.json"), "--durations", str(store)], 0),
        "localize": ([str(root), "--checkpoint", str(checkpoint), "--out", str(out / "clips")], 0),
    }
    printed = {}
    for verb, (words, code) in runs.items():
        assert main([*verb.split(), *words]) == code, (verb, capsys.readouterr())
        printed[verb] = "".join(capsys.readouterr())
        assert all(line.isprintable() for line in printed[verb].replace("\r", "").split("\n")), verb
        assert "Traceback" not in printed[verb]
    assert all(f"name: {name}" in printed["data check"] for name in SHOWN)
    predictions = json.loads((out / "p.json").read_text(encoding="utf-8"))
    assert sorted(predictions) == sorted(ODD_NAMES)
    assert all(predictions.values())
    results = [json.loads(path.read_text(encoding="utf-8")) for path in (out / "clips").rglob("*.json")]
    assert sorted(os.path.basename(result["file"]) for result in results if "file" in result) == sorted(ODD_NAMES)

"""The page docs/extend.md, followed to the letter in an empty folder: own extractor, dataset and network, the whole way."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from avloc.cli.main import main
from avloc.datasets import read_records
from avloc.errors import AvlocError
from avloc.feature_extraction import Clip
from avloc.models import build_model
from avloc.models.catalog import network_class

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```\w+ title="([\w.]+)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))
(COMMANDS,) = re.findall(r"^```\n(avloc extract.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_set, start_avloc) -> Path:
    """The folder after all commands of the page."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    shutil.copytree(tiny_set, folder / "clips")
    lines = [
        " ".join([r.file, r.split, *(f"{s.start_s}-{s.end_s}" for s in r.segments)])
        for r in read_records("lavdf", tiny_set)
    ]
    (folder / "clips" / "labels.txt").write_text("\n".join(lines))
    test_clip = next(r.file for r in read_records("lavdf", tiny_set, "test"))
    for line in COMMANDS.replace("clips/test/000001.mp4", f"clips/{test_clip}").splitlines():
        process = start_avloc(shlex.split(line)[1:], folder)
        output = process.communicate(timeout=600)
        assert process.returncode == 0, "\n".join([line, *output])
    return folder


@pytest.fixture
def forgotten(monkeypatch):
    """The page's modules, which are not imported when the test begins, and are forgotten when it ends."""
    names = {name.removesuffix(".py") for name in FILES if name.endswith(".py")}
    monkeypatch.setattr(sys, "path", [*sys.path])  # a command appends the current folder
    importlib.invalidate_caches()
    for name in names:
        sys.modules.pop(name, None)
    yield names
    for name in names:
        sys.modules.pop(name, None)


def test_the_network_of_the_page_is_short():
    assert len(FILES["my_net.py"].splitlines()) <= 55


def test_the_extractor_of_the_page_counts_zero_crossings(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    from my_extractor import ZeroCrossings

    time_s = np.arange(16_000 * 3) / 16_000
    tone = np.sin(2 * np.pi * 200 * time_s + 0.1).astype(np.float32)
    features = ZeroCrossings().extract(Clip(Path("x"), 25, 16_000, samples=tone))
    assert features.values.shape == (150, 1)
    assert features.grid.hop_s == 0.02
    np.testing.assert_allclose(features.values, 8 / 319, atol=0.004)  # 200 Hz cross zero 8 times in 20 ms


def test_commands_of_the_page_predict_and_localize(folder):
    predictions = json.loads((folder / "predictions.json").read_text())
    assert set(predictions) == {r.file for r in read_records("lavdf", folder / "clips", "test")}
    assert min(len(rows) for rows in predictions.values()) > 0
    (localization,) = (p for p in folder.glob("*.json") if p.name != "predictions.json")
    document = json.loads(localization.read_text())
    assert [*document["segments"], *document["weaker_segments"]]


def test_a_checkpoint_alone_imports_nothing(folder, monkeypatch, forgotten, capsys):
    monkeypatch.chdir(folder)
    clip = next((folder / "clips" / "test").glob("*.mp4"))
    words = ["localize", str(clip), "--checkpoint", "run/checkpoints/best.ckpt", "--workers", "0", "--out", "x"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "unknown network 'MyNet'" in error
    assert "--network my_package.MyNet" in error
    assert forgotten.isdisjoint(sys.modules)
    assert main([*words, "--network", "my_net.MyNet"]) == 2
    assert "name its class: --extractor my_extractor.ZeroCrossings" in capsys.readouterr().err
    assert "my_extractor" not in sys.modules


def test_the_functions_take_classes(folder, monkeypatch):
    import avloc as package

    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    from my_extractor import ZeroCrossings
    from my_net import MyNet

    clip = next((folder / "clips" / "test").glob("*.mp4"))
    own = {"network": MyNet, "own_extractors": [ZeroCrossings]}
    localization = package.localize(str(clip), checkpoint="run/checkpoints/best.ckpt", **own)
    assert len(localization.segments(0))
    predictions = package.predict(
        "run/checkpoints/best.ckpt", "my_dataset.MyDataset", "clips", store="features", network="my_net.MyNet"
    )
    saved = json.loads((folder / "predictions.json").read_text())
    assert repr(predictions) == f"SplitPredictions(3 clips, {sum(map(len, saved.values()))} rows, 0 failed)"
    for file, rows in saved.items():
        np.testing.assert_allclose(predictions[file], rows, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class MyNet:\n    pass\n", "want the class of a torch.nn.Module"),
        ("x = 1\n", "my_net.MyNet: cannot be imported"),
        (
            "from torch import nn\n\n\nclass MyNet(nn.Module):\n    def __init__(self, **_):\n        super().__init__()\n",
            "MyNet is no network of avloc: it lacks `arguments`",
        ),
    ],
)
def test_a_wrong_class_is_one_line(folder, tmp_path, monkeypatch, forgotten, capsys, text, message):
    (tmp_path / "my_net.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    words = ["predict", "--checkpoint", str(folder / "run/checkpoints/best.ckpt"), "--network", "my_net.MyNet"]
    words += ["--dataset", "lavdf", "--root", str(folder / "clips"), "--out", "p.json"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_installed_networks_are_found_but_never_replace_ours(monkeypatch):
    points = [
        EntryPoint("Tiny", "torch.nn:Identity", "avloc.networks"),
        EntryPoint("BATFD", "torch.nn:Identity", "avloc.networks"),
    ]
    monkeypatch.setattr("avloc.models.catalog.entry_points", lambda group: points if group == "avloc.networks" else [])
    assert network_class("Tiny").__name__ == "Identity"
    assert network_class("BATFD").__module__.startswith("avloc.")
    with pytest.raises(
        AvlocError, match="unknown network 'Other', want one of BoundaryTransformer, BATFD, BATFDPlus, Tiny"
    ):
        network_class("Other")
    with pytest.raises(AvlocError, match="want the class of a network 'Tiny', got torch.nn.modules.linear.Identity"):
        build_model("Tiny", {})


def test_own_names_reach_every_verb(capsys):
    for verb in ("predict", "localize", "serve"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        text = capsys.readouterr().out
        assert "--network my_package.MyNet" in text
        assert "--extractor my_package.MyExtractor" in text

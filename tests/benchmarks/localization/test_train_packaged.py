from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.inference import Localizer
from avloc.io.files import read_json, write_json, write_text
from avloc.models import read_checkpoint
from avloc.models.packaged import FACTS, STREAMS

NONE = np.zeros((0, 2))
TINY = """
model:
  model:
    class_path: avloc.models.BoundaryTransformer
    init_args: {audio_dim: 513, visual_dim: 320, audio_rows_per_step: 4.0, visual_rows_per_step: 1.0, width: 8, heads: 2,
                levels: 2, distance_bins: 8}
data:
  class_path: avloc.datasets.FeatureData
  init_args: {dataset: lavdf, root: clips, store: features, extractors: [logspec, residual_grid], hop_s: 0.04}
trainer: {max_epochs: 1, accelerator: cpu, devices: 1, logger: false}
"""


@pytest.fixture
def script():
    import train_packaged

    return train_packaged


def test_augmented_copies_are_extracted_of_the_training_split(script, tmp_path, monkeypatch):
    extracted = []
    monkeypatch.setattr(
        script.avloc, "extract", lambda *_, **settings: extracted.append(settings) or SimpleNamespace(failed=0)
    )
    data = script.Data("lavdf", tmp_path, tmp_path / "store")
    words = ["--out", str(tmp_path), "--threads", "3"]
    for extra in (["--copies", "0"], ["--copies", "2", "--recipe", "light"]):
        script.extract(data, ["logspec"], script.parse([*words, *extra]))
    plain = {"store": data.store, "extractors": ["logspec"], "workers": 3}
    assert extracted == [plain, plain, {**plain, "split": "train", "augment": "light", "copies": 2}]


def test_the_footage_is_read_without_its_clips_and_from_no_other_file(script, tmp_path):
    write_json(tmp_path / "both-predictions.json", {"clips": {}})
    with pytest.raises(AvlocError, match=r"both-predictions.json: no result of footage.py; want D/SYSTEM.json"):
        script.read_footage(tmp_path / "both-predictions.json")
    write_json(tmp_path / "both.json", {"clips": {}, "groups": {}, "sources": 3})
    assert script.read_footage(tmp_path / "both.json") == {"groups": {}, "sources": 3}


def test_a_test_refuses_uncommitted_changes(script, tmp_path, monkeypatch):
    """Before anything is made or trained; the files that the script writes are no changes."""
    calls = []

    def commit_name(*, allow_dirty, outputs):
        calls.append({path.name for path in outputs})
        if not allow_dirty:
            raise AvlocError("uncommitted changes")
        return "abc-dirty"

    monkeypatch.setattr(script.ledger, "commit_name", commit_name)
    monkeypatch.setattr(script, "make_set", lambda options: calls.append("made"))
    words = ["--out", str(tmp_path), "--final"]
    with pytest.raises(AvlocError, match="uncommitted changes"):
        script.main(words)
    assert calls == [{"model_card.md", "networks.json", "both.ckpt", "audio.ckpt", "visual.ckpt"}]
    assert script.name_commit(script.parse([*words, "--allow-dirty"])) == "abc-dirty"
    assert script.name_commit(script.parse(words[:2])) == ""  # no test
    demo = [*words, "--root", str(tmp_path)]
    assert script.name_commit(script.parse(demo)) == ""  # a set without a ledger
    write_json(tmp_path / "corpus.json", {})
    with pytest.raises(AvlocError, match="uncommitted changes"):
        script.name_commit(script.parse(demo))


def test_the_corpus_is_made_unless_clips_are_named(script, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "run", SimpleNamespace(prepare=lambda *values: calls.append(values)))
    monkeypatch.setitem(sys.modules, "corpus", SimpleNamespace(CLIPS=2400, main=calls.append))
    monkeypatch.setattr(script, "join", lambda sets, out: calls.append([path.name for path in sets]) or out)
    monkeypatch.setattr(
        script.avloc, "extract", lambda *_, **options: SimpleNamespace(failed=1, failures={"x": options})
    )
    with pytest.raises(AvlocError, match=r"joined: 1 clips could not be read: .*features"):
        script.main(["--out", str(tmp_path)])
    portraits = ["--out", str(tmp_path), "--portraits", "--workers", "2"]
    assert calls == [(tmp_path, tmp_path, 2400, 2), portraits, ["clips", "portraits"]]
    sets = script.find_sets(script.parse(["--out", str(tmp_path)]))
    assert {streams: data.root.name for streams, data in sets.items()} == {
        "both": "joined",
        "audio": "clips",
        "visual": "joined",
    }


@pytest.mark.filterwarnings("ignore")
def test_one_command_trains_packs_and_writes_the_card(script, tiny_set, tiny_store, tmp_path):
    """With a tiny network, and an operating point that is chosen on one clip."""
    write_text(tmp_path / "tiny.yaml", TINY)
    words = ["--out", "out", "--root", tiny_set, "--store", tiny_store, "--dataset", "lavdf", "--config", "tiny.yaml"]
    words += ["--package", "package", "--card", "card.md", "--threads", "1", "--seed", "5"]
    # At higher rates the few clips score alike, and rounding the weights changes the fits.
    words += ["--epochs", "1", "--copies", "0", "--lr", "0.001"]
    words = [
        str(tmp_path / word) if word in ("out", "tiny.yaml", "package", "card.md") else str(word) for word in words
    ]
    script.main(words)
    facts = read_json(tmp_path / "package" / FACTS, "facts")
    assert set(facts["networks"]) == set(STREAMS)
    for streams, network in facts["networks"].items():
        path = tmp_path / "package" / f"{streams}.ckpt"
        checkpoint, full = read_checkpoint(path), read_checkpoint(tmp_path / "out" / "packaged" / f"{streams}.ckpt")
        assert checkpoint.description.to_dict() == network["description"]
        assert checkpoint.description.date == network["training"]["trained"]
        assert (network["training"]["seed"], network["training"]["epochs"]) == (5, 1)
        fits, trained_fits = checkpoint.context.calibration, full.context.calibration
        assert replace(checkpoint.context, calibration=trained_fits) == full.context
        assert fits.keys() == trained_fits.keys()
        for name, fit in fits.items():  # those of the half-precision weights, with the clips of the validation split
            assert fit[:2] == pytest.approx(trained_fits[name][:2], abs=0.1)
            assert fit[2:] == trained_fits[name][2:]
        assert checkpoint.context.modality == (None if streams == "both" else streams)
        assert path.stat().st_size < (tmp_path / "out" / "packaged" / f"{streams}.ckpt").stat().st_size / 2
        assert set(network["figures"]) == {"dev"}
        localizer = Localizer.from_checkpoint(path)
        assert {parameter.dtype for parameter in localizer.model.parameters()} == {torch.float32}
    assert (facts["examples"]["real_clips"], facts["examples"]["forged_clips"]) == (4, 8)
    assert "| avloc-audio | sound alone |" in (tmp_path / "card.md").read_text()
    trained = (tmp_path / "out" / "packaged" / "both.ckpt").stat().st_mtime_ns
    script.main([*words, "--final"])  # trains nothing
    facts = read_json(tmp_path / "package" / FACTS, "facts")
    assert set(facts["networks"]["both"]["figures"]) == {"dev", "test"}
    assert (tmp_path / "out" / "packaged" / "both.ckpt").stat().st_mtime_ns == trained

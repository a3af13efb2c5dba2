from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avloc.core.descriptions import NetworkDescription
from avloc.datasets.loading.batch import Batch, FeatureInputs
from avloc.errors import AvlocError
from avloc.inference import Localizer
from avloc.io.files import read_json, write_json, write_text
from avloc.models import BoundaryTransformer, read_checkpoint
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


@pytest.fixture
def scores(script):
    """Three real clips of 5, 4 and 3 minutes, and a forged one of 1 minute, one of whose two segments is found."""
    rows = {
        "r1": np.array([[0.613, 1, 2], [0.612, 1.5, 2.5], [0.4, 9, 10]]),  # two alarms down to 0.4
        "r2": np.array([[0.5, 1, 2]]),
        "r3": np.zeros((0, 3)),
        "f": np.array([[0.9, 1, 2], [0.45, 30, 31]]),
    }
    segments = {"r1": NONE, "r2": NONE, "r3": NONE, "f": np.array([[1.0, 2.0], [5.0, 6.0]])}
    best = {name: float(each[:, 0].max(initial=0)) for name, each in rows.items()}
    return script.SplitScores(rows, segments, best, {"r1": 300.0, "r2": 240.0, "r3": 180.0, "f": 60.0}, {})


def test_the_operating_point_allows_one_false_alarm_in_ten_minutes(script, scores):
    setting = script.choose_threshold(scores)
    assert setting.threshold == 0.51  # just above the second alarm, that of r2
    assert (setting.clips, setting.minutes, setting.alarms) == (3, 12.0, 1)
    strict = script.choose_threshold(scores, per_minute=0.01)
    assert (strict.threshold, strict.alarms) == (0.62, 0)


def test_figures_of_a_split(script, scores):
    values = script.figures(scores, 0.51)
    assert values["ap@0.5"] == pytest.approx(0.5)
    assert (values["clips"], values["forged_clips"], values["segments"], values["real_minutes"]) == (4, 1, 2, 12.0)
    assert (values["forged_clips_flagged"], values["real_clips_flagged"]) == (1, 1)
    assert values["false_alarms_per_minute"] == pytest.approx(1 / 12)
    assert values["clip_auc"] == 1.0


def test_figures_without_real_clips(script, scores):
    only = script.SplitScores(*({"f": each["f"]} for each in scores[:4]), {})
    values = script.figures(only, 0.51)
    assert (values["clip_auc"], values["false_alarms_per_minute"], values["real_minutes"]) == (None, None, 0.0)


def test_augmented_copies_are_extracted_of_the_training_split_and_trained_on(script, tmp_path, monkeypatch):
    report, best = SimpleNamespace(failed=0), tmp_path / "best.ckpt"
    best.write_bytes(b"weights")
    extracted, trained = [], []
    monkeypatch.setattr(script.avloc, "extract", lambda *place, **settings: extracted.append(settings) or report)
    monkeypatch.setattr(script, "train", lambda words: trained.append(words) or best)
    monkeypatch.setattr(script, "parse_training", lambda words: SimpleNamespace(words=words))
    data = script.Data("lavdf", tmp_path, tmp_path / "store")
    words = ["--out", str(tmp_path), "--threads", "3"]
    for extra in (["--copies", "0"], ["--copies", "2", "--recipe", "light", "--lr", "0.002"]):
        options = script.parse([*words, *extra])
        script.extract(data, ["logspec"], options)
        script.run_training("both", data, options).unlink()
    plain = {"store": data.store, "extractors": ["logspec"], "workers": 3}
    assert extracted == [plain, plain, {**plain, "split": "train", "augment": "light", "copies": 2}]
    assert ["--data.copies" in each for each in trained] == [False, True]
    settings = read_json(tmp_path / "packaged" / "both.json", "settings")
    assert [script.training_of(streams, script.parse(words)) for streams in STREAMS] == [*script.NETWORKS.values()]
    assert (settings["copies"], settings["recipe"], settings["lr"]) == (2, "light", 0.002)


def test_the_footage_is_read_without_its_clips_and_from_no_other_file(script, tmp_path):
    write_json(tmp_path / "both-predictions.json", {"clips": {}})
    with pytest.raises(AvlocError, match=r"both-predictions.json: no result of footage.py; want D/SYSTEM.json"):
        script.read_footage(tmp_path / "both-predictions.json")
    write_json(tmp_path / "both.json", {"clips": {}, "groups": {}, "sources": 3})
    assert script.read_footage(tmp_path / "both.json") == {"groups": {}, "sources": 3}


def test_half_precision_may_change_little(script, scores):
    near = scores._replace(clip_scores={name: score + 0.01 for name, score in scores.clip_scores.items()})
    assert script.largest_change(scores, near) == pytest.approx(0.01)
    far = scores._replace(clip_scores={**scores.clip_scores, "f": 0.5})
    with pytest.raises(AvlocError, match=r"changes a clip's best score by 0\.400, want at most 0\.02"):
        script.largest_change(scores, far)


def test_networks_that_are_too_large_are_refused(script, tmp_path, monkeypatch):
    for streams in STREAMS:
        (tmp_path / f"{streams}.ckpt").write_bytes(bytes(10))
    assert script.check_size(tmp_path) == 30
    monkeypatch.setattr(script, "MOST_BYTES", 29)
    with pytest.raises(AvlocError, match="30 bytes, want at most 29"):
        script.check_size(tmp_path)


def test_hidden_labels_of_the_benchmarks_test_split_are_found(script, tmp_path):
    write_text(tmp_path / "test_files.txt", "a.mp4\n")
    data = script.Data("avdeepfake1m", tmp_path, tmp_path / "store")
    with pytest.raises(AvlocError, match="hidden labels of the split test"):
        script.read_labels(data, "test")
    entry = {"file": "a.mp4", "audio_fake_segments": [[1, 2]], "visual_fake_segments": []}
    write_json(tmp_path / "truth" / "test_metadata.json", [entry])
    (record,) = script.read_labels(data, "test")
    assert (record.file, record.modality, record.labelled) == ("test/a.mp4", "audio", True)
    assert data.validation == "val"


@pytest.fixture
def looks(script, monkeypatch):
    """The lines that the script adds to the ledger."""
    lines = []
    monkeypatch.setattr(script.ledger, "append", lambda *line: lines.append(line))
    return lines


def test_a_look_at_the_test_split_of_the_corpus_is_noted(script, looks, tmp_path):
    options = script.parse(["--out", "o", "--root", "r", "--store", "s", "--seed", "5"])
    data = script.Data("avdeepfake1m", tmp_path, tmp_path)
    description = NetworkDescription("avloc-audio", "1", sha256="0123456789abcdef" * 4)
    script.note_look(description, data, options, "")
    assert looks == []  # no corpus
    write_json(tmp_path / "corpus.json", {"version": 3, "clips": 2400})
    script.note_look(description, data, options, "abc")
    assert looks == [((3, 2400, "avloc-audio 0123456789ab", 5, "demo", 0.0), "abc")]


def test_a_test_refuses_uncommitted_changes(script, tmp_path, monkeypatch):
    """Before anything is made or trained; the files that the script writes are no changes."""
    calls = []

    def commit_name(*, allow_dirty, outputs):
        calls.append({path.name for path in outputs})
        if not allow_dirty:
            raise AvlocError("uncommitted changes")
        return "abc-dirty"

    monkeypatch.setattr(script.ledger, "commit_name", commit_name)
    monkeypatch.setattr(script, "make_corpus", lambda options: calls.append("made"))
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
    monkeypatch.setitem(sys.modules, "corpus", SimpleNamespace(CLIPS=2400))
    monkeypatch.setattr(
        script.avloc, "extract", lambda *_, **options: SimpleNamespace(failed=1, failures={"x": options})
    )
    with pytest.raises(AvlocError, match=r"clips: 1 clips could not be read: .*features"):
        script.main(["--out", str(tmp_path)])
    assert calls == [(tmp_path, tmp_path, 2400, 2)]


@pytest.mark.filterwarnings("ignore")
def test_one_command_trains_packs_and_writes_the_card(script, tiny_set, tiny_store, tmp_path):
    """With a tiny network, and an operating point that is chosen on one clip."""
    write_text(tmp_path / "tiny.yaml", TINY)
    words = ["--out", "out", "--root", tiny_set, "--store", tiny_store, "--dataset", "lavdf", "--config", "tiny.yaml"]
    words += ["--package", "package", "--card", "card.md", "--threads", "1", "--seed", "5"]
    words += ["--epochs", "1", "--copies", "0"]
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


def test_parameters_without_effect_are_cleared(script):
    torch.manual_seed(0)
    network = BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2, levels=2).eval()
    torch.nn.init.normal_(network.missing_modality_embedding)
    torch.nn.init.normal_(network.branches[0].evidence.out.weight)  # 0 before any training
    mask = torch.ones(2, 19, dtype=torch.bool)
    inputs = FeatureInputs(torch.randn(2, 19, 5), torch.zeros(2, 19, 7), mask, torch.zeros_like(mask))
    before = network(**inputs._asdict())
    unused = script.clear_unused(network, [Batch(inputs, [], [], None, 0)])
    names = [name for name, _ in network.named_parameters() if name.startswith("stems.1.")]
    assert names
    assert set(names) <= set(unused)
    assert len(unused) < 2 * len(names)  # nearly all others have an effect
    for a, b in zip(before, network(**inputs._asdict()), strict=True):
        assert torch.equal(a, b)
    assert not any(parameter.any() for parameter in network.stems[1].parameters())

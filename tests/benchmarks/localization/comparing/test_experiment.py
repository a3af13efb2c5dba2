from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.errors import AvlocError


@pytest.fixture
def small_systems(monkeypatch, small_corpus):
    """Systems small enough to train in a test, and budgets of one and of three epochs."""
    from comparing import budgets, experiment, systems

    sizes = {"audio_dim": 513, "visual_dim": 320, "width": 8, "heads": 2, "blocks": 1, "levels": 2}
    rates = {"audio_rows_per_step": 4.0, "visual_rows_per_step": 1.0}
    system = replace(systems.SYSTEMS["actionformer"], arguments=sizes | rates)
    small = {
        "actionformer": system,
        "averaged": replace(system, title="averaged", arguments=sizes),
        "decoded": replace(system, title="decoded", weights_of="actionformer"),
        "alone": replace(system, title="alone", modality="audio"),
        "continued": replace(system, title="continued", starts_from="actionformer", start_budget="short"),
    }
    monkeypatch.setattr(experiment, "SYSTEMS", small)
    patched = {
        "short": replace(budgets.BUDGETS["short"], epochs=1),
        "long": replace(budgets.BUDGETS["long"], epochs=4, patience=1, cooldown=1),
    }
    monkeypatch.setattr(experiment, "BUDGETS", patched)
    threads = torch.get_num_threads()
    yield small
    torch.set_num_threads(threads)


@pytest.fixture
def task(small_systems, small_corpus):
    from comparing.experiment import Task

    return Task("actionformer", 0, "short", small_corpus)


def test_a_run_leaves_validation_scores_alone(task, small_corpus, monkeypatch):
    from comparing import experiment

    assert experiment.run(task).startswith("actionformer, seed 0, short: 1 epochs, validation AP ")
    result = experiment.read_result(task)
    assert (result.system, result.seed, result.budget, result.epochs, result.threads) == (
        "actionformer",
        0,
        "short",
        1,
        1,
    )
    assert result.train_s > 0
    assert set(result.validation) == {"ap@0.5", "ap@0.75", "ap@0.9", "ap@0.95", "ap", "ar@10"}
    assert set(result.thresholds) == {"score", "share"}
    assert task.weights_file.is_file()
    assert experiment.SplitPredictions.load(task.predictions_file("val")).files == [
        f"val/{k:06d}.mp4" for k in range(3)
    ]
    assert not (small_corpus / "predictions" / "test").exists()

    # Another system decodes the same network.
    decoded = task._replace(system="decoded")
    experiment.run(decoded)
    again = experiment.read_result(decoded)
    assert (again.train_s, again.epochs) == (0.0, 0)
    assert again.validation == result.validation


def test_validation_scores_are_those_of_training(task, monkeypatch):
    """The kept predictions of the best weights have the AP that training saw (single precision apart)."""
    from comparing import experiment

    seen = []
    train = experiment.train

    def note(task, module, data):
        training = train(task, module, data)
        seen.append(float(module.trainer.callback_metrics["val/ap"]))
        return training

    monkeypatch.setattr(experiment, "train", note)
    experiment.run(task)
    assert experiment.read_result(task).validation["ap"] == pytest.approx(seen[0], abs=1e-4)


def test_the_long_budget_ends_when_validation_is_flat(task):
    from comparing import experiment

    long = task._replace(budget="long")
    experiment.run(long)
    assert 2 <= experiment.read_result(long).epochs <= 4
    assert long.result_file.parent.name == "long"


def test_a_test_is_in_the_ledger_before_its_predictions(task, small_systems, tmp_path, monkeypatch):
    from comparing import experiment
    from scoring import ledger

    experiment.run(task)
    path = tmp_path / "ledger.csv"
    order = []
    predict = experiment.predict_split
    monkeypatch.setattr(experiment, "predict_split", lambda *a: order.append(len(ledger.read(path))) or predict(*a))
    look = experiment.TestTask(task, "0123456789ab", 21, 0.0, path)
    assert experiment.test(look) == "actionformer, seed 0, short: tested"
    assert order == [1]
    [line] = ledger.read(path)
    assert (line["system"], line["seed"], line["budget"], line["clips"], line["shift_ms"]) == (
        "actionformer", "0", "short", "21", "0",
    )  # fmt: skip
    assert len(experiment.SplitPredictions.load(task.predictions_file("test")).files) == 9
    experiment.test(look._replace(shift_s=0.013))
    assert ledger.read(path)[1]["shift_ms"] == "13"
    assert task.predictions_file("test", 0.013).name == f"actionformer-0-{small_systems['actionformer'].key}+13ms.npz"


def test_proposals_of_shifted_media_are_put_back(task, monkeypatch):
    from comparing import experiment

    experiment.run(task)
    starts = []
    predict = experiment.predict

    def note(module, data, split):
        starts.append([rows.grid.start_s for rows in data.split(split)[0].rows])
        predictions = predict(module, data, split)
        segments = predictions.proposals.segments
        assert segments.min() >= 0
        return replace(predictions, proposals=replace(predictions.proposals, segments=segments * 0 + [0.513, 0.713]))

    monkeypatch.setattr(experiment, "predict", note)
    experiment.predict_split(task, "val", 0.013)
    # Rows of 10 ms: one begins 3 ms after the clock's start; of 40 ms: the first begins 13 ms after it.
    assert starts[0] == pytest.approx([0.003, 0.013])
    shifted = experiment.SplitPredictions.load(task.predictions_file("val", 0.013))
    assert shifted.proposals.segments == pytest.approx(np.tile([0.5, 0.7], (len(shifted.proposals), 1)), abs=2**-14)


def test_a_network_on_averaged_streams(task, small_systems, small_corpus):
    """Version 0.1's way: rows are averaged to steps by the data."""
    from comparing import experiment

    averaged = task._replace(system="averaged")
    experiment.run(averaged)
    assert len(experiment.SplitPredictions.load(averaged.predictions_file("val")).proposals) > 3
    rows = experiment.SystemData(small_systems["averaged"], small_corpus, 0).split("val")[0].streams[0]
    assert len(rows) == 25
    assert len(experiment.SystemData(small_systems["actionformer"], small_corpus, 0).split("val")[0].streams[0]) == 100


def test_clips_too_long_for_a_network_are_predicted_on_their_beginning(task, small_systems, small_corpus):
    from comparing import experiment

    experiment.run(task)
    module = experiment.BudgetedModule(
        experiment.build_network(small_systems["actionformer"]), experiment.BUDGETS["short"], 1e-3
    )
    experiment.load_weights(module, task)
    module.model.longest_steps = 11
    data = experiment.SystemData(small_systems["actionformer"], small_corpus, 0)
    proposals = experiment.predict(module, data, "val").proposals
    assert len(proposals) > 0
    assert proposals.segments.max() <= 0.44 + 1e-6


def test_decoding_needs_the_trained_network(task):
    from comparing import experiment

    with pytest.raises(AvlocError, match="run actionformer first, decoded is the same network"):
        experiment.run(task._replace(system="decoded", seed=1))


def test_a_system_of_one_modality_sees_its_forgeries_alone(task, small_systems, small_corpus):
    from comparing.experiment import SystemData, only

    data = SystemData(small_systems["alone"], small_corpus, 0)
    records = data.split("train").records
    assert [record.modality for record in records] == ["real", "audio", "real", "audio"] * 2 + ["real"]
    both = SystemData(small_systems["actionformer"], small_corpus, 0).split("train").records
    assert [record.modality for record in both] == ["real", "audio", "visual", "both"] * 2 + ["real"]
    record = VideoRecord("x", "val", None, (Segment(0, 1),), (Segment(2, 3),))
    assert only(record, "visual").segments == (Segment(2, 3),)
    assert only(record, "") is record


def test_methods_that_are_held_back_are_missing_in_training_alone(small_systems, small_corpus):
    from comparing.experiment import SystemData, corpus

    details = corpus.read_details(small_corpus / "clips")
    method = next(name for each in details.values() for name in each.methods.values())
    system = replace(small_systems["actionformer"], held_back=(method,))
    assert system.key != small_systems["actionformer"].key
    data, whole = SystemData(system, small_corpus, 0), SystemData(small_systems["actionformer"], small_corpus, 0)
    files = [record.file for record in data.split("train", training=True).records]
    expected = [record.file for record in whole.split("train", training=True).records]
    assert files == [file for file in expected if method not in details[file].methods.values()]
    assert 0 < len(files) < len(expected)
    assert len(data.split("val")) == len(whole.split("val"))


def test_a_forgery_has_one_label_but_for_training_points_per_modality(small_systems, small_corpus):
    from comparing.experiment import SystemData

    system = small_systems["actionformer"]
    own = replace(system, arguments={**system.arguments, "modality_points": True})
    shared, apart = (
        SystemData(each, small_corpus, 0).split("train", training=True).records[3] for each in (system, own)
    )
    assert len(shared.segments) == 1
    assert shared.audio_segments == shared.visual_segments
    assert len(apart.segments) == 2
    assert len(SystemData(own, small_corpus, 0).split("train").records[3].segments) == 1


def test_a_system_of_one_modality_has_its_own_ends(small_systems, small_corpus):
    from comparing.experiment import SystemData

    data = SystemData(small_systems["alone"], small_corpus, 0)
    clips = [data.split("val").records[k] for k in range(3)], [data.split("train").records[k] for k in range(9)]
    for record in (*clips[0], *clips[1]):
        assert not record.visual_segments
        assert all(segment.end_s - segment.start_s == pytest.approx(0.25) for segment in record.audio_segments)


def test_a_training_may_continue_another(task, monkeypatch):
    from comparing import experiment

    continued = task._replace(system="continued")
    with pytest.raises(AvlocError, match=r"run actionformer, seed 0, short first, continued starts from its weights"):
        experiment.run(continued)
    experiment.run(task)
    trained, begun = torch.load(task.weights_file, weights_only=True)["state_dict"], {}

    def train(task, module, data):
        begun.update(module.state_dict())
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "train", train)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(continued)
    assert all(torch.equal(begun[name], value) for name, value in trained.items())
    assert experiment.SYSTEMS["continued"].key != experiment.SYSTEMS["actionformer"].key

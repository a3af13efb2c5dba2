from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation import evaluate
from avloc.evaluation.evidence.folds import source_folds
from avloc.evaluation.protocols import get_protocol
from avloc.evaluation.truth import read_truth
from avloc.heads.candidates import PointDecoding
from avloc.inference.raw import search as module
from avloc.inference.raw.decoding import decode_clips
from avloc.inference.raw.raw_file import NamedClip, RawFile, pack_clips, write_raw
from avloc.inference.raw.search import check_validation, draw_clips, tune
from avloc.inference.raw.tuned_file import TunedSettings

PROTOCOL = get_protocol("avdeepfake1m")


@pytest.fixture(scope="module")
def raw(raw_folder):
    return RawFile(raw_folder / "val.h5")


@pytest.fixture(scope="module")
def truth(raw_folder):
    return read_truth(raw_folder / "m.json", PROTOCOL.segments_field)


@pytest.fixture(scope="module")
def few_values():
    """The search of this file's tests tries a few values only."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "TRIED", {"sigma": (0.1, 2.0), "voting_iou": (0.0, 0.5), "video_gate": (0.0, 1.0)})
    yield
    patch.undo()


@pytest.fixture(scope="module")
def tuning(raw, truth, few_values):
    return tune(raw, truth, PROTOCOL, resamples=200)


def test_the_search_finds_what_the_rows_need(tuning):
    decoding = tuning.tuned.decoding
    assert decoding.voting_iou == 0.5
    assert decoding.boundary_power == PointDecoding().boundary_power  # not among the values tried
    assert tuning.untuned == TunedSettings(PointDecoding(sigma=2.0, voting_iou=0.0), 50)
    assert tuning.objective == "score"
    assert len(tuning.fold_tuned) == 5
    gain = tuning.gains["score"]
    assert 0 < gain.low < gain.value < gain.high
    assert tuning.untuned_scores["score"] + gain.value < 1


def test_the_gain_is_of_clips_that_had_no_part_in_the_choice(raw, truth, tuning):
    """Score each fold by hand, under the settings that were chosen without it."""
    fold = source_folds(truth.source, np.diff(truth.labels.offsets) > 0)
    differences = []
    for k, chosen in enumerate(tuning.fold_tuned):
        part = truth.select(fold == k)
        scores = []
        for settings in (chosen, tuning.untuned):
            rows = {file: rows for file, rows in decode_clips(raw, settings) if file in part.files}
            scores.append(evaluate(rows, part, PROTOCOL, modes="strict").strict.score)
        differences.append(scores[0] - scores[1])
    assert tuning.gains["score"].value == pytest.approx(np.mean(differences))


def test_labels_without_relation_to_the_rows_promise_no_gain(raw, truth, few_values):
    """The best of many settings looks better on the clips it was chosen on; the cross-validated gain does not."""
    random = np.random.default_rng(0)
    starts = random.uniform(0, 6, len(truth.labels.segments))
    labels = replace(truth.labels, segments=np.stack([starts, starts + 1], axis=1))
    tuning = tune(raw, replace(truth, labels=labels), PROTOCOL, resamples=99)
    assert tuning.gains["score"].low < 0.01


def test_another_objective(raw, truth, few_values):
    tuning = tune(raw, truth, PROTOCOL, objective="AR@50", resamples=9)
    assert tuning.objective == "AR@50"
    tuned, untuned = (dict(decode_clips(raw, settings)) for settings in (tuning.tuned, tuning.untuned))
    recalls = [evaluate(rows, truth, PROTOCOL, modes="strict").strict.ar[50] for rows in (tuned, untuned)]
    assert recalls[0] >= recalls[1]
    with pytest.raises(AvlocError, match="want an objective of score, mean AP, .*, got 'ar'"):
        tune(raw, truth, PROTOCOL, objective="ar")


def test_rows_of_a_test_split_are_refused(raw, truth, tmp_path):
    for split, message in (("testA", "rows of the split 'testA' of avdeepfake1m"), ("train", "the split 'train'")):
        path = tmp_path / f"{split}.h5"
        write_raw(path, [io.BytesIO(pack_clips(list(raw)))], replace(raw.settings, split=split))
        with pytest.raises(AvlocError, match=message):
            tune(RawFile(path), truth, PROTOCOL)
    for validation in ("", "test"):  # as LlamaPartialSpoof, and as a reader that calls its test split so
        write_raw(tmp_path / "test.h5", [], replace(raw.settings, split="test", validation=validation))
        with pytest.raises(AvlocError, match="tuned on validation rows alone, which this dataset lacks"):
            check_validation(RawFile(tmp_path / "test.h5"))
    held_out = replace(raw.settings, split="held-out", validation="held-out")
    write_raw(tmp_path / "own.h5", [], held_out)
    check_validation(RawFile(tmp_path / "own.h5"))


def test_rows_of_other_clips(raw, truth, tmp_path):
    clips = [NamedClip(f"x{each.file}", each.clip) for each in raw]
    write_raw(tmp_path / "other.h5", [io.BytesIO(pack_clips(clips))], raw.settings)
    with pytest.raises(AvlocError, match=r"other\.h5"):
        tune(RawFile(tmp_path / "other.h5"), truth, PROTOCOL)


def test_clips_are_drawn_by_source(truth):
    drawn = draw_clips(truth, 11, seed=0)
    assert len(drawn) == 12  # six sources of two clips
    assert (np.bincount(np.unique(drawn.source, return_inverse=True)[1]) == 2).all()
    assert draw_clips(truth, 60, seed=0) is truth

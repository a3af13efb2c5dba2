from __future__ import annotations

import itertools

import numpy as np
import pytest

from avloc.core.timeline import Segment
from avloc.datasets.synthetic import composition
from avloc.datasets.synthetic.composition import (
    CLIP_KINDS,
    FRAME_SAMPLES,
    SPLITS,
    ClipPlan,
    Composition,
    Word,
    clip_rng,
    compose,
    compose_from,
    piece_pools,
    plan,
)
from avloc.datasets.synthetic.speech_pieces import GRID_SAMPLES, MARGIN_SAMPLES, SpeechPiece
from avloc.errors import AvlocError


def piece(grid_steps, value=0.1, speaker="a"):
    return SpeechPiece(speaker, np.full(2 * MARGIN_SAMPLES + grid_steps * GRID_SAMPLES, value, dtype=np.float32))


def test_plan_splits_people_and_kinds():
    plans = plan(320, seed=0)
    assert {s: sum(p.split == s for p in plans) for s in SPLITS} == {"train": 200, "dev": 40, "test": 80}
    people = {s: {p.person for p in plans if p.split == s} for s in SPLITS}
    assert not people["train"] & people["test"]
    assert not people["train"] & people["dev"]
    kinds = [p.kind for p in plans if p.split == "train"]
    assert all(40 <= kinds.count(kind) <= 68 for kind in CLIP_KINDS)


def test_smallest_plan_gives_each_split_a_real_clip():
    plans = plan(9, seed=1)
    assert [p.split for p in plans] == ["train"] * 3 + ["dev"] * 3 + ["test"] * 3
    assert [p.kind == "real" for p in plans] == [True, False, False] * 3
    assert len({p.source for p in plans}) == 3


@pytest.mark.parametrize(("clips", "seed", "message"), [(8, 0, "at least 9 clips .*, got 8"), (9, -1, "got -1")])
def test_wrong_plans(clips, seed, message):
    with pytest.raises(AvlocError, match=message):
        plan(clips, seed)


def test_recordings_belong_to_one_split():
    pools = piece_pools(None)
    assert set(pools["test"]) - set(pools["train"]) == {"ru"}
    contents = {s: {x.samples.tobytes() for pieces in pool.values() for x in pieces} for s, pool in pools.items()}
    assert not contents["train"] & contents["test"]
    assert not contents["train"] & contents["dev"]


def test_generators_differ_by_source_and_purpose():
    clip = ClipPlan(1, "train", 2, "real", 6, 1)
    sibling = ClipPlan(1, "train", 2, "both", 7, 1)
    assert clip_rng(clip, 5).random() == clip_rng(sibling, 5).random()
    assert clip_rng(clip, 5).random() != clip_rng(clip, 6).random()


def test_real_and_forged_clips_of_a_source_share_their_words():
    real, first, second = (compose(p) for p in plan(9, seed=3)[:3])
    assert not any(word.forged for word in real.words)
    for forged in (first, second):
        assert 1 <= sum(word.forged for word in forged.words) <= 3
        assert len(forged.words) == len(real.words)
        for before, after in zip(real.words, forged.words, strict=True):
            if not after.forged:
                np.testing.assert_array_equal(after.voice.samples, before.voice.samples)
        positions = [k for k, word in enumerate(forged.words) if word.forged]
        assert all(b - a > 1 for a, b in itertools.pairwise(positions))
        assert 0 not in positions


@pytest.mark.parametrize("kind", ["visual", "both"])
def test_visual_forgeries_begin_and_end_on_frames(kind):
    pool = {"a": [piece(n) for n in range(8, 31)]}
    composed = compose_from(ClipPlan(0, "train", 4, kind, 1, 2), pool)
    for start, word in zip(composed.starts, composed.words, strict=True):
        if word.forged:
            assert start % FRAME_SAMPLES == word.voice.length % FRAME_SAMPLES == 0
    assert composed.length % FRAME_SAMPLES == 0


def test_methods_are_equally_frequent_and_drawn_by_clip():
    plans = [p for p in plan(960, seed=0) if p.kind in ("audio", "both")]
    models = [composition.audio_model(p) for p in plans]
    assert {*models} == {*composition.AUDIO_MODELS}
    assert abs(np.mean([model == composition.AUDIO_MODELS[0] for model in models]) - 0.5) < 0.08
    for p, model in zip(plans[:20], models, strict=False):
        assert dict(compose(p).record("x.mp4", p.split, None).attributes)["audio_model"] == model


def test_spans_and_labels_by_hand():
    words = [
        Word(GRID_SAMPLES, piece(10), piece(10), 1.0),
        Word(0, piece(8), piece(8), 1.0, forged=True),
    ]
    clip = ClipPlan(0, "dev", 0, "audio", 1, 0)
    composed = Composition(clip, words, [1600, 4800], 12_800)
    assert composed.spans() == [(0.1, 0.3), (0.3, 0.46)]
    record = composed.record("dev/1.mp4", "dev", "dev/0.mp4")
    assert (record.duration_s, record.modality) == (0.8, "audio")
    assert record.audio_segments == (Segment(0.3, 0.46),)
    assert dict(record.attributes) == {
        "video_frames": "20",
        "audio_frames": "12800",
        "original": "dev/0.mp4",
        "audio_model": "spectral-vocoder",
    }
    assert composition._word_starts(words) == ([4 * GRID_SAMPLES + GRID_SAMPLES, 15 * GRID_SAMPLES], 14 * FRAME_SAMPLES)


def test_voices_of_a_person_keep_one_rate():
    pool = {speaker: [piece(n, speaker=speaker) for n in range(10, 30)] for speaker in ("a", "b")}
    clip = ClipPlan(0, "train", 1, "real", 0, 3)
    pieces = composition._voice_pieces(clip, pool)
    assert {p.speaker for p in pieces} == {"b"}
    assert len(pieces) == 20
    assert all(p.length % GRID_SAMPLES == 0 for p in pieces)


def test_little_speech_is_refused(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "short.wav", np.zeros(16000), 16000)
    with pytest.raises(AvlocError, match="too little speech for the train split, want 20 words of one speaker there"):
        piece_pools(str(tmp_path))

from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.core.descriptions import ExtractorDescription, TrainingContext
from avloc.core.proposals import Proposals
from avloc.core.records import VideoRecord
from avloc.core.timeline import TimeGrid
from avloc.datasets import examples_folder
from avloc.datasets.examples.example import FeatureExample
from avloc.datasets.loading.clips import ClipExample
from avloc.errors import AvlocError, CheckpointError
from avloc.feature_extraction.media.arrays import ClipArrays
from avloc.feature_extraction.media.types import Span
from avloc.inference import localizer as inference
from avloc.inference import windowed_network
from avloc.inference.localizer import Localizer
from avloc.inference.packaged import load_packaged
from avloc.inference.sources.clip import ClipSource
from avloc.inference.sources.feature import FeatureSource
from avloc.io import provenance
from avloc.models import BATFD, BoundaryTransformer
from avloc.models.checkpoint import write_checkpoint

SMALL = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (4, 3), "samples": 4}


@pytest.fixture
def localizer():
    torch.manual_seed(0)
    return Localizer(BATFD(**SMALL, frames=24, durations=9), ClipSource(24, "pad"))


def example_of(length, file="x", *, audio=True, value=None):
    random = np.random.default_rng(length)
    frames = (
        random.random((length, 96, 96, 3), dtype=np.float32) if value is None else np.full((length, 96, 96, 3), value)
    )
    samples = random.normal(0, 0.1, length * 640).astype(np.float32)
    masks = np.full(length, audio), np.full(length, True)
    return ClipExample(VideoRecord(file, "t"), TimeGrid(0.4, 0.04, length), frames.astype(np.float32), samples, masks)


def feature_example(length, *, visual=True):
    random = np.random.default_rng(length)
    streams = tuple(random.normal(0, 1, (length, d)).astype(np.float32) for d in (5, 4))
    masks = (np.ones(length, bool), np.full(length, visual))
    return FeatureExample(VideoRecord("long", "t"), TimeGrid(0.0, 0.04, length), streams, masks, length * 0.04)


def test_missing_modality_is_never_forged(localizer):
    (localization,) = localizer.run([example_of(20, audio=False)])
    assert not localization.proposals.modality_scores[:, 0].any()
    assert {segment.modality for segment in localization.segments(0)} == {"visual"}
    assert np.isnan(localization.fakeness[:, 0]).all()
    assert not np.isnan(localization.fakeness[:, 1]).any()
    assert localization.scores["audio"] is None
    assert localization.scores["visual"] is not None
    assert localization.probabilities["visual"] is None  # not calibrated
    assert dict(localization.unjudged) == {"audio": "no audio data"}


@pytest.mark.parametrize(("audio", "expected"), [(False, [0.4, 0.3, 0.1]), (True, [0.8, 0.6, 0.4])])
def test_rows_keep_the_score_of_the_stream_that_exists(localizer, monkeypatch, audio, expected):
    """Scores and order; a row that is scored by sound alone is worth nothing in a clip without sound."""
    segments = np.array([[0.4, 0.6], [0.4, 0.8], [0.6, 1.0], [0.9, 1.1]])
    modality_scores = np.array([[0.8, 0.1], [0.6, 0.3], [0.2, 0.4], [0.1, 0.0]])
    rows = Proposals(segments, np.array([0.8, 0.6, 0.4, 0.1]), modality_scores)
    monkeypatch.setattr(localizer.model, "decode", lambda output, grids, keep: [rows] * len(grids))
    (localization,) = localizer.run([example_of(20, audio=audio)], keep=3)
    assert localization.proposals.scores == pytest.approx(expected)
    assert localization.scores["clip"] == pytest.approx(expected[0])
    assert localization.strongest().modality == ("audio" if audio else "visual")
    if audio:
        np.testing.assert_array_equal(localization.proposals.segments, segments[:3])


def test_a_network_for_both_streams_judges_one_of_them_alone():
    """The head of the missing stream, which scores higher everywhere, has no part in the clip's score."""
    torch.manual_seed(0)
    model = BoundaryTransformer(audio_dim=5, visual_dim=4, width=8, heads=2, levels=2, boundary_power=0.0)
    model.branches[0].point_head.out.bias.data = torch.tensor([-1.0, 9.0])
    (localization,) = Localizer(model, FeatureSource([], 0.04)).run([feature_example(57, visual=False)])
    assert localization.scores["visual"] is None
    assert localization.scores["clip"] == localization.scores["audio"] < 0.9
    assert {segment.modality for segment in localization.segments(0)} == {"audio"}


@pytest.mark.parametrize("length", [57, 330])
def test_the_evidence_does_not_depend_on_the_number_of_rows(monkeypatch, length):
    """Of a clip in one window, and of one in five: fewer rows are the best of more."""
    monkeypatch.setattr(windowed_network, "WINDOW_S", 4.0)
    torch.manual_seed(0)
    model = BoundaryTransformer(audio_dim=5, visual_dim=4, width=8, heads=2, levels=2, distance_bins=9)
    localizer = Localizer(model, FeatureSource([], 0.04))
    ((few,), (many,)) = (list(localizer.run([feature_example(length)], keep=keep)) for keep in (1, 100))
    assert few.scores == many.scores
    count = 1 if length == 57 else 4
    assert (len(few.proposals), len(many.proposals) > count) == (count, True)
    np.testing.assert_array_equal(few.proposals.segments, many.proposals.segments[:count])


def test_nan_clip_fails_alone_in_its_batch(localizer):
    names = [
        f.file for f in localizer.run([example_of(20, "a"), example_of(9, "b", value=np.nan), example_of(11, "c")])
    ]
    assert names == ["a", "b", "c"]
    good, bad, other = localizer.run([example_of(20, "a"), example_of(9, "b", value=np.nan), example_of(11, "c")])
    assert len(bad.proposals) == 0
    assert bad.problems == ("the network's boundary map holds NaN or infinity",)
    assert dict(bad.probabilities) == {"clip": None, "audio": None, "visual": None}
    assert np.isnan(bad.fakeness).all()
    assert len(good.proposals) > 0 < len(other.proposals)
    assert good.problems == ()


def test_long_clips_run_in_windows_on_their_own_clock(localizer):
    """Within a window's inner part it is as if the window were the clip; the clock is the clip's own."""
    (localization,) = localizer.run([example_of(61)])
    assert localization.grid == TimeGrid(0.4, 0.04, 61)
    assert not np.isnan(localization.fakeness).any()
    segments = localization.proposals.segments
    assert segments.min() >= 0.4 - 1e-9
    assert segments.max() <= 0.4 + 61 * 0.04 + 1e-9
    assert segments.max() > 2.0
    assert len(localization.proposals) <= 100


def test_squeezed_clips_are_one_input_of_any_length():
    localizer = Localizer(BATFD(**SMALL, frames=16, durations=5), ClipSource(16, "squeeze"))
    clip = example_of(40)
    whole = ClipExample(clip.record, clip.grid, (clip.frames * 255).astype(np.uint8), clip.samples, clip.masks)
    (localization,) = localizer.run([whole])
    assert localization.grid.length == 16
    assert localization.grid.end_s == pytest.approx(clip.grid.end_s)
    assert np.diff(localization.proposals.segments, axis=1).max() <= 5 * 0.1 + 1e-9  # 40 frames in 16 steps of 0.1 s


def test_an_unknown_precision_is_refused():
    with pytest.raises(AvlocError, match="want precision of 32, bf16, 16, got '8'"):
        Localizer(BATFD(**SMALL, frames=24, durations=9), ClipSource(24, "pad"), precision="8")


def test_a_model_that_is_no_network_is_refused():
    with pytest.raises(AvlocError, match="Linear is no network of avloc: it lacks `arguments`"):
        Localizer(torch.nn.Linear(2, 2), ClipSource(24, "pad"))


def test_ten_minutes_equal_their_windows():
    """Each window's inner part has just the segments that the window has alone, and nothing is longer than a window."""
    torch.manual_seed(0)
    model = BoundaryTransformer(
        audio_dim=5, visual_dim=4, width=12, heads=3, levels=2, distance_bins=9, first_steps=9.0
    )
    localizer = Localizer(model, FeatureSource([], 0.04))
    length, random = 15_000, np.random.default_rng(0)
    streams = tuple(random.normal(0, 1, (length, d)).astype(np.float32) for d in (5, 4))
    masks = (np.ones(length, bool), np.ones(length, bool))
    clip = FeatureExample(VideoRecord("long", "t"), TimeGrid(0.0, 0.04, length), streams, masks, 600.0)
    lengths = []
    model.register_forward_pre_hook(lambda _, __, inputs: lengths.append(inputs["audio"].shape[1]), with_kwargs=True)
    (localization,) = localizer.run([clip], keep=1000)
    assert max(lengths) == 1000
    assert len(lengths) == 20
    (alone,) = localizer.run([clip.window(7 * 750, 7 * 750 + 1000)], keep=1000)
    low, high = (7 * 750 + 125) * 0.04, (8 * 750 + 125) * 0.04

    def inner(proposals):
        middle = proposals.segments.mean(axis=1)
        rows = proposals.take((middle >= low) & (middle < high))
        order = np.lexsort(rows.segments.T)
        return rows.segments[order], rows.scores[order]

    (segments, scores), (expected, expected_scores) = inner(localization.proposals), inner(alone.proposals)
    assert len(segments) > 20
    np.testing.assert_allclose(segments, expected, atol=1e-4)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
    np.testing.assert_allclose(localization.fakeness[7 * 750 + 125 : 8 * 750 + 125], alone.fakeness[125:875], atol=1e-5)


def test_checkpoint_of_other_arguments_names_the_file_and_the_cure(tmp_path):
    model = BoundaryTransformer(audio_dim=5, visual_dim=4, width=8, heads=2)
    model.arguments["voting"] = 0.8  # as an earlier version called it
    described = ExtractorDescription("mel", "audio", hop_s=0.01, dim=5)
    write_checkpoint(tmp_path / "old.ckpt", model, TrainingContext(0.04, (described,)))
    with pytest.raises(CheckpointError, match=r"old\.ckpt: network .*'voting'; was it trained by another version"):
        Localizer.from_checkpoint(tmp_path / "old.ckpt")


def test_calibration_must_cover_the_clip_and_both_modalities():
    fits = {"clip": (1.0, 0.0), "audio": (1.0, 0.0)}
    for calibration, words in ((fits, "uncalibrated"), ({**fits, "visual": (1.0, 0.0)}, "calibrated")):
        model = BoundaryTransformer(audio_dim=5, visual_dim=4, width=8, heads=2)
        localizer = Localizer(model, FeatureSource([], 0.04), calibration=calibration)
        assert repr(localizer) == f"Localizer(BoundaryTransformer on cpu, precision 32, {words})"


def test_other_settings_of_decoding_drop_a_calibration_of_other_scores():
    from avloc.heads.candidates import PointDecoding

    fits = dict.fromkeys(("clip", "audio", "visual", "segment"), (1.0, 0.0))
    model = BoundaryTransformer(audio_dim=5, visual_dim=4, width=8, heads=2)
    localizer = Localizer(model, FeatureSource([], 0.04), calibration=fits)
    localizer.set_decoding(PointDecoding())
    assert localizer.calibration == fits
    localizer.set_decoding(PointDecoding(sigma=0.2))
    assert localizer.is_calibrated
    assert list(localizer.calibration) == [
        "clip",
        "audio",
        "visual",
    ]  # other scores of weaker segments, no other best score
    assert model.decoding.sigma == 0.2
    localizer.set_decoding(PointDecoding(video_gate=0.5))
    assert localizer.calibration == {}


def test_a_network_of_maps_has_no_such_settings(localizer):
    from avloc.heads.candidates import PointDecoding

    with pytest.raises(AvlocError, match="a BATFD gives no candidates"):
        localizer.set_decoding(PointDecoding())


def test_each_file_is_hashed_once(monkeypatch, tmp_path):
    clip, hashed = tmp_path / "a.mp4", []
    clip.write_bytes((examples_folder() / "audio-sound-alone.mp4").read_bytes())
    monkeypatch.setattr(provenance, "file_sha256", lambda path, pulse: hashed.append(path.name) or "ab" * 32)
    localizer = load_packaged("audio")
    for _ in range(2):
        record = localizer.localize(clip, span=Span(0.0, 0.5)).provenance
    assert hashed == ["a.mp4", "audio.ckpt", "a.mp4"]
    assert (record.clip.size_bytes, record.checkpoint.file.file) == (clip.stat().st_size, "audio.ckpt")
    assert record.clip.duration_s == pytest.approx(4.0, abs=1.5)
    in_memory = localizer.localize(ClipArrays(samples=np.zeros(8_000, np.float32)))
    assert (in_memory.provenance.inputs, in_memory.provenance.checkpoint) == ({}, record.checkpoint)


def test_a_file_that_changes_while_it_is_read_is_a_problem(monkeypatch, tmp_path):
    clip = tmp_path / "a.mp4"
    clip.write_bytes((examples_folder() / "audio-sound-alone.mp4").read_bytes())
    identify = inference.identify_file

    def identify_and_grow(path, **options):
        identity = identify(path, **options)
        with path.open("ab") as file:
            file.write(b"more")
        return identity

    monkeypatch.setattr(inference, "identify_file", identify_and_grow)
    problems = load_packaged("audio").localize(clip, span=Span(0.0, 0.5)).problems
    assert "the file changed while it was read: its hash may be that of other content" in problems

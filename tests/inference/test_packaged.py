"""The networks of the package, on the package's clips."""

from __future__ import annotations

import numpy as np
import pytest

import avloc
from avloc.core.timeline import interval_iou, segment_array
from avloc.datasets import examples_folder, read_records
from avloc.datasets.synthetic.examples import EXAMPLE_CLIP, example_record
from avloc.errors import MediaError
from avloc.evaluation import average_precision
from avloc.feature_extraction import ClipArrays, probe
from avloc.heads.candidates import PointDecoding
from avloc.inference.packaged import PackagedLocalizer, load_packaged, only_stream
from avloc.models.packaged import packaged_description

# Bars for the networks of the day; raise them when train_packaged.py has written better ones.
LEAST_AP = 0.75  # at an IoU of .5; .804 measured on 2026-11-28
MOST_FLAGGED = 0  # of the four genuine clips, as measured then


@pytest.fixture(scope="module")
def localizations():
    """The package's judgement of each of its clips, by file."""
    localizer = load_packaged()
    return {
        record.file: localizer.localize(examples_folder() / record.file)
        for record in read_records("folder", examples_folder())
    }


def test_planted_forgeries_are_found_and_genuine_clips_are_not_flagged(localizations):
    records = read_records("folder", examples_folder())
    rows, segments, flagged = {}, {}, []
    for record in records:
        localization = localizations[record.file]
        proposals = localization.proposals
        rows[record.file] = np.column_stack([proposals.scores, proposals.segments])
        segments[record.file] = [[s.start_s, s.end_s] for s in record.segments]
        if not record.segments and localization.segments(localization.threshold):
            flagged.append(record.file)
    assert len(records) == 12
    assert len(flagged) <= MOST_FLAGGED, flagged
    assert average_precision([*rows.values()], [*segments.values()], iou=0.5) > LEAST_AP


def test_the_clip_of_the_quick_start_is_flagged(localizations):
    localization = localizations[EXAMPLE_CLIP]
    record = example_record(examples_folder() / EXAMPLE_CLIP)
    assert localization.segments(localization.threshold)
    strongest = localization.strongest()
    assert strongest.modality == "both"
    found = np.array([[strongest.start_s, strongest.end_s]])
    assert interval_iou(found, segment_array(record.segments)).max() >= 0.5


@pytest.mark.parametrize(
    ("file", "streams"),
    [("both-1.mp4", "both"), ("audio-sound-alone.mp4", "audio"), ("visual-picture-alone.mp4", "visual")],
)
def test_each_clip_goes_to_the_network_for_its_streams(localizations, file, streams):
    localization = localizations[file]
    assert localization.network == packaged_description(streams)
    assert localization.calibrated
    lacking = {"both": [], "audio": ["visual"], "visual": ["audio"]}[streams]
    assert [m for m in ("audio", "visual") if localization.lacks(m)] == lacking
    assert [m for m in ("audio", "visual") if localization.probabilities[m] is None] == lacking
    assert list(localization.unjudged) == lacking
    assert (
        localization.problems
        == {
            "both": (),
            "audio": ("no video stream",),
            "visual": ("no audio stream",),
        }[streams]
    )


def test_one_stream_of_a_clip_with_both_can_be_judged_alone():
    localization = avloc.localize(examples_folder() / "audio-1.mp4", streams="audio")
    assert localization.network == packaged_description("audio")
    assert (localization.decoded_s["visual"], localization.problems) == (None, ())
    assert np.isnan(localization.fakeness[:, 1]).all()
    assert {segment.modality for segment in localization.segments(0)} <= {"audio"}
    assert localization.probabilities["visual"] is None
    assert dict(localization.unjudged) == {"visual": "the network judges the audio stream alone"}
    assert {segment.visual_score for segment in localization.segments(0)} == {None}


def test_arrays_go_to_the_network_for_their_streams():
    samples = np.random.default_rng(0).normal(0, 0.01, 16_000).astype(np.float32)
    frames = np.zeros((25, 48, 64, 3), np.uint8)
    assert only_stream(ClipArrays(frames, samples), None) is None
    assert only_stream(ClipArrays(frames=frames), None) == "visual"
    localization = PackagedLocalizer().localize(ClipArrays(samples=samples))
    assert localization.network == packaged_description("audio")


def test_the_decoding_holds_for_clips_of_one_stream_too():
    """Whether their network was loaded before or after; each keeps the fits that still hold."""
    samples = ClipArrays(samples=np.random.default_rng(0).normal(0, 0.01, 16_000).astype(np.float32))
    localizer = PackagedLocalizer()
    for decoding in (PointDecoding(before_nms=3), PointDecoding(before_nms=2)):
        localizer.set_decoding(decoding)
        assert localizer.model.decoding == decoding
        localization = localizer.localize(samples)
        assert len(localization.proposals) == decoding.before_nms
        assert sorted(localization.calibration) == ["audio", "clip"]


def test_a_span_and_a_header_are_passed_on():
    clip = examples_folder() / "audio-sound-alone.mp4"
    span = avloc.feature_extraction.Span(1.0, 2.0)
    localization = load_packaged().localize(clip, span=span, info=probe(clip), keep=3)
    assert localization.decoded_s["audio"] == (1.0, 2.0)
    assert len(localization.proposals) <= 3


def test_a_clip_that_cannot_be_read_is_a_media_error(tmp_path):
    (tmp_path / "x.mp4").write_text("no media")
    with pytest.raises(MediaError, match="x.mp4: cannot be opened as media"):
        load_packaged().localize(tmp_path / "x.mp4")


@pytest.mark.parametrize(
    ("file", "streams", "reason"),
    [
        ("audio-sound-alone.mp4", "visual", "no video stream"),
        ("visual-picture-alone.mp4", "audio", "no audio stream"),
    ],
)
def test_a_clip_without_the_stream_that_is_asked_for_is_an_error_that_names_it(file, streams, reason):
    with pytest.raises(MediaError, match=f"{file}: {reason}"):
        avloc.localize(examples_folder() / file, streams=streams)


def test_half_precision_changes_scores_by_less_than_a_hundredth(tmp_path):
    """Rounding moves a weight by at most 2**-11 of itself: noise of that size stands for it. (The training script compares each
    network with its full precision, see the card.)
    """
    import torch

    localizer, other = load_packaged("both"), load_packaged("both")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in other.model.parameters():  # the largest error of rounding to 11 bits
            parameter *= 1 + 2**-11 * (2 * torch.rand(parameter.shape, generator=generator) - 1)
    clip = examples_folder() / "both-1.mp4"
    first, second = (each.localize(clip) for each in (localizer, other))
    assert first.probabilities["clip"] == pytest.approx(second.probabilities["clip"], abs=0.01)
    np.testing.assert_allclose(first.fakeness, second.fakeness, atol=0.01)

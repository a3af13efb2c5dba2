"""The networks of the package, on the package's clips."""

from __future__ import annotations

import numpy as np
import pytest

import avloc
from avloc.datasets import examples_folder, read_records
from avloc.errors import MediaError
from avloc.evaluation import average_precision
from avloc.feature_extraction import ClipArrays, probe
from avloc.inference.packaged import PackagedLocalizer, load_packaged, only_stream
from avloc.models.packaged import packaged_description

LEAST_AP = 0.7  # at an IoU of .5


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
    rows, segments = {}, {}
    for record in records:
        localization = localizations[record.file]
        proposals = localization.proposals
        rows[record.file] = np.column_stack([proposals.scores, proposals.segments])
        segments[record.file] = [[s.start_s, s.end_s] for s in record.segments]
        if not record.segments:
            assert localization.segments(localization.threshold) == [], record.file
    assert len(records) == 12
    assert average_precision(rows, segments, iou=0.5) > LEAST_AP


def test_the_clip_of_the_quick_start_is_flagged(localizations):
    localization = localizations["both-1.mp4"]
    (record,) = (r for r in read_records("folder", examples_folder()) if r.file == "both-1.mp4")
    found = localization.segments(localization.threshold)
    assert found
    for segment in found:  # each overlaps a planted one
        assert any(segment.start_s < s.end_s and s.start_s < segment.end_s for s in record.segments)


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
    assert {segment.modality for segment in localization.segments()} <= {"audio"}
    assert localization.probabilities["visual"] == 0


def test_arrays_go_to_the_network_for_their_streams():
    samples = np.random.default_rng(0).normal(0, 0.01, 16_000).astype(np.float32)
    frames = np.zeros((25, 48, 64, 3), np.uint8)
    assert only_stream(ClipArrays(frames, samples), None) is None
    assert only_stream(ClipArrays(frames=frames), None) == "visual"
    localization = PackagedLocalizer().localize(ClipArrays(samples=samples))
    assert localization.network == packaged_description("audio")


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


def test_half_precision_changes_scores_by_less_than_a_hundredth(tmp_path):
    """The same network with weights that were rounded to half precision once more equals itself; with noise of that size it
    stays near."""
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

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import (
    Extractor,
    Features,
    check_extractor,
    check_row_count,
    check_rows,
    gap_rows,
)
from avloc.feature_extraction.extractors.windows import StreamWindow
from avloc.feature_extraction.media.types import Clip, VideoFormat

GRAY = VideoFormat(2, 3, "gray")


class Brightness(Extractor):
    """The mean grey level of two frames each."""

    name, version, modality, hop_s, dim = "brightness", 3, "visual", 0.08, 1
    receptive_field_s, start_offset_s, window_s = 0.08, 0.01, 0.8

    def __init__(self, *, scale: int = 1) -> None:
        self.scale = scale

    @property
    def video_format(self):
        return GRAY

    def parameters(self):
        return {"scale": self.scale}

    def rows(self, streams):
        return [
            np.stack([s[k : k + 2].mean(keepdims=True)[0, 0] for k in range(0, len(s), 2)]).astype(np.float32)
            * self.scale
            for s in streams
        ]


def test_features_need_a_row_per_step():
    with pytest.raises(ValueError, match="a row per step, got 2 and 3 steps"):
        Features(np.zeros((2, 4), np.float32), TimeGrid(0.0, 0.04, 3))


def test_long_clip_in_windows_equals_the_whole():
    frames = np.arange(25, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 3), np.uint8)
    clip = Clip(Path("c.mp4"), fps=25, sample_rate=16000, frames={GRAY: frames}, video_start_s=0.5)
    extractor = Brightness()
    assert (extractor.window_cutter().unit, extractor.window_cutter().window, extractor.context_s) == (2, 10, 0.16)
    features = extractor.extract(clip)
    assert features.values[:, 0].tolist() == [*np.arange(12) * 2 + 0.5, 24]
    assert features.grid == TimeGrid(0.51, 0.08, 13)


def test_stream_of_the_modality_is_selected():
    clip = Clip(Path("c.mp4"), fps=25, sample_rate=16000, samples=np.zeros(9, np.float32))
    assert Brightness().select_stream(clip) is None
    empty = Brightness().extract(clip)
    assert empty.values.shape == (0, 1)
    assert empty.grid == TimeGrid(0.0, 0.08, 0)


def test_description_names_the_class_that_is_not_in_the_catalog():
    assert Brightness(scale=2).describe() == ExtractorDescription(
        name="brightness",
        modality="visual",
        hop_s=0.08,
        dim=1,
        version=3,
        parameters={"scale": 2},
        start_offset_s=0.01,
        receptive_field_s=0.08,
        window_s=0.8,
        factory=f"{__name__}.Brightness",
    )


def test_subclass_of_a_catalog_class_is_another_class():
    from avloc.feature_extraction.extractors.spectrogram import LogMel

    class Other(LogMel):
        """Changed by a user, under the old name."""

    assert LogMel().describe().factory is None
    assert Other().describe().factory == f"{__name__}.{Other.__qualname__}"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_name_file_and_extractor(value):
    check_rows("c.mp4", Brightness(), np.zeros((0, 1)))
    with pytest.raises(AvlocError, match=r"c\.mp4: brightness gave features that are not finite numbers"):
        check_rows("c.mp4", Brightness(), np.array([[0.0], [value]]))


class Wrong(Brightness):
    name = "wrong"


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("modality", "sound", "modality must be audio or visual, got 'sound'"),
        ("hop_s", 0.0, "hop_s must be seconds above 0, got 0.0"),
        ("hop_s", "fast", "hop_s must be seconds above 0, got 'fast'"),
        ("dim", 0, "dim must be a whole number of at least 1, got 0"),
        ("dim", 2.5, "dim must be a whole number of at least 1, got 2.5"),
        ("name", "a b", "name must be a name of letters"),
        ("name", "logspec", "'logspec' is the name of an extractor of avloc"),
        ("receptive_field_s", -1.0, "receptive_field_s must be seconds of at least 0"),
    ],
)
def test_wrong_declarations_are_named(monkeypatch, attribute, value, message):
    assert check_extractor(Wrong()).name == "wrong"
    monkeypatch.setattr(Wrong, attribute, value)
    with pytest.raises(AvlocError, match=message):
        check_extractor(Wrong())


def test_missing_declaration_is_named():
    class Nameless(Extractor):
        modality, hop_s, dim, receptive_field_s = "audio", 0.01, 1, 0.01

        def rows(self, streams):
            return streams

    with pytest.raises(AvlocError, match="Nameless: an extractor must declare name"):
        check_extractor(Nameless())


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 1, 1), ()])
def test_rows_of_another_shape_are_refused(shape):
    with pytest.raises(AvlocError, match=r"c\.mp4: brightness must give rows of shape \(T, 1\), got"):
        check_rows("c.mp4", Brightness(), np.zeros(shape))


def test_one_array_per_stream(monkeypatch):
    monkeypatch.setattr(Brightness, "rows", lambda self, streams: [])
    with pytest.raises(AvlocError, match="rows must return one array per stream, got 0 for 1"):
        Brightness().window_rows(StreamWindow(np.zeros((3, 2, 2)), 0, None))


@pytest.mark.parametrize(
    ("count", "fits"), [(59, False), (60, True), (125, True), (252, True), (253, False), (12, False), (0, False)]
)
def test_the_number_of_rows_fits_to_the_hop(count, fits):
    """250 frames are 10 s, of which a row of 0.08 s sees 0.08 s: 125 rows, of which half less two must come."""
    stream, rows = np.zeros((250, 2, 3), np.uint8), np.zeros((count, 1), np.float32)
    if fits:
        check_row_count(Brightness(), stream, rows)
    else:
        with pytest.raises(
            AvlocError, match=rf"brightness: gave {count} rows for 10.00 s, want about 125 at its hop_s of 0.08 s"
        ):
            check_row_count(Brightness(), stream, rows)


def test_short_streams_may_have_no_rows():
    for frames in (1, 4):
        check_row_count(Brightness(), np.zeros((frames, 2, 3), np.uint8), np.zeros((0, 1), np.float32))


def test_too_few_rows_are_noticed_in_an_extraction():
    class Tenth(Brightness):
        def rows(self, streams):
            return [rows[::10] for rows in super().rows(streams)]

    frames = np.zeros((25, 2, 3), np.uint8)
    clip = Clip(Path("c.mp4"), fps=25, sample_rate=16000, frames={GRAY: frames})
    with pytest.raises(AvlocError, match=r"brightness: gave 1 rows for 0\.80 s, want about 10"):
        Tenth().extract(clip)


def test_rows_in_gaps():
    grid = TimeGrid(1.0, 0.1, 10)
    assert gap_rows([], grid) == ()
    assert gap_rows([Segment(0.0, 1.05), Segment(1.14, 1.16), Segment(1.16, 1.24)], grid) == ((1, 2),)
    assert gap_rows([Segment(1.0, 1.3), Segment(1.85, 9.0)], grid) == ((0, 3), (8, 10))
    assert gap_rows([Segment(3.0, 4.0)], grid) == ()


def test_features_tell_where_they_are_present():
    features = Features(np.zeros((4, 1), np.float32), TimeGrid(0.1, 0.1, 4), ((1, 2),))
    assert features.present_on(TimeGrid(0.0, 0.1, 6)).tolist() == [False, True, False, True, True, False]
    assert not Brightness().empty_features().present_on(TimeGrid(0.0, 0.1, 3)).any()


def test_gaps_of_a_whole_clip():
    frames = np.zeros((10, 2, 3), np.uint8)
    clip = Clip(Path("c.mp4"), fps=25, sample_rate=16000, frames={GRAY: frames}, video_start_s=0.5)
    clip.gaps["visual"].append(Segment(0.6, 0.76))
    clip.gaps["audio"].append(Segment(0.0, 9.0))
    assert Brightness().extract(clip).gaps == ((1, 3),)

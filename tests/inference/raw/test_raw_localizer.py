from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import TimeGrid
from avloc.datasets.examples.example import FeatureExample
from avloc.errors import AvlocError
from avloc.inference import windowed_network as inference
from avloc.inference.localizer import Localizer
from avloc.inference.raw.raw_localizer import RAW_ROWS, RawLocalizer
from avloc.inference.sources.clip import ClipSource
from avloc.inference.sources.feature import FeatureSource
from avloc.models import BATFD, BoundaryTransformer


def example(length, seed=0, *, audio=True, value=None):
    random = np.random.default_rng(seed)
    streams = tuple(random.normal(0, 1, (length, d)).astype(np.float32) for d in (5, 4))
    if value is not None:
        streams[0][length // 2] = value
    masks = (np.full(length, audio), np.ones(length, bool))
    return FeatureExample(VideoRecord(f"{seed}", "t"), TimeGrid(0.3, 0.04, length), streams, masks, 0.3 + length * 0.04)


@pytest.mark.parametrize("options", [{}, {"modality_points": True, "merge_iou": 0.5}])
def test_raw_rows_decode_to_the_rows_of_a_run(options, monkeypatch):
    """Bit by bit: of a batch, of a clip without sound, and of one in windows; a clip that is not finite fails in both."""
    monkeypatch.setattr(inference, "WINDOW_S", 4.0)
    torch.manual_seed(0)
    model = BoundaryTransformer(audio_dim=5, visual_dim=4, width=8, heads=2, levels=2, distance_bins=9, **options)
    localizer = Localizer(model, FeatureSource([], 0.04))
    clips = [example(61, 1), example(1, 2), example(40, 3, value=np.nan), example(330, 4), example(57, 5, audio=False)]
    expected = list(localizer.run(clips, batch_size=2, keep=20))
    raw = list(RawLocalizer(localizer).run(clips, batch_size=2))
    assert raw[2] == expected[2].problems[0]
    assert [len(raw[k].windows) for k in (0, 1, 3, 4)] == [1, 1, 5, 1]
    for k in (0, 1, 3, 4):
        rows = raw[k].decode(model.decoding, keep=20)
        np.testing.assert_array_equal(rows.segments, expected[k].proposals.segments)
        np.testing.assert_array_equal(rows.scores, expected[k].proposals.scores)
    assert 20 < len(expected[3].proposals) <= 80  # 13.2 s may have four times 20 rows


def test_long_windows_keep_the_best_candidates():
    model = BoundaryTransformer(audio_dim=5, visual_dim=4, width=8, heads=2, levels=1)
    (clip,) = RawLocalizer(Localizer(model, FeatureSource([], 0.04))).run([example(RAW_ROWS + 100)])
    assert len(clip.windows[0].candidates.branches[0]) == RAW_ROWS


def test_a_network_without_candidates_is_refused():
    small = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (4, 3), "samples": 4}
    localizer = Localizer(BATFD(**small, frames=24, durations=9), ClipSource(24, "pad"))
    with pytest.raises(AvlocError, match="a BATFD gives no candidates"):
        RawLocalizer(localizer)

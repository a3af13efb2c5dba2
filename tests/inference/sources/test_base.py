from __future__ import annotations

from collections import Counter

import av
import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction import ClipArrays, Span, VideoFormat, build_extractor, probe
from avloc.inference.examples import DecodingJob
from avloc.inference.localizer import Localizer
from avloc.inference.sources.base import Request, clip_name, read_whole
from avloc.inference.sources.feature import FeatureSource
from avloc.models import BoundaryTransformer


@pytest.fixture
def localizer():
    extractors = [build_extractor(name) for name in ("logspec", "residual_grid")]
    model = BoundaryTransformer(audio_dim=extractors[0].dim, visual_dim=extractors[1].dim, width=8, heads=2, levels=1)
    return Localizer(model, FeatureSource([e.describe() for e in extractors], 0.04))


@pytest.fixture
def opened(monkeypatch):
    """Counts how often each file is opened."""
    counts, plain = Counter(), av.open

    def counted(file, *arguments, **options):
        counts[file] += 1
        return plain(file, *arguments, **options)

    monkeypatch.setattr(av, "open", counted)
    return counts


def test_a_clip_is_probed_once_and_opened_once_per_stream(localizer, tmp_path, frames, beep, opened):
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, beep)
    opened.clear()
    localizer.localize(path, preview=True)
    assert opened == {str(path): 3}  # header, audio, video


def test_a_header_that_is_known_is_not_read_again(localizer, tmp_path, frames, beep, opened):
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, beep)
    info = probe(path)
    opened.clear()
    localizer.localize(path, info=info)
    assert opened == {str(path): 2}


def test_a_span_of_arrays_is_refused():
    clip = ClipArrays(samples=np.zeros(100, np.float32), name="noise")
    with pytest.raises(MediaError, match="noise: a span is for files"):
        Request(Span(1.0, 2.0)).open_tracks(clip, [], [], [], "pyav")


def test_clip_names(tmp_path):
    assert clip_name(ClipArrays(samples=np.zeros(9, np.float32), name="noise")) == "noise"
    assert clip_name(tmp_path / "a.mp4") == str(tmp_path / "a.mp4")


def test_a_whole_clip_is_one_example(localizer, beep):
    example = read_whole(localizer.source, ClipArrays(samples=beep))
    assert example.grid.length == 30  # 1.2 s
    assert example.masks[0].all()
    assert not example.masks[1].any()


def test_the_decoding_sends_the_pulse(localizer, tmp_path, frames, beep):
    path, pulses = tmp_path / "a.mp4", []
    write_mp4(path, frames, beep)
    localizer.pulse = lambda: pulses.append("localizer")
    localizer.localize(path, span=Span(1.0, 1.2))
    before_the_span = 25 + 15  # frames, and packets of sound of 64 ms
    assert pulses.count("localizer") > before_the_span
    next(DecodingJob(localizer.source, tmp_path).build(lambda: pulses.append("job"))("a.mp4"))
    assert pulses.count("job") > before_the_span


@pytest.mark.parametrize(("modality", "decoded"), [("audio", [True, False]), ("visual", [False, True])])
def test_one_stream_alone_is_opened(tmp_path, frames, beep, opened, modality, decoded):
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, beep)
    info = probe(path)
    opened.clear()
    tracks = Request(info=info).open_tracks(path, [VideoFormat(8, 8)], [], [], "pyav", modality)
    for track in tracks:
        track.decode_until(np.inf)
    assert [track.decoded_s is not None for track in tracks] == decoded
    assert [track.error for track in tracks] == [None, None]
    assert opened == {str(path): 1}

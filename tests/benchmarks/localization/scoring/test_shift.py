from __future__ import annotations

import pickle

import av
import pytest

from avloc.datasets.readers.catalog import read_records
from avloc.feature_extraction.job.run import extract
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

EXTRACTORS = ("logspec", "residual_grid")


def delay(source, target, shift_s):
    """Copy a file so that both streams begin later: the picture's packets as they are, the sound as samples."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        rate = given.streams.audio[0].rate
        picture = made.add_stream_from_template(given.streams.video[0])
        sound = made.add_stream("pcm_s16le", rate=rate, layout="mono")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        for packet in given.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, picture
                made.mux(packet)
                continue
            for frame in (own for decoded in packet.decode() for own in resampler.resample(decoded)):
                frame.pts += round(shift_s * rate)
                made.mux(sound.encode(frame))
        made.mux(sound.encode())


@pytest.fixture
def clips(tmp_path, tiny_set):
    """A clip, and the same with both streams 13 ms later; in Matroska, whose clock has milliseconds."""
    source = tiny_set / read_records("lavdf", tiny_set, "train")[0].file
    delay(source, tmp_path / "here.mkv", 0.0)
    delay(source, tmp_path / "later.mkv", 0.013)
    return tmp_path


def test_shifted_features_are_those_of_a_file_that_begins_later(clips):
    from scoring.shift import ShiftedStore

    settings = ExtractionSettings(clips, tuple((name, {}) for name in EXTRACTORS))
    report = extract(["here.mkv", "later.mkv"], FeatureStore(clips / "features"), settings)
    assert not report.failures
    store, shifted = FeatureStore(clips / "features"), ShiftedStore(clips / "features", 0.013)
    for name in EXTRACTORS:
        later, moved = store.read(name, "later.mkv"), shifted.read(name, "here.mkv")
        assert len(later.values) > 20
        assert (later.values == moved.values).all()
        assert moved.grid.start_s == pytest.approx(store.read(name, "here.mkv").grid.start_s + 0.013)
        assert later.grid.start_s == pytest.approx(moved.grid.start_s, abs=5e-4)
        places = store.locate(name, ["later.mkv", "here.mkv"])
        assert shifted.ends_s(name, places[1:]) == pytest.approx(store.ends_s(name, places[:1]), abs=5e-4)


def test_a_shifted_store_can_be_sent_to_workers(tmp_path):
    from scoring.shift import ShiftedStore

    assert pickle.loads(pickle.dumps(ShiftedStore(tmp_path, 0.5))).shift_s == 0.5

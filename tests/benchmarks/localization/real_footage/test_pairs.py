from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers.catalog import read_records
from avloc.errors import AvlocError
from avloc.evaluation import read_truth
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import VideoFormat


def negative(samples):
    return -samples


def gray(frames, mouths, forged, side, strength):
    for t in np.flatnonzero(forged):
        x, y = mouths[t].round().astype(int)
        frames[t, y - 9 : y + 9, x - 9 : x + 9] = 128


def load_methods():
    from real_footage.forging import Methods

    return Methods({"negative": negative, "quiet": partial(np.multiply, np.float32(0.1))}, {"gray": gray})


def load_finder():
    from real_footage.words import quiet_points

    return quiet_points


def make(out, footage, **options):
    from real_footage import pairs

    return pairs.make(out, footage, load_methods, load_finder, settings={"language": "en"}, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory, footage):
    out = tmp_path_factory.mktemp("made") / "clips"
    return out, make(out, footage)


def test_each_method_is_used_once_a_round_and_once_together():
    from real_footage.pairs import plan_pairs

    pairs = plan_pairs(["a", "b", "c"], ["x", "y"], 2, np.random.default_rng(0))
    assert len(pairs) == 12
    assert pairs[:5] == [{"audio": "a"}, {"audio": "b"}, {"audio": "c"}, {"visual": "x"}, {"visual": "y"}]
    assert pairs[6:11] == pairs[:5]
    assert all(set(pair) == {"audio", "visual"} for pair in (pairs[5], pairs[11]))
    assert plan_pairs([], ["x"], 1, np.random.default_rng(0)) == [{"visual": "x"}]


def test_half_of_the_clips_are_forged_and_the_faceless_one_is_left_out(made):
    out, clips = made
    assert clips.left_out == {"wall": "no face in 25 of 25 frames"}
    assert len(clips.records) == 2 * 2 * 4
    assert [record.modality for record in clips.records[:8]] == [
        "real",
        "audio",
        "real",
        "audio",
        "real",
        "visual",
        "real",
        "both",
    ]
    assert [record.file for record in clips.records[:2]] == [
        "val/people/a/00-real.mp4",
        "val/people/a/00-audio-negative.mp4",
    ]
    assert all((out / record.file).is_file() for record in clips.records)


def test_metadata_are_those_of_avdeepfake1m(made):
    out, clips = made
    read = list(read_records("avdeepfake1m", out, "val"))
    for record, expected in zip(read, clips.records, strict=True):
        assert record.file == expected.file
        assert record.audio_segments == expected.audio_segments
        assert record.visual_segments == expected.visual_segments
    truth = read_truth(out / "val_metadata.json", "fake_segments")
    assert len(truth.labels.segments) == 8  # sound and mouth of a clip share their segment
    assert truth.source.tolist() == [0] * 8 + [1] * 8
    assert truth.duration_s == pytest.approx([2.0] * 8 + [2.4] * 8)
    details = json.loads((out / "details.json").read_text())
    assert set(details) == {record.file for record in clips.records}
    words = details["val/people/b/03-real.mp4"].pop("words")
    assert [word[0] for word in words] == pytest.approx([0.5, 1.0, 1.5], abs=0.05)
    assert details["val/people/b/03-real.mp4"] == {
        "methods": {},
        "change": "none",
        "speaker": "people/b",
        "language": "en",
        "source": "people/b",
        "fps": "25",
        "video_start_s": 0,
        "codec": "",
        "splices": [],
        "face": "people/b",
    }
    forged = details[clips.records[7].file]
    assert forged["change"] == "replace"
    assert forged["methods"].keys() == {"audio", "visual"}


def test_versions_of_a_pair_differ_within_the_labels_only(made):
    out, clips = made
    form = VideoFormat(192, 240)
    for real, forged in zip(clips.records[:8:2], clips.records[1:8:2], strict=True):
        a, b = (decode(out / record.file, [form]) for record in (real, forged))
        assert len(a.frames[form]) == len(b.frames[form]) == 50
        picture = np.abs(a.frames[form].astype(int) - b.frames[form]).max(axis=(1, 2, 3)) > 40
        blocks = np.abs(a.samples - b.samples)[: 50 * 640].reshape(-1, 160).mean(axis=1)
        for segments, start_s, end_s in (
            (forged.visual_segments, *_ends(np.flatnonzero(picture) / 25, 0.04)),
            (forged.audio_segments, *_ends(np.flatnonzero(blocks > 0.05) / 100, 0.01)),
        ):
            if segments:
                assert (start_s, end_s) == pytest.approx(tuple(segments[0]), abs=0.03)
            else:
                assert start_s is None


def _ends(times_s, step_s):
    return (times_s[0], times_s[-1] + step_s) if len(times_s) else (None, None)


def test_finished_clips_are_kept(made, footage):
    out, clips = made
    path = out / clips.records[3].file
    content = path.read_bytes()
    path.write_bytes(b"kept")
    progress = []
    assert make(out, footage, progress=progress.append) == clips
    assert path.read_bytes() == b"kept"
    assert progress == [3]
    path.write_bytes(content)
    with pytest.raises(AvlocError, match="holds forgeries of other clips or settings"):
        make(out, footage, rounds=2)


def test_footage_without_faces_is_an_error(tmp_path, footage):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "wall.mp4").write_bytes((footage / "wall.mp4").read_bytes())
    with pytest.raises(AvlocError, match="no clip of the footage can be used: .*no face"):
        make(tmp_path / "out", tmp_path / "in")


def test_records_survive_json():
    from dataclasses import asdict

    from real_footage.pairs import read_record

    record = VideoRecord(
        "val/a.mp4",
        "val",
        2.5,
        (Segment(0.25, 0.5),),
        (Segment(0.24, 0.52), Segment(1, 1.5)),
        attributes=(("original", "b"),),
    )
    assert read_record(json.loads(json.dumps(asdict(record)))) == record

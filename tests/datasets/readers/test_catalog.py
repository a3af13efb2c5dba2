from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from avloc.core.timeline import Segment
from avloc.datasets.readers.catalog import public_name, read_records
from avloc.errors import AvlocError

LAVDF = {
    "file": "test/000001.mp4", "n_fakes": 1, "fake_periods": [[1.0, 1.5]], "duration": 4.2, "original": None,
    "modify_video": True, "modify_audio": False, "split": "test", "video_frames": 105, "audio_frames": 67200,
}  # fmt: skip
ONE_M = {
    "file": "id1/yt/0/fake.mp4", "split": "val", "modify_type": "audio_modified", "fake_segments": [[1, 2]],
    "audio_fake_segments": [[1, 2]], "visual_fake_segments": [[3, 4]], "video_frames": 100, "audio_frames": 64000,
}  # fmt: skip


def write(path: Path, data: object) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path.parent


def test_lavdf(tmp_path):
    root = write(tmp_path / "metadata.min.json", [LAVDF, {**LAVDF, "file": "train/2.mp4", "split": "train"}])
    record = read_records("lavdf", root, "test")[0]
    assert (record.file, record.modality, record.duration_s) == ("test/000001.mp4", "visual", 4.2)
    assert record.segments == record.visual_segments == (Segment(1.0, 1.5),)
    assert record.audio_segments == ()
    assert len(read_records("lavdf", root)) == 2


def test_avdeepfake1m_drops_segments_of_an_untouched_modality(tmp_path):
    root = write(tmp_path / "val_metadata.json", [ONE_M, {**ONE_M, "file": "b.mp4", "modify_type": "both-modified"}])
    audio, both = read_records("avdeepfake1m", root, "val")
    assert audio.segments == (Segment(1, 2),)
    assert both.segments == (Segment(1, 2), Segment(3, 4))
    assert (audio.file, public_name("avdeepfake1m", audio)) == ("val/id1/yt/0/fake.mp4", "id1/yt/0/fake.mp4")
    (tmp_path / "test_files.txt").write_text("000000.mp4\n\n000001.mp4\n")
    assert [r.labelled for r in read_records("avdeepfake1m", root)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[", "metadata.json: line 1, column 2: not JSON"),
        ({}, "want a list of clips, got an object"),
        ([1], "entry 0 is not an object but a number"),
        ([{**LAVDF, "file": "../x.mp4"}], "entry 0: the file '../x.mp4' leads out"),
        ([{**LAVDF, "file": "/etc/passwd"}], "leads out of the dataset's folder"),
        ([LAVDF, {"file": "x"}], "entry 1 has no field 'fake_periods'"),
        ([{**LAVDF, "fake_periods": [[2, 1]]}], r"entry 0: fake_periods: segment 0 is \[2, 1\], want"),
        ([{**LAVDF, "fake_periods": [["a", 1]]}], "entry 0: fake_periods: "),
        ([{**LAVDF, "modify_video": "yes"}], "modify_video is 'yes'"),
        ([{**LAVDF, "fake_periods": [[]]}], r"segment 0 is \[\], want \[start, end\]"),
        ([{**LAVDF, "fake_periods": [[1, 10**400]]}], "entry 0: fake_periods: "),
        ([{**LAVDF, "duration": -3}], "duration must be above 0 seconds, got -3"),
        ([{**LAVDF, "split": "dev2"}], "the split must be one of train, dev, test, got 'dev2'"),
        ([{**LAVDF, "file": "."}], "leads out of the dataset's folder"),
        ([{**LAVDF, "file": "a\0.mp4"}], "cannot be the name of a file"),
        ([{**LAVDF, "file": "a\ud800.mp4"}], "cannot be the name of a file"),
        ([LAVDF, LAVDF], "the clip test/000001.mp4 is in the metadata twice"),
        ("[" * 100_000, "brackets nested too deeply"),
        ([{**LAVDF, "modify_video": False}], "neither modify_audio nor modify_video"),
        ([], "no clips in the whole split"),
    ],
)
def test_malformed_metadata_is_one_line(tmp_path, change, message):
    with pytest.raises(AvlocError, match=message) as caught:
        read_records("lavdf", write(tmp_path / "metadata.json", change))
    assert "\n" not in str(caught.value)


def test_missing_things(tmp_path):
    with pytest.raises(AvlocError, match="no such folder"):
        read_records("lavdf", tmp_path / "x")
    with pytest.raises(AvlocError, match=r"want metadata\.json or metadata\.min\.json"):
        read_records("lavdf", tmp_path)
    with pytest.raises(AvlocError, match=r"want train_metadata\.json"):
        read_records("avdeepfake1m", tmp_path)
    with pytest.raises(AvlocError, match="no such list of test files"):
        read_records("avdeepfake1m", tmp_path, "test")
    with pytest.raises(AvlocError, match="has the splits train, dev, test, got 'val'"):
        read_records("lavdf", tmp_path, "val")
    with pytest.raises(AvlocError, match="unknown dataset 'x'"):
        read_records("x", tmp_path)
    root = write(tmp_path / "val_metadata.json", [{**ONE_M, "modify_type": "odd"}])
    with pytest.raises(AvlocError, match="modify_type must be one of"):
        read_records("avdeepfake1m", root, "val")


def test_the_folders_are_no_top_level_packages():
    for name in ("datasets", "evaluation", "feature_extraction"):
        __import__(f"avloc.{name}")
    repository = Path(__file__).parents[2]
    spec = find_spec("datasets")
    assert spec is None or not Path(spec.origin or "/").is_relative_to(repository)
    code = "import datasets"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert "do not put the repository's root on the path" in done.stderr

from __future__ import annotations

import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers.catalog import public_name, read_records
from avloc.datasets.readers.rttm import write
from avloc.errors import AvlocError

FAKE = VideoRecord("test/a.wav", "test", 3.0, audio_segments=(Segment(1.0, 1.5), Segment(2.0, 2.25)))
REAL = VideoRecord("train/b.wav", "train", 2.0)


@pytest.fixture
def root(tmp_path):
    for record in (FAKE, REAL):
        (tmp_path / record.file).parent.mkdir()
        (tmp_path / record.file).touch()
    return tmp_path


def test_write_and_read_are_inverse(root):
    write(root, [FAKE, REAL], {})
    assert {r.file: r for r in read_records("rttm", root)} == {r.file: r for r in (FAKE, REAL)}
    [fake] = read_records("rttm", root, "test")
    assert public_name("rttm", fake) == "a"
    with pytest.raises(AvlocError, match=r"has the splits test, train, got 'dev'; want a file dev\.rttm"):
        read_records("rttm", root, "dev")


def test_segments_are_merged_and_a_length_needs_genuine_rows(root):
    rows = ["0 1", "1 0.5", "1.2 0.1", "3 0", "4 1"]
    lines = [
        f"SPEAKER a 1 {times} <NA> <NA> {label} <NA> <NA>"
        for times, label in zip(rows, ["A01", "spoof", "A02", "A03", "spoof"], strict=True)
    ]
    (root / "labels.rttm").write_text("\r\n".join(lines))
    for split in (None, "train", "val", "test", "all"):  # one file of another name: no splits
        [record] = read_records("rttm", root, split)
        assert record.audio_segments == (Segment(0, 1.5), Segment(4, 5))
        assert (record.duration_s, record.split) == (None, "all")
    with pytest.raises(AvlocError, match="the clips have no splits, got 'tets'"):
        read_records("rttm", root, "tets")


def test_missing_and_ambiguous_clips(root):
    (root / "test.rttm").write_text("SPEAKER c 1 0 1 <NA> <NA> spoof <NA> <NA>\n")
    with pytest.raises(
        AvlocError, match=r"test\.rttm: c: is no clip under .*; want one file of that name, with any suffix"
    ):
        read_records("rttm", root)
    for name in ("test/c.wav", "train/c.flac"):
        (root / name).touch()
    with pytest.raises(AvlocError, match=r"c: may be test/c\.wav or train/c\.flac"):
        read_records("rttm", root)
    (root / "test.rttm").unlink()
    with pytest.raises(AvlocError, match=r"no RTTM files here, want train\.rttm, dev\.rttm, test\.rttm"):
        read_records("rttm", root)

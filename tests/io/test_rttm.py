from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.io.rttm import RttmRow, is_fake_label, read_rttm, write_rttm

LINE = "SPEAKER a 1 0.5 1.25 <NA> <NA> spoof 0.75 <NA>"


def write(tmp_path, text):
    (tmp_path / "x.rttm").write_bytes(text.encode())
    return tmp_path / "x.rttm"


def test_rows_are_read_by_clip(tmp_path):
    path = write(
        tmp_path,
        f";; a comment\r\n{LINE}\r\n\r\nSPKR-INFO a 1 <NA>\r\nSPEAKER b 1 0 2 <NA> <NA> A07 <NA> <NA>\r\n{LINE}\n",
    )
    clips = read_rttm(path)
    row = RttmRow(0.5, 1.75, True, "spoof", 0.75)
    assert clips == {"a": [row, row], "b": [RttmRow(0.0, 2.0, True, "A07", None)]}


def test_write_and_read_are_inverse(tmp_path):
    clips = {
        "a": [RttmRow(0.0, 0.5, False, "bonafide"), RttmRow(0.5, 1.75, True, "spoof", 0.125)],
        "ü": [RttmRow(1, 1, True, "A01")],
    }
    write_rttm(tmp_path / "x.rttm", clips)
    assert read_rttm(tmp_path / "x.rttm") == clips


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER a 1 0.5", "line 2: want SPEAKER clip 1 start duration"),
        ("speaker a 1 0 1 <NA> <NA> spoof", "line 2: want SPEAKER clip 1 start duration"),
        ("SPEAKER a 1 x 1 <NA> <NA> spoof", "line 2: want a number, got 'x'"),
        ("SPEAKER a 1 nan 1 <NA> <NA> spoof", "line 2: want a number, got 'nan'"),
        ("SPEAKER a 1 0 -1 <NA> <NA> spoof", "line 2: want a start and a duration of 0 s or more, got 0 and -1"),
        (
            "SPEAKER a 1 0 1 <NA> <NA> music",
            "line 2: unknown label 'music', want bonafide, spoof, nonspeech, or a method",
        ),
    ],
)
def test_malformed_lines_are_named(tmp_path, line, message):
    with pytest.raises(AvlocError, match=message) as error:
        read_rttm(write(tmp_path, f"{LINE}\n{line}\n"))
    assert "\n" not in str(error.value)


def test_files_without_rows(tmp_path):
    with pytest.raises(AvlocError, match=r"x\.rttm: has no line that begins with SPEAKER"):
        read_rttm(write(tmp_path, ""))
    with pytest.raises(AvlocError, match="no such RTTM file"):
        read_rttm(tmp_path / "none.rttm")
    (tmp_path / "l.rttm").write_bytes(b"\xff\xfe")
    with pytest.raises(AvlocError, match="not text in UTF-8"):
        read_rttm(tmp_path / "l.rttm")


def test_a_row_or_a_name_that_cannot_be_written(tmp_path):
    for name in ("a b", "", " a"):
        with pytest.raises(AvlocError, match="has a blank, which an RTTM file cannot carry"):
            write_rttm(tmp_path / "x.rttm", {name: []})
    with pytest.raises(AvlocError, match="a: a row ends before it starts: 2 to 1"):
        write_rttm(tmp_path / "x.rttm", {"a": [RttmRow(2, 1, True, "spoof")]})
    assert not (tmp_path / "x.rttm").exists()


def test_labels():
    assert [is_fake_label(label) for label in ("SPOOF", "fake", "A19", "Bonafide", "nonspeech", "AB", "", "A")] == [
        *(True, True, True, False, False),
        *(None, None, None),
    ]

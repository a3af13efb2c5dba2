from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.evaluation.inputs.asvspoof import (
    is_key,
    is_score_file,
    read_asvspoof_scores,
    read_key,
    write_asvspoof_scores,
    write_key,
)


def test_the_sign_is_changed_on_the_way_in_and_out(tmp_path):
    path = tmp_path / "scores.tsv"
    path.write_text("filename\tcm-score\nE_0001\t2.5\nE_0002\t-1\n\nE_0003\t0\r\n")
    assert read_asvspoof_scores(path) == {"E_0001": -2.5, "E_0002": 1.0, "E_0003": 0.0}
    write_asvspoof_scores(tmp_path / "again.tsv", read_asvspoof_scores(path))
    assert (tmp_path / "again.tsv").read_text() == "filename\tcm-score\nE_0001\t2.5\nE_0002\t-1\nE_0003\t0\n"
    assert is_score_file(path)
    assert not is_key(path)


def test_keys_are_written_and_read_back(tmp_path):
    path = tmp_path / "key.tsv"
    write_key(path, {"a": True, "b.flac": False})
    assert path.read_text() == "filename\tcm-label\na\tspoof\nb.flac\tbonafide\n"
    assert read_key(path) == {"a": True, "b.flac": False}
    assert is_key(path)
    path.write_text("codec\tcm-label\tfilename\nC01\tspoof\tx\n")  # columns in any order
    assert read_key(path) == {"x": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: want a header with filename and cm-score, got \[''\]"),
        ("a\t1\n", "line 1: want a header with filename and cm-score"),
        ("filename\tcm-score\na\tbig\n", "line 2: cm-score is 'big', want a finite number"),
        ("filename\tcm-score\na\tnan\n", "line 2: cm-score is 'nan', want a finite number"),
        ("filename\tcm-score\na\n", "line 2: want 2 columns, as the header, got 1"),
        ("filename\tcm-score\na\t1\na\t2\n", "line 3: the clip a is in the file more than once"),
        ("filename\tcm-score\n\t2\n", "line 2: the name is empty"),
    ],
)
def test_malformed_score_files_are_named_with_their_line(tmp_path, text, message):
    path = tmp_path / "s.tsv"
    path.write_text(text)
    with pytest.raises(AvlocError, match=message):
        read_asvspoof_scores(path)


def test_malformed_keys(tmp_path):
    path = tmp_path / "k.tsv"
    path.write_text("filename\tcm-label\na\tfake\n")
    with pytest.raises(AvlocError, match="line 2: cm-label is 'fake', want bonafide or spoof"):
        read_key(path)
    path.write_text("filename\tcm-label\n")
    with pytest.raises(AvlocError, match="no clips"):
        read_key(path)
    path.write_bytes(b"filename\tcm-label\n\xff\tspoof\n")
    with pytest.raises(AvlocError, match="not text in UTF-8"):
        read_key(path)
    assert not is_key(tmp_path / "none.tsv")


def test_names_that_the_form_cannot_carry_are_refused(tmp_path):
    with pytest.raises(AvlocError, match=r"the name 'a\\tb' holds a tab or a line break"):
        write_asvspoof_scores(tmp_path / "s.tsv", {"a\tb": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_protocol_serves_as_a_key(tmp_path):
    path = tmp_path / "PartialSpoof.LA.cm.eval.trl.txt"
    path.write_bytes(b"LA_1 CON_E_1 - CON spoof\r\n\r\nLA_2 LA_E_2 - - bonafide\r\n")
    assert is_key(path)
    assert read_key(path) == {"CON_E_1": True, "LA_E_2": False}
    for line, message in (
        ("LA_2 LA_E_3 - - genuine", "line 2: want speaker, clip, -, system and bonafide or spoof, got 'LA_2 LA_E_3"),
        ("LA_1 CON_E_1 - CON spoof", "line 2: the clip CON_E_1 is in the file more than once"),
        ("LA_1 CON_E_4 spoof", "line 2: want speaker, clip"),
    ):
        path.write_text(f"LA_1 CON_E_1 - CON spoof\n{line}\n")
        with pytest.raises(AvlocError, match=message):
            read_key(path)
    (tmp_path / "scores.txt").write_text("a.mp4;0.5\n")
    assert not is_key(tmp_path / "scores.txt")

from __future__ import annotations

import pytest

from avloc.evaluation.inputs.names import describe_mismatch, match_names


@pytest.mark.parametrize(
    ("names", "files", "expected"),
    [
        (["a.mp4"], ["a.mp4"], {}),
        (["000000.mp4", "000001.mp4"], ["test/000000.mp4", "test/000001.mp4"], {"000000.mp4": "test/000000.mp4"}),
        (["000000"], ["test/000000.mp4"], {"000000": "test/000000.mp4"}),
        (["test/000000"], ["test/000000.mp4"], {"test/000000": "test/000000.mp4"}),
        (["/data/LAV-DF/test/000000.mp4"], ["test/000000.mp4"], {"/data/LAV-DF/test/000000.mp4": "test/000000.mp4"}),
        (["D:\\x\\000000.npy"], ["000000.mp4"], {"D:\\x\\000000.npy": "000000.mp4"}),
        (["./000000.mp4"], ["000000.mp4"], {"./000000.mp4": "000000.mp4"}),
        (["clip.v2"], ["clip.v2.mp4", "clip.mp4"], {"clip.v2": "clip.v2.mp4"}),
        ([".hidden"], ["x/.hidden"], {".hidden": "x/.hidden"}),
        (["train/000000.mp4"], ["test/000000.mp4"], {}),  # the same name in another folder is another clip
        (["est/000000.mp4"], ["test/000000.mp4"], {}),  # a folder's name counts as a whole
        (["b.mp4"], ["test/a.mp4"], {}),
        (["", "/"], ["a.mp4"], {}),
        ([], ["a.mp4"], {}),
        (["a"], [], {}),
    ],
)
def test_paths_that_end_alike_are_the_same_clip(names, files, expected):
    matches = match_names(names, files).file_by_name
    assert {name: matches[name] for name in expected} == expected
    assert len(matches) == (2 if len(names) == 2 and expected else len(expected))


def test_a_name_that_fits_two_clips_is_left_out_and_told():
    matches = match_names(["000000", "b"], ["train/000000.mp4", "test/000000.mp4", "test/b.mp4"])
    assert matches.file_by_name == {"b": "test/b.mp4"}
    assert matches.ambiguous == {"000000": ("train/000000.mp4", "test/000000.mp4")}
    assert matches.notes()[1] == (
        "1 names fit several clips and are left out, such as 000000, which may be train/000000.mp4 or test/000000.mp4; "
        "a split (--split) may tell them apart"
    )


def test_two_names_for_one_clip_are_left_out():
    assert match_names(["a.wav", "a.npy"], ["x/a.mp4"]).file_by_name == {}
    assert match_names(["a.mp4", "a"], ["a.mp4", "b.mp4"]).file_by_name == {}  # the clip has its own name already
    assert match_names(["a.mp4", "a"], ["x/a.mp4", "b.mp4"]).file_by_name == {"a.mp4": "x/a.mp4"}


def test_a_clip_with_its_own_name_makes_a_shorter_name_ambiguous():
    matches = match_names(["x/a.mp4", "a.mp4"], ["x/a.mp4", "y/a.mp4"])
    assert matches.file_by_name == {}
    assert list(matches.ambiguous) == ["a.mp4"]


def test_notes_count_the_matches_and_escape_names():
    matches = match_names(["a\n\udcff"], ["x/a\n\udcff.mp4"])
    assert matches.notes() == [
        "1 clips are matched by the end of their path, 1 of them without the suffix, such as a\\n\\udcff, which is "
        "x/a\\n\\udcff.mp4"
    ]
    assert match_names(["a"], ["a"]).notes() == []


def test_a_mismatch_names_both_sides():
    text = describe_mismatch("p.txt", ["a\n", "b"], ["c.mp4"], "the list", ["1 names fit several clips"])
    assert text == (
        "p.txt: none of its 2 clips is in the list: its names are such as a\\n, want such as c.mp4; 1 names fit several clips"
    )
    assert describe_mismatch("p.txt", [], ["c.mp4"], "the list", []) == "p.txt: has no clips"

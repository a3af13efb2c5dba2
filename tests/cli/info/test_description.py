from __future__ import annotations

from pathlib import Path

from avloc.cli.info.description import Description, listed, quoted
from avloc.errors import counted

DESCRIPTION = Description(
    "a kind of file",
    [("Short", "text"), ("Long label", "word " * 30), ("Empty", ""), ("Hash", "ab" * 32), ("Escape", "a\x1b[2J")],
    {"bytes": 3},
    ["avloc localize 'my clip.mp4' --checkpoint a/rather/long/path/to/best.ckpt --out timelines"],
)


def test_a_text_keeps_the_width_and_whole_hashes(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = DESCRIPTION.text(Path("a b.x")).splitlines()
    assert lines[:3] == ["a b.x: a kind of file", "  Short       text", f"  Long label  {'word ' * 8}word"]
    assert any("ab" * 32 in line for line in lines)
    assert not any("Empty" in line for line in lines)
    assert r"  Escape      a\x1b[2J" in lines
    assert all(len(line) <= 58 for line in lines if "abab" not in line)
    assert "next:" in lines
    assert lines[-1] == "      --out timelines"


def test_a_document_has_the_kind_and_the_next_commands():
    document = DESCRIPTION.to_dict(Path("a"), "clip")
    assert document["path"] == "a"
    assert (document["kind"], document["details"]["bytes"], len(document["next"])) == ("clip", 3, 1)


def test_without_commands_there_is_no_next():
    assert Description("a thing").text(Path("x")) == "x: a thing"


def test_words():
    assert (quoted(Path("a b")), counted(0, "clip"), counted(1, "clip")) == ("'a b'", "0 clips", "1 clip")
    assert listed({}) == ""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.detection import read_clip_scores
from avloc.evaluation.predictions import write_predictions
from avloc.inference.split import journal as module
from avloc.inference.split.journal import Journal, PartSummary, PredictedClip, read_part, write_part

ROWS = np.array([[0.9, 0.5, 1.25], [0.125, 2.0, 2.04]])
NONE = np.zeros((0, 3))
SETTINGS = {"checkpoint": "3a", "keep": 100}


@pytest.fixture
def journal(tmp_path):
    """Three parts of five clips, of which two failed; one has an odd name."""
    made = Journal(tmp_path / "out" / "p.json", count=3)
    made.open(SETTINGS)
    write_part(made.path(0), [PredictedClip("a.mp4", ROWS), PredictedClip('b "ü"\n.mp4', NONE)])
    write_part(made.path(1), [PredictedClip("=c.mp4", NONE, "cannot be opened as media")])
    write_part(made.path(2), [PredictedClip("d\udcff.mp4", NONE, "not finite"), PredictedClip("e.mp4", ROWS[:1])])
    return made


def test_parts_join_to_the_file_that_is_written_at_once(journal, tmp_path):
    journal.join()
    rows = {"a.mp4": ROWS, 'b "ü"\n.mp4': NONE, "=c.mp4": NONE, "d\udcff.mp4": NONE, "e.mp4": ROWS[:1]}
    write_predictions(tmp_path / "whole.json", rows)
    assert journal.out.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert sorted(path.name for path in journal.out.parent.iterdir()) == ["p.failures.csv", "p.json"]
    lines = journal.failures_path.read_text().splitlines()
    assert lines[0] == "file,reason"
    assert lines[1].endswith("=c.mp4,cannot be opened as media")
    assert lines[2:] == ["d\\udcff.mp4,not finite"]


def test_a_journal_without_parts_is_discarded_and_no_other(journal, tmp_path):
    journal.discard_unused()
    assert journal.has(0)
    empty = Journal(tmp_path / "empty" / "p.json", count=3)
    empty.open(SETTINGS)
    empty.discard_unused()
    assert not list(empty.out.parent.iterdir())
    empty.discard_unused()  # of two tasks, the other was first


def test_counts_of_parts(journal):
    total = PartSummary()
    for summary in journal.summaries(range(3)):
        total.add(summary)
    assert (total.clips, total.rows, total.failed) == (5, 3, 2)
    assert list(total.failures) == ["=c.mp4", "d\udcff.mp4"]


def test_a_report_names_the_first_failures(monkeypatch):
    monkeypatch.setattr(module, "KEPT_FAILURES", 3)
    total = PartSummary()
    for k in range(2):
        total.add(PartSummary(2, 0, 2, {f"{k}a": "x", f"{k}b": "x"}))
    assert (total.failed, list(total.failures)) == (4, ["0a", "0b", "1a"])


def test_the_table_of_failures_of_an_earlier_run_is_removed(journal):
    for name, text in (("p.failures.csv", "file,reason\nx.mp4,old\n"), ("other.failures.csv", "my own\n")):
        (journal.out.parent / name).write_text(text)
    for part in (1, 2):
        write_part(journal.path(part), [PredictedClip(f"{part}.mp4", ROWS)])
    journal.join()
    assert not journal.failures_path.exists()
    own = Journal(journal.out.with_name("other.json"), count=1)
    own.open(SETTINGS)
    write_part(own.path(0), [PredictedClip("x.mp4", ROWS)])
    own.join()
    assert own.failures_path.read_text() == "my own\n"


def test_settings_of_another_run_are_refused(journal):
    Journal(journal.out, 3).open(dict(SETTINGS))
    message = r"\.p\.json\.journal: holds parts of another run, whose keep was 100, now it is 7; .*remove the folder"
    with pytest.raises(AvlocError, match=message):
        journal.open({**SETTINGS, "keep": 7})
    with pytest.raises(AvlocError, match="whose precision was None, now it is '16'"):
        journal.open({**SETTINGS, "precision": "16"})
    (journal.folder / "run.json").write_text("[1]")
    with pytest.raises(AvlocError, match=r"run\.json: a damaged journal; remove .*journal and start again"):
        journal.open(SETTINGS)
    journal.out.mkdir()
    with pytest.raises(AvlocError, match="is a folder, want the name of a file"):
        journal.open(SETTINGS)


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[1]\n", b'{"clips": 1, "rows": 1, "failures": 3}\n'])
def test_a_damaged_part_is_named(journal, content):
    journal.path(1).write_bytes(content)
    with pytest.raises(AvlocError, match=r"00001\.part: a damaged part of a prediction; remove it"):
        read_part(journal.path(1))


def test_a_full_disk_keeps_the_journal(journal, monkeypatch):
    def copy(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfileobj", copy)
    with pytest.raises(OSError, match="no room on the disk: the file needs"):
        journal.join()
    assert not journal.out.exists()
    assert all(journal.has(part) for part in range(3))
    monkeypatch.undo()
    journal.join()
    assert len(json.loads(journal.out.read_text())) == 5


def test_a_journal_without_parts_binds_no_later_run(tmp_path):
    journal = Journal(tmp_path / "p.json", count=1)
    for settings in (SETTINGS, {**SETTINGS, "keep": 7}):
        journal.open(settings)
        assert json.loads((journal.folder / "run.json").read_text()) == settings
    write_part(journal.path(0), [])
    with pytest.raises(AvlocError, match="whose keep was 7, now it is 100"):
        journal.open(SETTINGS)


def test_a_run_with_other_settings_never_takes_parts_of_a_joined_journal(journal, monkeypatch):
    def killed(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        journal.join()
    assert journal.out.is_file()
    assert [path.name for path in journal.folder.iterdir()] == ["run.json"]


def test_a_journal_that_is_gone_is_named(tmp_path):
    with pytest.raises(AvlocError, match=r"\.p\.json\.journal: is gone; was it removed"):
        write_part(Journal(Path(tmp_path / "p.json"), 1).path(0), [])


def test_parts_of_another_form_join_by_a_function(tmp_path):
    journal = Journal(tmp_path / "raw.bin", count=2)
    journal.open(SETTINGS)
    for part in range(2):
        write_part(journal.path(part), [PredictedClip("a.mp4", ROWS)], content=b"\n%d\x00" % part)
    assert read_part(journal.path(1)) == PartSummary(1, 2)
    journal.join(lambda path, parts: path.write_bytes(b"|".join(part.read() for part in parts)))
    assert journal.out.read_bytes() == b"\n0\x00|\n1\x00"
    assert not journal.folder.exists()


def test_clip_scores_join_to_lines(tmp_path):
    journal = Journal(tmp_path / "prediction.txt", count=3, task="detection")
    journal.open(SETTINGS)
    write_part(journal.path(0), [PredictedClip("a;ü.mp4", ROWS), PredictedClip("b.mp4", NONE)], "detection")
    write_part(journal.path(1), [PredictedClip("c.mp4", NONE, "not finite")], "detection")
    write_part(journal.path(2), [PredictedClip("d.mp4", ROWS[1:])], "detection")
    journal.join()
    assert journal.out.read_text(encoding="utf-8") == "a;ü.mp4;0.9\nb.mp4;0\nc.mp4;0\nd.mp4;0.125\n"
    assert read_clip_scores(journal.out) == {"a;ü.mp4": 0.9, "b.mp4": 0.0, "c.mp4": 0.0, "d.mp4": 0.125}
    assert (tmp_path / "prediction.failures.csv").read_text().splitlines()[1:] == ["c.mp4,not finite"]


@pytest.mark.parametrize("name", ["a\nb.mp4", "a\rb.mp4", "d\udcff.mp4"])
def test_names_that_a_line_cannot_carry(tmp_path, name):
    journal = Journal(tmp_path / "prediction.txt", count=1, task="detection")
    journal.open(SETTINGS)
    with pytest.raises(AvlocError, match="file;score cannot carry such a name; predict without --task detection"):
        write_part(journal.path(0), [PredictedClip(name, ROWS)], "detection")
    assert not journal.has(0)

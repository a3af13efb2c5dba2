from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from avloc import __version__
from avloc.errors import StoreError
from avloc.feature_extraction.job.in_progress import ShardSpec
from avloc.feature_extraction.job.log import JobLog
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone
from avloc.feature_extraction.job.plan import ReusedClips
from avloc.feature_extraction.job.run import JobReport
from avloc.feature_extraction.job.worker import ClipDone


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_events_of_a_job(tmp_path):
    path = tmp_path / "new" / "job.jsonl"
    log, report = JobLog(path), JobReport()
    spec = ShardSpec(("a.mp4", "é.mp4", "c.mp4"), {0: tmp_path / "x" / "0.h5", 1: tmp_path / "y" / "0.h5"}, {})
    log.start({"clips": 7})
    for event in (
        ReusedClips(4, {"old.mp4": "gone"}),
        ClipReport("a.mp4", None, ClipDone((0.0,), 2.0, 0, 0.25, 0.5)),
        ClipReport("é.mp4", "no picture", None),
        ClipReport("c.mp4", None, ClipDone((0.0,), 1.0, 3, 0.25, 0.5)),
        ShardDone(spec),
    ):
        report.count(event)
        log.event(event)
    log.end(report, "done")
    start, failed, faceless, shard, end = read(path)
    assert (start["event"], start["avloc"], start["clips"]) == ("start", __version__, 7)
    assert (failed["event"], failed["file"], failed["reason"]) == ("failed", "é.mp4", "no picture")
    assert (faceless["event"], faceless["file"], faceless["frames"]) == ("faceless", "c.mp4", 3)
    assert (shard["event"], shard["shards"], shard["clips"], shard["failed"]) == ("shard", ["0.h5"], 3, 1)
    assert (shard["media_s"], shard["decode_s"], shard["extract_s"]) == (3.0, 0.5, 1.0)
    assert (end["event"], end["how"], end["clips"], end["reused"], end["failed"]) == ("end", "done", 3, 4, 2)


def test_each_shard_has_its_own_totals(tmp_path):
    log, spec = JobLog(tmp_path / "job.jsonl"), ShardSpec((), {}, {})
    for media_s in (2.0, 3.0):
        log.event(ClipReport("a.mp4", None, ClipDone((0.0,), media_s, 0, 0.0, 0.0)))
        log.event(ShardDone(spec))
    assert [line["media_s"] for line in read(log.path)] == [2.0, 3.0]


def test_a_second_run_appends(tmp_path):
    for k in range(2):
        JobLog(str(tmp_path / "job.jsonl")).start({"run": k})
    assert [line["run"] for line in read(tmp_path / "job.jsonl")] == [0, 1]


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(StoreError, match=r"the log cannot be written \(Is a directory\); --log names a file"):
        JobLog(tmp_path)


def test_problems_are_told_and_names_are_printable(tmp_path):
    log, report = JobLog(tmp_path / "job.jsonl"), JobReport()
    cut = ClipDone((0.0,), 2.0, 0, 0.1, 0.1, problems=("the sound ends at 2 s",), decoded_s=2.0, claimed_s=5.0)
    dumb = ClipDone((0.0,), 3.0, 0, 0.1, 0.1, problems=("no audio stream",), decoded_s=3.0, claimed_s=3.0)
    half = ClipDone((0.0, 0.0), 4.0, 0, 0.1, 0.1, problems=("no frame",), failures=(None, "no frame"), decoded_s=4.0)
    clips = {"cut\n\x1b[2J.mp4": cut, "dumb\udcff.mp4": dumb, "half.mp4": half, "good.mp4": dumb._replace(problems=())}
    for file, done in clips.items():
        event = ClipReport(file, done.failure, done)
        report.count(event)
        log.event(event)
    log.end(report, "done")
    *events, end = read(log.path)
    assert [(e["event"], e["file"]) for e in events] == [
        ("problems", r"cut\n\x1b[2J.mp4"),
        ("problems", r"dumb\udcff.mp4"),
        ("failed", "half.mp4"),
        ("problems", "half.mp4"),
    ]
    assert events[0]["problems"] == ["the sound ends at 2 s"]
    assert (events[0]["decoded_s"], events[0]["claimed_s"]) == (2.0, 5.0)
    assert (end["clips"], end["failed"], end["damaged"]) == (4, 1, 2)
    assert (report.damaged, report.damaged_decoded_s, report.damaged_claimed_s) == (2, 6.0, 9.0)
    assert (report.without_stream, report.failed_now, report.failures) == (1, 1, {"half.mp4": "no frame"})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk at hand")
def test_a_full_disk_is_told_with_the_name_of_the_log():
    with pytest.raises(OSError, match="no room on the disk: .* make room, then run the same command again") as caught:
        JobLog("/dev/full").start({"clips": 7})
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")

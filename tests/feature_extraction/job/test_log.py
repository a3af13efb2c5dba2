from __future__ import annotations

import json

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

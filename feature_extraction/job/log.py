"""The log of a job: JSON lines, one object per line, appended, so that the file has every run of the job."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from avloc import __version__
from avloc.errors import StoreError, shown
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone
from avloc.feature_extraction.job.run import JobEvent, JobReport
from avloc.feature_extraction.job.worker import ClipDone
from avloc.io.files import no_room_error


class JobLog:
    """Appends a job's events to a file.

    The events are `start` (settings, number of clips), `failed` (a clip and the reason), `problems` (a clip, the faults of
    its streams, and the seconds decoded and claimed by its header), `faceless` (a clip, and its number of cropped frames
    without a detected face), `shard` (its name, clips, failures, damaged clips, seconds of media, of decoding, of extraction,
    and since the last shard), and `end` (totals, and the outcome). Names are as `avloc.errors.shown` prints them.

    Args:
        path: the file; it is made with its folder if missing.

    Raises:
        StoreError: if it cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "job.jsonl"
    >>> JobLog(path).start({"clips": 3})
    >>> json.loads(path.read_text())["clips"]
    3
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("a").close()
        except OSError as error:
            raise StoreError(
                f"{self.path}: the log cannot be written ({error.strerror or error}); --log names a file"
            ) from error
        self._began = self._last = time.monotonic()
        self._shard = JobReport()

    def _write(self, event: str, details: Mapping[str, object]) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **details}
        # One write per line keeps lines of several jobs whole; a path that is not UTF-8 becomes JSON's own escapes.
        try:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as out:
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise no_room_error(error, self.path) from error

    def start(self, details: Mapping[str, object]) -> None:
        """Log the start of the job, with any plain values."""
        self._write("start", {"avloc": __version__, "host": socket.gethostname(), **details})

    def event(self, event: JobEvent) -> None:
        """Log an event of the job."""
        if isinstance(event, ClipReport):
            self._shard.count(event)
            self._log_clip(shown(event.file), event.failure, event.costs)
        elif isinstance(event, ShardDone):
            now = time.monotonic()
            names = sorted({path.name for path in event.spec.paths.values()})
            self._write("shard", {"shards": names, **_totals(self._shard), "seconds": round(now - self._last, 3)})
            self._shard, self._last = JobReport(), now

    def _log_clip(self, file: str, failure: str | None, costs: ClipDone | None) -> None:
        if failure is not None:
            self._write("failed", {"file": file, "reason": shown(failure)})
        if costs is not None and costs.problems:
            seconds = {"decoded_s": round(costs.decoded_s, 3), "claimed_s": round(costs.claimed_s, 3)}
            self._write("problems", {"file": file, "problems": [*map(shown, costs.problems)], **seconds})
        if costs is not None and costs.faceless_frames:
            self._write("faceless", {"file": file, "frames": costs.faceless_frames})

    def end(self, report: JobReport, outcome: str) -> None:
        """Log the end of the job: `done`, `stopped`, or an error."""
        seconds = round(time.monotonic() - self._began, 3)
        self._write("end", {"how": shown(outcome), "reused": report.reused, **_totals(report), "seconds": seconds})


def _totals(report: JobReport) -> dict[str, object]:
    return {
        "clips": report.done,
        "failed": report.failed,
        "damaged": report.damaged,
        "media_s": round(report.media_s, 3),
        "decode_s": round(report.decode_s, 3),
        "extract_s": round(report.extract_s, 3),
    }

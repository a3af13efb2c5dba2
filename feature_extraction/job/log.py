"""What a job did, as JSON lines: one object per line, appended, so that every run of a job is in its file."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avloc import __version__
from avloc.errors import StoreError
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone
from avloc.feature_extraction.job.run import Event, JobReport


class JobLog:
    """Appends events to a file.

    The events are `start` (settings, number of clips), `failed` (a clip and why), `faceless` (a clip in which a crop found no
    face in some frames), `shard` (its name, clips, failures, seconds of media, of decoding, of extraction, and since the last),
    and `end` (totals, and how it ended).

    Args:
        path: the file; it is made with its folder if need be.

    Raises:
        StoreError: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a").close()
        except OSError as error:
            raise StoreError(
                f"{path}: the log cannot be written ({error.strerror or error}); --log names a file"
            ) from error
        self.path = path
        self._began = self._last = time.monotonic()
        self._shard = JobReport()

    def _write(self, event: str, about: Mapping[str, Any]) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **about}
        with self.path.open("a", encoding="utf-8") as out:  # one write a line, so that lines of several jobs stay whole
            out.write(json.dumps(line, ensure_ascii=False) + "\n")

    def start(self, about: Mapping[str, Any]) -> None:
        """The job begins."""
        self._write("start", {"avloc": __version__, "host": socket.gethostname(), **about})

    def event(self, event: Event) -> None:
        """Something happened."""
        if isinstance(event, ClipReport):
            self._shard.count(event)
            if event.failure is not None:
                self._write("failed", {"file": event.file, "reason": event.failure})
            elif event.about is not None and event.about.faceless_frames:
                self._write("faceless", {"file": event.file, "frames": event.about.faceless_frames})
        elif isinstance(event, ShardDone):
            now = time.monotonic()
            names = sorted({path.name for path in event.spec.paths.values()})
            self._write("shard", {"shards": names, **_totals(self._shard), "seconds": round(now - self._last, 3)})
            self._shard, self._last = JobReport(), now

    def end(self, report: JobReport, how: str) -> None:
        """The job ends."""
        seconds = round(time.monotonic() - self._began, 3)
        self._write("end", {"how": how, "reused": report.reused, **_totals(report), "seconds": seconds})


def _totals(report: JobReport) -> dict[str, Any]:
    return {
        "clips": report.done, "failed": report.failed, "media_s": round(report.media_s, 3),
        "decode_s": round(report.decode_s, 3), "extract_s": round(report.extract_s, 3),
    }  # fmt: skip

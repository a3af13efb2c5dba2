"""The journal of a prediction file: finished parts in a hidden folder beside it > the file, once all parts exist.

```
.predictions.json.journal/run.json    the settings that made the parts
.predictions.json.journal/00003.part  a line of JSON (counts and failures), then the clips' lines of the prediction file
```
A part appears whole or not at all, and survives a loss of power. So a run that was killed resumes with the missing parts, and
the file is the same, byte for byte. Joining copies from disk to disk, in constant memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from avloc.errors import AvlocError, shown
from avloc.evaluation.predictions import format_clip
from avloc.io.files import read_json, remove_stale, replacing, write_csv, write_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SETTINGS_NAME = "run.json"
FAILURES_HEADER = ("file", "reason")
KEPT_FAILURES = 1000  # named by a report; the file of failures names all


class PredictedClip(NamedTuple):
    """A clip's line of the prediction file.

    Attributes:
        file: the clip's name there.
        rows: (N, 3) score, start and end in seconds.
        failure: the reason for its failure; empty if it did not fail.
    """

    file: str
    rows: npt.NDArray[np.float64]
    failure: str = ""


class FileForm(NamedTuple):
    """The form of a prediction file: its beginning, the text between two clips, its end, and the line of a clip."""

    begin: str
    between: str
    end: str
    line: Callable[[PredictedClip], str]


def format_clip_score(clip: PredictedClip) -> str:
    """Format a clip as `file;score`, by the score of its best row; 0 without rows, as for a clip that failed.

    Raises:
        AvlocError: if the name holds a line break, or is no text: the form cannot carry it.

    >>> import numpy as np
    >>> format_clip_score(PredictedClip("a.mp4", np.array([[0.9, 1.0, 1.4], [0.5, 0.0, 1.0]])))
    'a.mp4;0.9'
    """
    if "\n" in clip.file or "\r" in clip.file or not is_text(clip.file):
        raise AvlocError(f"{shown(clip.file)}: file;score cannot carry such a name; predict without --task detection")
    return f"{clip.file};{clip.rows[:, 0].max(initial=0.0):.9g}"


def is_text(name: str) -> bool:
    r"""Tell whether a name can be written as UTF-8: undecodable bytes of a file's name cannot.

    >>> is_text("ä.mp4"), is_text(b"\xff.mp4".decode("utf-8", "surrogateescape"))
    (True, False)
    """
    return not any("\ud800" <= character <= "\udfff" for character in name)


FORMS = {
    "localization": FileForm("{\n", ",\n", "\n}\n", lambda clip: format_clip(clip.file, clip.rows)),
    "detection": FileForm("", "\n", "\n", format_clip_score),
}
"""The forms of a prediction file by the task of the challenges: segments (task 2), or one score per clip (task 1)."""


@dataclass(slots=True)
class PartSummary:
    """The counts of a part, or of several.

    Attributes:
        clips: number of clips.
        rows: number of their rows.
        failed: number of clips that failed.
        failures: the reasons of the first of these, by clip.
    """

    clips: int = 0
    rows: int = 0
    failed: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, other: PartSummary) -> None:
        """Add the counts of another part."""
        self.clips += other.clips
        self.rows += other.rows
        self.failed += other.failed
        for file, reason in other.failures.items():
            if len(self.failures) < KEPT_FAILURES:
                self.failures[file] = reason


def write_part(
    path: Path, clips: Sequence[PredictedClip], task: str = "localization", content: bytes | None = None
) -> None:
    """Write a part.

    Args:
        path: its file in the journal.
        clips: its clips.
        task: of `FORMS`.
        content: what follows the line of counts; None: the clips' lines of the prediction file.

    Raises:
        AvlocError: if the form cannot carry a clip's name.
        OSError: if the disk does not accept it.
    """
    failures = {clip.file: clip.failure for clip in clips if clip.failure}
    counts = {"clips": len(clips), "rows": sum(len(clip.rows) for clip in clips), "failures": failures}
    if content is None:
        form = FORMS[task]
        lines = form.between.join(map(form.line, clips))
        # A name that is not text (undecodable bytes) becomes JSON's escapes.
        content = lines.encode("utf-8", "backslashreplace")
    data = json.dumps(counts).encode() + b"\n" + content
    if not path.parent.is_dir():
        raise AvlocError(f"{path.parent}: is gone; was it removed, or did another run of the same command finish?")
    with replacing(path, len(data), sync=True) as temporary:
        temporary.write_bytes(data)


def read_part(path: Path) -> PartSummary:
    """Read the counts of a part.

    Raises:
        AvlocError: if it is damaged.
    """
    with path.open("rb") as file:
        line = file.readline()
    try:
        counts = json.loads(line)
        failures = counts["failures"]
        return PartSummary(counts["clips"], counts["rows"], len(failures), failures)
    except (ValueError, KeyError, TypeError) as error:
        raise AvlocError(
            f"{path}: a damaged part of a prediction; remove it, and run the same command again"
        ) from error


@dataclass(frozen=True, slots=True)
class Journal:
    """The parts of a prediction file.

    Attributes:
        out: the prediction file.
        count: the number of its parts.
        task: of `FORMS`.

    >>> journal = Journal(Path("out/predictions.json"), count=40)
    >>> journal.path(3).as_posix(), journal.failures_path.as_posix()
    ('out/.predictions.json.journal/00003.part', 'out/predictions.failures.csv')
    """

    out: Path
    count: int
    task: str = "localization"

    @property
    def folder(self) -> Path:
        """The folder of the parts."""
        return self.out.with_name(f".{self.out.name}.journal")

    @property
    def failures_path(self) -> Path:
        """The table of the clips that failed."""
        return self.out.with_name(f"{self.out.stem}.failures.csv")

    def path(self, part: int) -> Path:
        """The file of a part."""
        return self.folder / f"{part:05d}.part"

    def open(self, settings: Mapping[str, object]) -> None:
        """Create the journal, or check that the existing parts were made with the same settings.

        Args:
            settings: all that the predictions depend on, as JSON values.

        Raises:
            AvlocError: if they were made with others, or the prediction file is a folder.
        """
        if self.out.is_dir():
            raise AvlocError(f"{self.out}: is a folder, want the name of a file to write")
        path = self.folder / SETTINGS_NAME
        if not path.exists() or not any(self.folder.glob("*.part")):  # a run that failed early binds no other one
            write_json(path, settings)
        earlier = read_json(path, "journal of a prediction")
        if not isinstance(earlier, dict):
            raise AvlocError(f"{path}: a damaged journal; remove {self.folder} and start again")
        for key in dict.fromkeys([*settings, *earlier]):
            was, now = earlier.get(key), settings.get(key)
            if was != now:
                raise AvlocError(
                    f"{self.folder}: holds parts of another run, whose {key} was {was!r}, now it is {now!r}; run that one to "
                    "its end, name another --out, or remove the folder"
                )
        remove_stale(self.folder)

    def discard_unused(self) -> None:
        """Remove the journal if it has no part: the run failed before it had made one."""
        if self.folder.is_dir() and not any(self.folder.glob("*.part")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def has(self, part: int) -> bool:
        """Tell whether a part is finished."""
        return self.path(part).is_file()

    def summaries(self, parts: Iterable[int]) -> Iterator[PartSummary]:
        """Read the counts of finished parts."""
        return (read_part(self.path(part)) for part in parts)

    def join(self, write: Callable[[Path, Iterator[IO[bytes]]], None] | None = None) -> None:
        """Write the prediction file and the table of failures, and remove the journal. All parts must be finished.

        Args:
            write: called with the path to write to, and with each part, open behind its line of counts; None: the parts'
                lines in the form of the task.

        Raises:
            OSError: if the disk does not accept them; the journal stays.
        """
        parts = range(self.count)
        self._write_failures()
        size = sum(self.path(part).stat().st_size for part in parts)
        with replacing(self.out, size, sync=True) as temporary:
            (write or partial(_write_text, FORMS[self.task]))(temporary, self._contents())
        for part in parts:  # before the settings: if this is killed, no run with others takes the rest for its own
            self.path(part).unlink()
        shutil.rmtree(self.folder)

    def _contents(self) -> Iterator[IO[bytes]]:
        """Yield each part, open behind its line of counts."""
        for part in range(self.count):
            with self.path(part).open("rb") as file:
                file.readline()
                yield file

    def _write_failures(self) -> None:
        """Write the table of failures; without any, remove the table of an earlier run."""
        path, parts = self.failures_path, range(self.count)
        if any(summary.failed for summary in self.summaries(parts)):
            failures = (row for summary in self.summaries(parts) for row in summary.failures.items())
            write_csv(path, FAILURES_HEADER, ((shown(file), shown(reason)) for file, reason in failures))
        elif _is_table_of_failures(path):
            path.unlink()


def _write_text(form: FileForm, path: Path, parts: Iterable[IO[bytes]]) -> None:
    with path.open("wb") as out:
        out.write(form.begin.encode())
        for number, part in enumerate(parts):
            out.write(form.between.encode() if number else b"")
            shutil.copyfileobj(part, out)
        out.write(form.end.encode())


def _is_table_of_failures(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline().strip() == ",".join(FAILURES_HEADER).encode()

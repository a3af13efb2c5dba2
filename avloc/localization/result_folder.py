"""`ResultFolder`: the output files of many clips in one folder, with a summary; it protects files that are not avloc's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.errors import AvlocError
from avloc.io.files import read_json
from avloc.io.provenance import write_sidecar
from avloc.localization.formats import FORMATS, save
from avloc.localization.options import OutputOptions
from avloc.localization.pages.folder_index import save_index
from avloc.localization.summary import (
    INDEX,
    TABLE,
    FailedClip,
    SummaryEntry,
    SummaryRow,
    is_summary,
    read_summary,
    save_summary,
)

if TYPE_CHECKING:
    from avloc.core.provenance import Provenance
    from avloc.localization.result import Localization

SCHEMA_NAME = b"avloc.localization"
SCHEMA_BYTES = 200  # a localization's JSON file names its schema within its first bytes


class ClipJob(NamedTuple):
    """A clip to localize.

    Attributes:
        clip: the file.
        name: the path of its output files relative to the folder, without suffix.
    """

    clip: Path
    name: Path


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """A folder of localizations: for each clip one file per format, and a summary of all clips.

    Attributes:
        folder: the folder; it is created when the first file is written.
        formats: keys of `FORMATS`.
        options: options of the formats.

    >>> results = ResultFolder(Path("out"), ("json", "audacity"))
    >>> [path.as_posix() for path in results.paths(ClipJob(Path("a/b.mp4"), Path("a/b")))]
    ['out/a/b.json', 'out/a/b.labels.txt']
    """

    folder: Path
    formats: tuple[str, ...]
    options: OutputOptions = field(default_factory=OutputOptions)

    def paths(self, job: ClipJob) -> list[Path]:
        """Return the output files of a clip, in the order of `formats`."""
        return [self._path(job, name) for name in self.formats]

    def _files(self, job: ClipJob) -> Iterator[Path]:
        """Yield the output files of a clip, with those of their records."""
        for path, name in zip(self.paths(job), self.formats, strict=True):
            yield from FORMATS[name].files(path)

    def is_done(self, job: ClipJob) -> bool:
        """Return whether all output files of a clip exist; `earlier_entries` tells what made them."""
        return all(path.is_file() for path in self.paths(job))

    def check_paths(self, jobs: Iterable[ClipJob], inputs: Iterable[Path]) -> None:
        """Refuse to overwrite an input, or a file that avloc may not have written.

        A clip's existing files count as avloc's if its JSON file beside them is a localization.

        Args:
            jobs: the clips to localize.
            inputs: other files that must not be overwritten.

        Raises:
            AvlocError: if an output file is an input, or exists and may not be avloc's.
        """
        inputs = {path.resolve() for path in inputs}
        for job in jobs:
            protected = inputs | {job.clip.resolve()}
            table = self._path(job, "json")
            is_ours = table.is_file() and SCHEMA_NAME in table.read_bytes()[:SCHEMA_BYTES]
            for path in self._files(job):
                if path.resolve() in protected:
                    raise AvlocError(f"{path}: is one of the clips and would be overwritten; choose another --out")
                if path.exists() and not is_ours:
                    raise AvlocError(f"{path}: exists and may not be avloc's; choose another --out, or add --overwrite")

    def check_summary(self, jobs: Iterable[ClipJob], *, overwrite: bool) -> None:
        """Refuse a summary that would overwrite a clip's output files, or a file that avloc did not write.

        Args:
            jobs: the clips to localize.
            overwrite: whether files that avloc did not write may be overwritten.

        Raises:
            AvlocError: if it would.
        """
        summaries = {self.folder / TABLE, self.folder / INDEX}
        for job in jobs:
            if not summaries.isdisjoint(self.paths(job)):
                raise AvlocError(f"{job.clip}: its output would be overwritten by the summary of all clips; rename it")
        for path in sorted(summaries):
            if path.exists() and not is_summary(path) and not overwrite:
                raise AvlocError(
                    f"{path}: exists and was not written by avloc localize; choose another --out, or add --overwrite"
                )

    def write(self, job: ClipJob, localization: Localization) -> None:
        """Write the output files of a clip."""
        for path, name in zip(self.paths(job), self.formats, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            save(localization, path, self.options, format=name)

    def earlier_entries(self, jobs: Iterable[ClipJob]) -> Iterator[SummaryEntry]:
        """Yield the summary of clips that an earlier run localized: of their JSON files, else from the folder's summary.

        Without the format json, the JSON files may be older than the rest.
        """
        rows = read_summary(self.folder)
        for job in jobs:
            row = self._row_of_json(job) if "json" in self.formats else None
            if row is None:
                row = rows.get(str(job.clip).encode("utf-8", "backslashreplace").decode())  # as files are written
            if row is not None and row.seconds != "":
                yield SummaryEntry(job.name, row)

    def _row_of_json(self, job: ClipJob) -> SummaryRow | None:
        """Summarize a clip's JSON file; None if it cannot be read as one of ours."""
        from avloc.localization.result import DAMAGE, Localization

        try:
            localization = Localization.from_dict(read_json(self._path(job, "json"), "localization"))
            return SummaryRow.from_localization(localization, self.options.threshold_for(localization))
        except (AvlocError, OSError, *DAMAGE):
            return None

    def write_summary(
        self, entries: Sequence[SummaryEntry], failed: Collection[FailedClip], provenance: Provenance | None = None
    ) -> Path:
        """Write the table of all clips, and with the format html the page that links to theirs; return the table's path.

        Args:
            entries: the clips that were localized.
            failed: the others.
            provenance: the record of the run, to write beside the table.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        save_summary(self.folder, entries, tuple(failed))
        if "html" in self.formats:
            save_index(self.folder, entries, tuple(failed), self.options.threshold, provenance)
        table = self.folder / TABLE
        if provenance is not None:
            write_sidecar(table, provenance)
        return table

    def _path(self, job: ClipJob, format: str) -> Path:
        base = self.folder / job.name
        return base.with_name(base.name + FORMATS[format].suffix)

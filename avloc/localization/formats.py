"""The output formats of a localization: a table of suffixes and writers, and `save`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.errors import AvlocError
from avloc.io.provenance import sidecar_path, write_sidecar
from avloc.localization.options import OutputOptions

if TYPE_CHECKING:
    from avloc.localization.result import Localization

Writer = Callable[["Localization", Path, OutputOptions], None]


class Format(NamedTuple):
    """One output format.

    Attributes:
        suffix: the end of its files' names.
        description: one phrase for the command line's help.
        write: the function that writes it.
        holds_provenance: whether the file holds the record of what made it; that of others lies beside them.
    """

    suffix: str
    description: str
    write: Writer
    holds_provenance: bool = True

    def files(self, path: Path) -> list[Path]:
        """Return the files of a result in this format: its own, and the one of its record."""
        return [path] if self.holds_provenance else [path, sidecar_path(path)]


def _write_json(localization: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.io.files import write_json

    write_json(path, localization.to_dict(options.threshold_for(localization)))


def _write_csv(localization: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.io.files import write_text
    from avloc.localization.text import csv_text

    write_text(path, csv_text(localization, options.threshold_for(localization)))


def _write_vtt(localization: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.io.files import write_text
    from avloc.localization.text import vtt_text

    write_text(path, vtt_text(localization, options.threshold_for(localization)))


def _write_audacity(localization: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.io.files import write_text
    from avloc.localization.text import audacity_text

    write_text(path, audacity_text(localization, options.threshold_for(localization)))


def _write_png(localization: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.localization.figure import save_timeline

    save_timeline(localization, path, options.threshold_for(localization))


def _write_html(localization: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.localization.page import save_page

    save_page(localization, path, options)


FORMATS: dict[str, Format] = {
    "json": Format(".json", "the complete result", _write_json),
    "csv": Format(".csv", "one row per segment", _write_csv, holds_provenance=False),
    "vtt": Format(".vtt", "segments as subtitles, for any player", _write_vtt, holds_provenance=False),
    "audacity": Format(".labels.txt", "segments as an Audacity label track", _write_audacity, holds_provenance=False),
    "png": Format(".png", "the timeline as an image", _write_png),
    "html": Format(".html", "a page that plays the clip beside the timeline", _write_html),
}


def save(
    localization: Localization, path: Path, options: OutputOptions | None = None, *, format: str | None = None
) -> None:
    """Write a localization to a file, and beside one that cannot hold it the record of what made it (`NAME.provenance`).

    Args:
        localization: the localization.
        path: the file to write.
        options: the options of the format; by default those of `OutputOptions()`.
        format: a key of `FORMATS`; by default the format of the path's suffix.

    Raises:
        AvlocError: if no such format exists.
    """
    if format is None:
        format = next((name for name, entry in FORMATS.items() if path.name.endswith(entry.suffix)), "")
    if format not in FORMATS:
        suffixes = ", ".join(entry.suffix for entry in FORMATS.values())
        raise AvlocError(f"{path}: want a format of {', '.join(FORMATS)} (file suffixes {suffixes})")
    entry = FORMATS[format]
    entry.write(localization, path, options or OutputOptions())
    if not entry.holds_provenance and localization.provenance is not None:
        write_sidecar(path, localization.provenance)

"""What a localization is written as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.localization.result import Localization

Embed = Literal["auto", "always", "never"]
EMBEDS: tuple[Embed, ...] = ("auto", "always", "never")


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How a localization is written.

    Attributes:
        threshold: segments with a lower score are left out of csv, vtt and labels, and hidden at first on the page.
        embed: whether the page holds the clip itself: `auto` if it is small; else it names it by a relative path.
    """

    threshold: float = 0.2
    embed: Embed = "auto"


Writer = Callable[["Localization", Path, OutputOptions], None]


class Format(NamedTuple):
    """A format: what its files' names end with, what it is for, and who writes it."""

    suffix: str
    about: str
    write: Writer


def _json(found: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.io.files import write_json

    write_json(path, found.to_dict())


def _text(name: str) -> Writer:
    def write(found: Localization, path: Path, options: OutputOptions) -> None:
        from avloc.io.files import write_text
        from avloc.localization import text

        write_text(path, getattr(text, f"{name}_text")(found, options.threshold))

    return write


def _png(found: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.localization.picture import save_timeline

    save_timeline(found, path)


def _html(found: Localization, path: Path, options: OutputOptions) -> None:
    from avloc.localization.page import save_page

    save_page(found, path, options)


FORMATS: dict[str, Format] = {
    "json": Format(".json", "everything that was found", _json),
    "csv": Format(".csv", "a row per segment", _text("csv")),
    "vtt": Format(".vtt", "segments as subtitles, for any player", _text("vtt")),
    "audacity": Format(".labels.txt", "segments as an Audacity label track", _text("audacity")),
    "png": Format(".png", "the timeline as a picture", _png),
    "html": Format(".html", "a page that plays the clip beside the timeline", _html),
}


def save(found: Localization, path: Path, options: OutputOptions | None = None, *, format: str | None = None) -> None:
    """Write a localization.

    Args:
        found: what was found.
        path: the file.
        options: how.
        format: one of `FORMATS`; by default what the name ends with.

    Raises:
        AvlocError: if there is no such format.
    """
    if format is None:
        format = next((name for name, f in FORMATS.items() if path.name.endswith(f.suffix)), "")
    if format not in FORMATS:
        endings = ", ".join(f.suffix for f in FORMATS.values())
        raise AvlocError(f"{path}: want a format of {', '.join(FORMATS)} (names that end with {endings})")
    FORMATS[format].write(found, path, options or OutputOptions())

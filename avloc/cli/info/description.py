"""A file or folder > its kind, its facts, and the next commands > text in the terminal's width, or JSON."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from avloc.cli.arguments.help_texts import help_width, wrap_examples
from avloc.errors import shown

SPLIT_WORDS = 2  # blanks between a label and its text


@dataclass(frozen=True, slots=True)
class Description:
    """The kind of a file or folder, its facts, and the next commands.

    Attributes:
        title: in a few words, as `checkpoint of avloc train`.
        facts: pairs of a label and a text for people; a pair with an empty text is not shown.
        values: the same as plain JSON values.
        commands: the next commands; words in capitals stand for something that the user names.

    >>> Description("clip", [("Length", "4.00 s")], commands=["avloc localize a.mp4"]).text(Path("a.mp4")).splitlines()
    ['a.mp4: clip', '  Length  4.00 s', 'next:', '  avloc localize a.mp4']
    """

    title: str
    facts: Iterable[tuple[str, str]] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    commands: Iterable[str] = ()

    def text(self, path: Path) -> str:
        """Format it for the terminal; long texts are broken, so that no line is wider than the terminal."""
        facts = [(label, text) for label, text in self.facts if text]
        column = max((len(label) for label, _ in facts), default=0) + SPLIT_WORDS
        lines = [*_wrap(f"{shown(path)}: {self.title}", "", "  ")]
        for label, text in facts:
            lines += _wrap(shown(text), f"  {label:{column}}", " " * (column + 2))
        commands = list(self.commands)
        if commands:
            lines += ["next:", wrap_examples("\n".join(map(shown, commands)))]
        return "\n".join(lines)

    def to_dict(self, path: Path, kind: str) -> dict[str, object]:
        """Return the description as JSON values; `kind` is the name of its detector."""
        return {
            "path": str(path),
            "kind": kind,
            "title": self.title,
            "details": dict(self.values),
            "next": list(self.commands),
        }


def _wrap(text: str, begin: str, indent: str) -> list[str]:
    # A hash is longer than a narrow terminal, and must stay whole to be compared.
    wrapped = textwrap.wrap(
        text,
        help_width(),
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped or [begin]


def quoted(path: Path | str) -> str:
    """Return a path as a shell takes it.

    >>> quoted("my clip.mp4")
    "'my clip.mp4'"
    """
    return shlex.quote(str(path))


def listed(counts: Mapping[str, int]) -> str:
    """Format numbers by name.

    >>> listed({"train": 1200, "dev": 3})
    'train 1,200, dev 3'
    """
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())

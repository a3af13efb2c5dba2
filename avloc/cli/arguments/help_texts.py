"""Texts and example commands of the help > broken to the terminal's width."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator

SMALLEST_WIDTH = 40
CONTINUATION = "    "  # of an example's further lines


def help_width() -> int:
    """Return the characters per line of a help, as argparse counts them."""
    return max(SMALLEST_WIDTH, shutil.get_terminal_size().columns - 2)


def wrap_text(text: str) -> str:
    """Break the lines of a text; a line that begins with spaces is an example, and stays."""
    width = help_width()
    return "\n".join(line if line.startswith(" ") else textwrap.fill(line, width) for line in text.split("\n"))


def wrap_examples(commands: str) -> str:
    r"""Break example commands into lines that a shell takes as they are, indented by two spaces.

    Args:
        commands: one per line, or continued behind a backslash; a comment may follow two spaces and `#`. An option stays
            with its values, and a comment that does not fit goes before its command.

    >>> import os
    >>> os.environ["COLUMNS"] = "42"
    >>> print(wrap_examples("avloc synth clips --clips 30\navloc synth clips --clips 30 --layout lavdf  # a small set"))
      avloc synth clips --clips 30
      # a small set
      avloc synth clips --clips 30 \
          --layout lavdf
    """
    lines = re.sub(r"\s*\\\n\s*", " ", commands).splitlines()
    return "\n".join(f"  {part}" for line in lines for part in _example_lines(line.strip(), help_width() - 2))


def _example_lines(line: str, width: int) -> Iterator[str]:
    """Break one command, and its comment."""
    command, mark, comment = line.partition("  # ")
    if len(line) <= width:
        yield line
        return
    if mark:
        yield from textwrap.wrap(comment, width, initial_indent="# ", subsequent_indent="# ")
    # The command and each option, with its values. The last one needs no room for a backslash.
    first, *options = re.split(r"\s+(?=--)", command.rstrip())
    part = first
    rooms = [width - 2] * (len(options) - 1) + [width]
    for option, room in zip(options, rooms, strict=False):  # without options there is one room too many
        if len(f"{part} {option}") > room:
            yield f"{part} \\"
            part = f"{CONTINUATION}{option}"
        else:
            part = f"{part} {option}"
    yield part

"""Types of option values: text > a number, a length of time or a path, checked while options are parsed."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    return _at_least(1, text)


def whole(text: str) -> int:
    """Parse a whole number of at least 0."""
    return _at_least(0, text)


def _at_least(smallest: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = smallest - 1
    if value < smallest:
        raise argparse.ArgumentTypeError(f"want a whole number of at least {smallest}, got {text!r}")
    return value


def number(smallest: float = -math.inf, largest: float = math.inf) -> Callable[[str], float]:
    """Make an option type for a number from `smallest` to `largest`; NaN and infinity are none.

    >>> number(0, 1)("0.25")
    0.25
    """
    bounds = f" within {smallest:g} and {largest:g}" if largest < math.inf else f" of at least {smallest:g}"
    expected = f"want a number{bounds if smallest > -math.inf else ''}"

    def parse(text: str) -> float:
        hint = _percent_hint(text) if largest == 1 else ""
        return _finite(text, expected, lambda value: smallest <= value <= largest, hint)

    return parse


def above_zero(text: str) -> float:
    """Parse a number above 0; NaN and infinity are none."""
    return _finite(text, "want a number above 0", lambda value: value > 0)


def open_share(text: str) -> float:
    """Parse a number between 0 and 1, such as a prior: neither of them.

    >>> open_share("0.01")
    0.01
    """
    return _finite(
        text, "want a number between 0 and 1, neither of them", lambda value: 0 < value < 1, _percent_hint(text)
    )


def _percent_hint(text: str) -> str:
    """Return the share that a percentage was meant as, for an error; empty if the text is none."""
    match = _PERCENT.fullmatch(text)
    if match is None or not 0 < float(match[1]) <= 100 or (float(match[1]) <= 1 and not match[2]):
        return ""
    return f"; {match[1]} % is {float(match[1]) / 100:g}"


def _finite(text: str, expected: str, is_valid: Callable[[float], bool], hint: str = "") -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and is_valid(value)):
        raise argparse.ArgumentTypeError(f"{expected}, got {text!r}{hint}")
    return value


score = number(0, 1)
"""The option type of a score, such as a threshold."""
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_CLOCK = re.compile(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d*)?)")


def duration(text: str) -> float:
    """Parse a length of time in seconds, minutes or hours, or as on a clock.

    >>> duration("90m"), duration("6h"), duration("45.5"), duration("45.5s"), duration("1:30")
    (5400.0, 21600.0, 45.5, 45.5, 90.0)
    """
    seconds = _seconds(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(
            f"want a length of time above 0, as 90m, 6h, 1:30 or 45 (seconds), got {text!r}"
        )
    return seconds


def moment(text: str) -> float:
    """Parse a time in a clip, from its start on: in seconds, minutes or hours, or as on a clock.

    >>> moment("0"), moment("2.5"), moment("1:02.5"), moment("1:00:00")
    (0.0, 2.5, 62.5, 3600.0)
    """
    seconds = _seconds(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(
            f"want a time of at least 0, as 83.5 (seconds), 1:23.5 or 1:02:03, got {text!r}"
        )
    return seconds


def _seconds(text: str) -> float:
    """Parse seconds; NaN if the text is no time."""
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = clock.groups()
        return 3600.0 * int(hours or 0) + 60 * int(minutes) + float(seconds)
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SECONDS else (text, "s")
    try:
        return float(number) * _SECONDS[unit]
    except ValueError:
        return math.nan


def path(text: str) -> Path:
    """Parse a path; `~` stands for the home folder."""
    return Path(text).expanduser()


def output(text: str) -> Path:
    """Parse the path of a file to write.

    It is checked while options are parsed, so that work is not done for nothing.
    """
    file = path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a folder, want the name of a file to write")
    if file.exists() and not file.is_file():  # a file that is renamed would take the place of the device or pipe
        raise argparse.ArgumentTypeError(f"{text}: is a device or a pipe, want the name of a file to write")
    _check_parents(text, file)
    return file


def output_folder(text: str) -> Path:
    """Parse the path of a folder to write files to, which may exist; it is checked while options are parsed."""
    folder = path(text)
    if folder.exists() and not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a file, want the name of a folder")
    _check_parents(text, folder / "file")
    return folder


def _check_parents(text: str, file: Path) -> None:
    """Raise unless a file can be written: its nearest folder that exists must be one, and writable."""
    folder = next((parent for parent in file.absolute().parents if parent.exists()), file.parent)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: cannot be written, {folder} is not a folder; name another place")
    if not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"{text}: cannot be written, no right to write in {folder}; name another place"
        )


def existing(what: str) -> Callable[[str], Path]:
    """Make an option type for a file or folder that must exist; `what` names it in the error.

    Such a path is checked while options are parsed, before anything heavy is imported.
    """
    return _existing(what, lambda path: False, "")


def existing_file(what: str) -> Callable[[str], Path]:
    """Make an option type for a file that must exist; `what` names it in the error."""
    return _existing(what, Path.is_dir, f"is a folder, want a {what}")


def existing_folder(what: str) -> Callable[[str], Path]:
    """Make an option type for a folder that must exist; `what` names it in the error."""
    return _existing(
        what,
        Path.is_file,
        "is a file, want a folder" if what == "folder" else f"is a file, want the folder of a {what}",
    )


def _existing(what: str, is_other_kind: Callable[[Path], bool], problem: str) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        if not path(text).exists():
            raise argparse.ArgumentTypeError(f"{text}: no such {what}")
        if is_other_kind(path(text)):
            raise argparse.ArgumentTypeError(f"{text}: {problem}")
        return path(text)

    return parse


def devices(text: str) -> list[str]:
    """Split the names of devices: `cuda:0,cuda:1`."""
    return [name.strip() for name in text.split(",") if name.strip()] or ["cpu"]

"""The beginning of a file, by which detectors tell its kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HEAD_BYTES = 1 << 16
_SCHEMA = re.compile(rb'"schema"\s*:\s*"(avloc\.[a-z]+/\d+)"')
_FIRST_MEMBER = re.compile(rb'\s*\{\s*"((?:[^"\\]|\\.)*)"\s*:\s*([^\s])')


@dataclass(frozen=True, slots=True)
class Peek:
    """A file or a folder, and the beginning of the file.

    Attributes:
        path: the file or folder.
        head: the first bytes of the file; empty for a folder.

    >>> Peek(Path("a.json"), b'{"schema": "avloc.tuned/1", "keep": 3}').schema
    'avloc.tuned/1'
    """

    path: Path
    head: bytes = b""

    @classmethod
    def at(cls, path: Path) -> Peek:
        """Read the beginning of a file.

        Raises:
            OSError: if it cannot be read.
        """
        if not path.is_file():  # a pipe could be waited for without end
            return cls(path)
        with path.open("rb") as file:
            return cls(path, file.read(HEAD_BYTES))

    @property
    def suffix(self) -> str:
        """The ending of its name, in small letters."""
        return self.path.suffix.lower()

    @property
    def schema(self) -> str:
        """The schema that a JSON document of avloc names; empty without one."""
        match = _SCHEMA.search(self.head) if self.is_object else None
        return "" if match is None else match[1].decode()

    @property
    def is_object(self) -> bool:
        """True if it begins like a JSON object."""
        return self.head.lstrip()[:1] == b"{"

    @property
    def is_list(self) -> bool:
        """True if it begins like a JSON list."""
        return self.head.lstrip()[:1] == b"["

    @property
    def first_member(self) -> tuple[str, str]:
        """The first name of a JSON object, and the first character of its value; both empty without one."""
        match = _FIRST_MEMBER.match(self.head)
        return ("", "") if match is None else (match[1].decode(errors="replace"), match[2].decode(errors="replace"))

    @property
    def header(self) -> list[str]:
        """The cells of the first line of a table, separated by commas."""
        return self.head.split(b"\n", 1)[0].decode(errors="replace").strip().removeprefix("\ufeff").split(",")

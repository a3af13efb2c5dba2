"""Big JSON files > pieces of some hundred members > a callback each: memory stays flat, and simdjson stays in the cache.

A file of one object (`{"file": rows, …}`) or one array of objects (metadata) is cut between members where the text shows
it. A cut can fall on text inside a member; then the piece does not parse, and the rest of the file is read as one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import simdjson

from avloc.errors import AvlocError

Kind = Literal["object", "array"]
PIECE_BYTES = 1 << 18  # fits the second-level cache with its parsed form: twice as fast as a few MB (measured)
# Opening and closing bracket of the file, last byte of a member, first byte of the next.
MARKS = {"object": (b"{", b"}", b"]", b'"'), "array": (b"[", b"]", b"}", b"{")}
CUT_WHITESPACE = 64  # no cut where a longer gap is
SHOWN = 24
SIMDJSON_ERRORS = (ValueError, RuntimeError)  # it raises these for text that it does not take
SPACE = b" \t\r\n"


def read_pieces(
    path: Path, kind: Kind, *, fast: Callable[[Any, bytes], bool], slow: Callable[[Any], None], what: str
) -> None:
    """Hand a file's members over, piece by piece, in order.

    Args:
        path: the file.
        kind: what the file should hold: one `object`, or one `array` of objects.
        fast: takes a piece as simdjson's object or array (valid only within the call) and as text; returns False if it
            has not taken it, because something in it is unusual.
        slow: takes such a piece as Python values instead, and says what is wrong with them. Objects are `Members`.
            Also gets a file whose top is not of this kind.
        what: the file is called so in errors.

    Raises:
        AvlocError: if there is no such file, or it is not JSON; names the line and column.
    """
    try:
        with path.open("rb") as file:
            _Reader(file, path, kind, fast, slow).run()
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such {what}") from error
    except IsADirectoryError as error:
        raise AvlocError(f"{path}: is a folder, want a {what}") from error


class Members(list[tuple[str, Any]]):
    """A JSON object as pairs: a name that is there twice stays visible."""


def kind_of(value: Any) -> str:
    """What a value from `slow` is, in JSON's words."""
    kinds = ((Members, "an object"), (list, "a list"), (str, "a text"), (bool, "true or false"), (type(None), "null"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


class _Reader:
    def __init__(
        self, file: BinaryIO, path: Path, kind: Kind, fast: Callable[[Any, bytes], bool], slow: Callable[[Any], None]
    ) -> None:
        self.file, self.path, self.fast, self.slow = file, path, fast, slow
        self.opening, self.closing, self.ends, self.begins = MARKS[kind]
        self.parser = simdjson.Parser()
        self.at = 0  # bytes of the file before the buffer

    def run(self) -> None:
        buffer = self.file.read(PIECE_BYTES)
        lead = len(buffer) - len(buffer.lstrip(SPACE))
        if buffer[lead : lead + 1] != self.opening:
            self._whole(buffer + self.file.read(), added=0)
            return
        self.at, buffer = lead + 1, buffer[lead + 1 :]
        wanted = PIECE_BYTES
        while True:
            more = self.file.read(wanted)
            if not more:
                self._last(buffer)
                return
            buffer += more
            end, begin = self._last_cut(buffer)
            if not begin:
                wanted *= 2  # one member is larger than this
                continue
            if not self._take(self.opening + buffer[:end] + self.closing):
                self._whole(self.opening + buffer + self.file.read(), added=1)
                return
            self.at, buffer, wanted = self.at + begin, buffer[begin:], PIECE_BYTES

    def _last_cut(self, buffer: bytes) -> tuple[int, int]:
        """The end of a member and the begin of the next, the last such pair; zeros if there is none."""
        begin = len(buffer)
        while (begin := buffer.rfind(self.begins, 0, begin)) >= 0:
            gap = buffer[max(0, begin - CUT_WHITESPACE) : begin].rstrip(SPACE)
            if gap.endswith(b",") and gap[:-1].rstrip(SPACE).endswith(self.ends):
                return buffer.rfind(self.ends, 0, begin) + 1, begin
        return 0, 0

    def _last(self, buffer: bytes) -> None:
        text = self.opening + buffer
        if not (text.rstrip(SPACE).endswith(self.closing) and self._take(text)):
            self._whole(text, added=1)

    def _take(self, text: bytes) -> bool:
        """Parse a piece and hand it over; False if it is not JSON by itself."""
        try:
            parsed = self.parser.parse(text)
        except SIMDJSON_ERRORS:
            parsed = None
        if parsed is not None and self.fast(parsed, text):
            return True
        del parsed
        try:
            value = json.loads(text, object_pairs_hook=Members)
        except (ValueError, RecursionError):
            return False
        self.slow(value)
        return True

    def _whole(self, text: bytes, *, added: int) -> None:
        """Read the rest at once; what does not parse now is an error with its place."""
        if text[:1] == self.opening and self._take(text):
            return
        try:
            value = json.loads(text, object_pairs_hook=Members)
        except json.JSONDecodeError as error:
            place = self.at - added + len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
            raise AvlocError(f"{self.path}: {self._line(place)}: not JSON ({error.msg}){_near(error)}") from error
        except UnicodeDecodeError as error:
            raise AvlocError(f"{self.path}: {self._line(self.at - added + error.start)}: not text in UTF-8") from error
        except RecursionError as error:
            raise AvlocError(f"{self.path}: not JSON that can be read (brackets nested too deeply)") from error
        except ValueError as error:
            raise AvlocError(f"{self.path}: not JSON that can be read ({error})") from error
        self.slow(value)

    def _line(self, place: int) -> str:
        """`line 3, column 7` of a byte of the file."""
        self.file.seek(0)
        line, column, left = 1, 1, place
        while left > 0 and (part := self.file.read(min(left, 1 << 20))):
            left -= len(part)
            if newlines := part.count(b"\n"):
                line, column = line + newlines, len(part) - part.rfind(b"\n")
            else:
                column += len(part)
        return f"line {line}, column {column}"


def _near(error: json.JSONDecodeError) -> str:
    text = error.doc[error.pos : error.pos + SHOWN]
    return f" at {text!r}" if text else " at the end of the file"

"""Large JSON file > pieces of a few hundred members > one callback per piece.

Memory stays flat, and each piece fits the processor's cache with its parsed form. A file of one object (`{"file": rows, …}`)
or of one array of objects (metadata) is cut between members, at a place that the text itself suggests. Such a place can also
occur in a string inside a member; then the piece does not parse, and the rest of the file is read at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import simdjson

from avloc.errors import AvlocError

Kind = Literal["object", "array"]
SimdjsonParser = Callable[[Any, bytes], bool]
PythonParser = Callable[[Any], None]

PIECE_BYTES = 1 << 18  # fits the second-level cache with its parsed form: twice as fast as a few MB (measured)
MAX_CUT_WHITESPACE = 64  # a longer gap between two members is no place to cut
EXCERPT_CHARACTERS = 24
SIMDJSON_ERRORS = (ValueError, RuntimeError)  # raised for text that simdjson does not accept
SPACE = b" \t\r\n"


class _Marks(NamedTuple):
    """Bytes of a file's text.

    Attributes:
        opening: first byte of the file.
        closing: last byte of the file.
        member_end: last byte of a member.
        member_begin: first byte of a member.
    """

    opening: bytes
    closing: bytes
    member_end: bytes
    member_begin: bytes


MARKS: dict[Kind, _Marks] = {"object": _Marks(b"{", b"}", b"]", b'"'), "array": _Marks(b"[", b"]", b"}", b"{")}


class Members(list[tuple[str, Any]]):
    """A JSON object as a list of (name, value) pairs, so that duplicate names stay visible.

    >>> json.loads('{"a": 1, "a": 2}', object_pairs_hook=Members)
    [('a', 1), ('a', 2)]
    """


def read_pieces(
    path: Path, kind: Kind, *, simdjson_parser: SimdjsonParser, python_parser: PythonParser, what: str
) -> None:
    """Pass the members of a file to parsers, piece by piece and in order.

    Args:
        path: the file.
        kind: expected top level: one `object`, or one `array` of objects.
        simdjson_parser: called with a piece as simdjson's object or array (valid only within the call) and as text. It
            returns False if it has not consumed the piece, because something in it is unusual.
        python_parser: called with such a piece as Python values; it raises the errors. Objects are `Members`. It also gets
            the whole content of a file whose top level is not of this kind.
        what: noun for the file in error messages, such as "metadata file".

    Raises:
        AvlocError: if the file is missing or not JSON; the message names line and column.
    """
    try:
        with path.open("rb") as file:
            _PieceReader(file, path, kind, simdjson_parser, python_parser, what).run()
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such {what}") from error
    except IsADirectoryError as error:
        raise AvlocError(f"{path}: is a folder, want a {what}") from error


def json_type(value: Any) -> str:
    """Name the type of a value that `python_parser` got, in JSON's words.

    >>> json_type(Members()), json_type(True), json_type(0.5)
    ('an object', 'true or false', 'a number')
    """
    names = ((Members, "an object"), (list, "a list"), (str, "a text"), (bool, "true or false"), (type(None), "null"))
    return next((name for python_type, name in names if isinstance(value, python_type)), "a number")


class _PieceReader:
    """Reads one file; see `read_pieces`."""

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        kind: Kind,
        simdjson_parser: SimdjsonParser,
        python_parser: PythonParser,
        what: str,
    ) -> None:
        self.file, self.path, self.marks, self.what = file, path, MARKS[kind], what
        self.simdjson_parser, self.python_parser = simdjson_parser, python_parser
        self.simdjson = simdjson.Parser()
        self.position = 0  # bytes of the file before the buffer

    def run(self) -> None:
        buffer = self.file.read(PIECE_BYTES)
        lead = len(buffer) - len(buffer.lstrip(SPACE))
        if buffer[lead : lead + 1] != self.marks.opening:
            self._parse_rest(buffer + self.file.read(), added=0)
            return
        self.position, buffer = lead + 1, buffer[lead + 1 :]
        size = PIECE_BYTES
        while True:
            more = self.file.read(size)
            if not more:
                self._parse_last(buffer)
                return
            buffer += more
            end, begin = self._last_cut(buffer)
            if not begin:
                size *= 2  # a single member is larger than this
                continue
            if not self._parse(self.marks.opening + buffer[:end] + self.marks.closing):
                self._parse_rest(self.marks.opening + buffer + self.file.read(), added=1)
                return
            self.position, buffer, size = self.position + begin, buffer[begin:], PIECE_BYTES

    def _last_cut(self, buffer: bytes) -> tuple[int, int]:
        """Return the end of the second last member and the begin of the last one; zeros without such a pair."""
        begin = len(buffer)
        while (begin := buffer.rfind(self.marks.member_begin, 0, begin)) >= 0:
            gap = buffer[max(0, begin - MAX_CUT_WHITESPACE) : begin].rstrip(SPACE)
            if gap.endswith(b",") and gap[:-1].rstrip(SPACE).endswith(self.marks.member_end):
                return buffer.rfind(self.marks.member_end, 0, begin) + 1, begin
        return 0, 0

    def _parse_last(self, buffer: bytes) -> None:
        text = self.marks.opening + buffer
        if not (text.rstrip(SPACE).endswith(self.marks.closing) and self._parse(text)):
            self._parse_rest(text, added=1)

    def _parse(self, text: bytes) -> bool:
        """Parse a piece and pass it on; False if it is not JSON by itself."""
        try:
            parsed = self.simdjson.parse(text)
        except SIMDJSON_ERRORS:
            parsed = None
        if parsed is not None and self.simdjson_parser(parsed, text):
            return True
        del parsed
        try:
            value = json.loads(text, object_pairs_hook=Members)
        except (ValueError, RecursionError):
            return False
        self.python_parser(value)
        return True

    def _parse_rest(self, text: bytes, *, added: int) -> None:
        """Parse the rest of the file at once; text that is not JSON raises an error with its place.

        Args:
            text: the rest, with `added` bytes in front that are not the file's.
            added: their number.
        """
        if text[:1] == self.marks.opening and self._parse(text):
            return
        try:
            value = json.loads(text, object_pairs_hook=Members)
        except json.JSONDecodeError as error:
            at = self.position - added + len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
            raise AvlocError(f"{self.path}: {self._line(at)}: not JSON ({error.msg}){_excerpt(error)}") from error
        except UnicodeDecodeError as error:
            line = self._line(self.position - added + error.start)
            raise AvlocError(f"{self.path}: {line}: not text in UTF-8; want a {self.what}") from error
        except RecursionError as error:
            raise AvlocError(f"{self.path}: not JSON that can be read (brackets nested too deeply)") from error
        except ValueError as error:
            raise AvlocError(f"{self.path}: not JSON that can be read ({error})") from error
        self.python_parser(value)

    def _line(self, position: int) -> str:
        """Return `line 3, column 7` for a byte of the file."""
        self.file.seek(0)
        line, column, left = 1, 1, position
        while left > 0 and (part := self.file.read(min(left, 1 << 20))):
            left -= len(part)
            if newlines := part.count(b"\n"):
                line, column = line + newlines, len(part) - part.rfind(b"\n")
            else:
                column += len(part)
        return f"line {line}, column {column}"


def _excerpt(error: json.JSONDecodeError) -> str:
    text = error.doc[error.pos : error.pos + EXCERPT_CHARACTERS]
    return f" at {text!r}" if text else " at the end of the file"

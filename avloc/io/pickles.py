"""Pickle file > plain containers, texts and arrays of numbers, without running code from the file.

The instructions of the pickle are interpreted here, and nothing is imported: a name of a function or class is only compared
with those that numpy writes for an array. All sizes are limited, so a small file cannot ask for much memory.

References: PEP 3154 and PEP 574 (the format), `pickletools` of the standard library (the instructions).
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError, one_line

MAX_BYTES = 1 << 30
"""A larger file is refused."""
MAX_INSTRUCTIONS = 100_000_000
MAX_CONTAINERS = 1_000_000
"""More lists, tuples, dictionaries and arrays than this are refused."""
MAX_MARKS = 1000
"""More containers than this within one another are refused."""
_RECONSTRUCT = ("numpy._core.multiarray _reconstruct", "numpy.core.multiarray _reconstruct")
_FROM_BUFFER = ("numpy._core.numeric _frombuffer", "numpy.core.numeric _frombuffer")
_SCALAR = ("numpy._core.multiarray scalar", "numpy.core.multiarray scalar")
_DTYPE, _NDARRAY = "numpy dtype", "numpy ndarray"
_ENCODE, _BYTES = "_codecs encode", "__builtin__ bytes"  # bytes in protocols before 3
NAMES = frozenset((*_RECONSTRUCT, *_FROM_BUFFER, *_SCALAR, _DTYPE, _NDARRAY, _ENCODE, _BYTES))
"""Modules and names that a pickle of numpy arrays mentions."""
_NUMBERS = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")
_TEXTS_OR_NUMBERS = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1|U[1-9]\d{0,3})")
_OBJECTS = re.compile(r"[|]?O8?")
_INTEGERS = frozenset(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"))
_TEXTS = frozenset(
    ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
)
_BYTES_LITERALS = frozenset(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"))
_LITERALS = frozenset(("FLOAT", "BINFLOAT")) | _INTEGERS | _TEXTS | _BYTES_LITERALS
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_IGNORED = frozenset(("PROTO", "FRAME", "STOP"))
# Exceptions for instructions whose values have another type, number or depth than they need.
_DAMAGES = (
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def read_plain_pickle(path: str | Path, what: str, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read a pickle of plain values: None, numbers, texts, lists, tuples, dictionaries, and numpy arrays of numbers.

    Args:
        path: the file.
        what: noun for the file in error messages, such as "prediction file".
        max_bytes: a larger file is refused.

    Raises:
        AvlocError: if the file is missing, is no pickle, is too large, or holds anything else. No code of the file is run.
    """
    path = Path(path)
    return _interpret(_read_bytes(path, what, max_bytes), path, is_free=False)


def _read_bytes(path: Path, what: str, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such {what}") from error
    except IsADirectoryError as error:
        raise AvlocError(f"{path}: is a folder, want a {what}") from error
    if len(data) > max_bytes:
        raise AvlocError(f"{path}: want a pickle of at most {max_bytes} bytes, got more")
    return data


def _interpret(data: bytes, path: Path, *, is_free: bool) -> Any:
    try:
        return _Machine(is_free=is_free).run(data)
    except _RefusedError as error:
        raise AvlocError(f"{path}: a pickle that is not read: {error}") from error
    except _DAMAGES as error:
        reason = one_line(error) or type(error).__name__
        raise AvlocError(f"{path}: not a pickle file, or a damaged one ({reason})") from error


def read_saved_object(path: str | Path, what: str) -> Any:
    """Read a .npy file in which `numpy.save` put one value, such as a dictionary of arrays of texts; no code is run.

    Args:
        path: the file.
        what: noun for the file in error messages, such as "label file".

    Raises:
        AvlocError: as `read_plain_pickle`, or if the file is no .npy file of one value.
    """
    path = Path(path)
    data = _read_bytes(path, what, MAX_BYTES)
    try:
        stream = io.BytesIO(data)
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    except _DAMAGES as error:
        raise AvlocError(f"{path}: not a .npy file, or a damaged one ({one_line(error)})") from error
    if shape != () or dtype != np.dtype(object):
        raise AvlocError(f"{path}: want a {what} with one dictionary, got an array of {dtype} of shape {shape}")
    return _interpret(data[stream.tell() :], path, is_free=True)


class _RefusedError(Exception):
    """A pickle that is well formed, but holds more than is allowed."""


@dataclass(frozen=True, slots=True)
class _Name:
    """The name of a function or class that numpy's arrays mention; it is never imported."""

    text: str


@dataclass(slots=True)
class _Kind:
    """The type of an array's numbers, as the file states it."""

    text: str
    is_free: bool = False  # texts and single values are allowed too

    def dtype(self) -> np.dtype[Any]:
        allowed = _TEXTS_OR_NUMBERS if self.is_free else _NUMBERS
        if not allowed.fullmatch(self.text):
            raise _RefusedError(f"an array of {self.text[:80]!a}, want numbers")
        return np.dtype(self.text)

    def holds_objects(self) -> bool:
        return self.is_free and _OBJECTS.fullmatch(self.text) is not None


@dataclass(slots=True)
class _Array:
    """An array whose values follow in a later instruction."""

    values: Any = None


@dataclass(slots=True)
class _Machine:
    """Interprets the instructions of one pickle."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    containers: int = 0
    is_free: bool = False

    def run(self, data: bytes) -> Any:
        """Return the value that the pickle describes."""
        for number, (operation, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            if number >= MAX_INSTRUCTIONS:
                raise _RefusedError(f"more than {MAX_INSTRUCTIONS} instructions")
            self.step(operation.name, argument)
        value = self.stack.pop()
        _check_plain(value)
        return value

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _GETS:
            self.stack.append(_resolve(self.memo[argument]))
        elif name in _PUTS:
            self.memo[argument] = self.stack[-1]
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name == "GLOBAL":
            self.name(argument)
        elif name in _ACTIONS:
            _ACTIONS[name](self)
        elif name not in _IGNORED:
            raise _RefusedError(f"it holds more than plain values and arrays of numbers (instruction {name})")

    def push(self, container: Any) -> None:
        """Push a new container."""
        self.containers += 1
        if self.containers > MAX_CONTAINERS:
            raise _RefusedError(f"more than {MAX_CONTAINERS} lists, tuples, dictionaries and arrays")
        self.stack.append(container)

    def mark(self) -> None:
        """Remember the top of the stack as the begin of a container's items."""
        if len(self.marks) >= MAX_MARKS:
            raise _RefusedError(f"more than {MAX_MARKS} containers within one another")
        self.marks.append(len(self.stack))

    def items(self) -> list[Any]:
        """Take everything above the last mark."""
        begin = self.marks.pop()
        items = self.stack[begin:]
        del self.stack[begin:]
        return items

    def last(self, count: int) -> tuple[Any, ...]:
        """Take the last few values."""
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise ValueError("an instruction without its values")
        del self.stack[-count:]
        return items

    def name(self, text: str) -> None:
        """Push a name, if it is one that numpy's arrays need."""
        if text not in NAMES:
            raise _RefusedError(
                f"it names {text[:80].replace(' ', '.')!a}, want plain values and arrays of numbers only"
            )
        self.stack.append(_Name(text))

    def stack_name(self) -> None:
        """Push the name whose two parts lie on the stack."""
        module, name = self.last(2)
        self.name(f"{module} {name}")

    def extend(self, items: list[Any]) -> None:
        """Append items to the list on the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError("items for a list, but no list")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        """Put keys and values into the dictionary on the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError("items for a dictionary, but no dictionary")
        keys = items[::2]
        if not {type(key) for key in keys} <= {str, int, float, bytes, bool, type(None)}:
            raise _RefusedError("a dictionary with keys that are neither texts nor numbers")
        target.update(zip(keys, items[1::2], strict=True))

    def make_dictionary(self) -> None:
        """Make a dictionary of everything above the last mark."""
        items = self.items()
        self.push({})
        self.update(items)

    def call(self) -> None:
        """Do what numpy's functions do for an array; nothing else is done."""
        function, arguments = self.last(2)
        if not isinstance(function, _Name) or type(arguments) is not tuple:
            raise _RefusedError("it calls something, want plain values and arrays of numbers only")
        if function.text == _DTYPE:
            self.stack.append(_Kind(str(arguments[0]), self.is_free))
        elif function.text in _RECONSTRUCT and arguments[0] == _Name(_NDARRAY):
            self.push(_Array())
        elif function.text in _FROM_BUFFER:
            raw, kind, shape, order = arguments
            self.push(_array(raw, kind, shape, fortran=order == "F"))
        elif function.text in _SCALAR:
            kind, raw = arguments
            self.stack.append(_array(raw, kind, (1,), fortran=False)[0].item())
        elif function.text == _ENCODE and arguments[1] == "latin1":
            self.stack.append(arguments[0].encode("latin-1"))
        elif function.text == _BYTES and not arguments:
            self.stack.append(b"")
        else:
            raise _RefusedError(f"it calls {function.text.replace(' ', '.')} in a way that numpy does not")

    def build(self) -> None:
        """Set the state of an array or of its type."""
        (state,) = self.last(1)
        target = self.stack[-1]
        if isinstance(target, _Kind):
            order = state[1]
            target.text = f"{order if order in ('<', '>') else ''}{target.text.lstrip('<>|=')}"
        elif isinstance(target, _Array):
            _, shape, kind, is_fortran, raw = state
            if isinstance(kind, _Kind) and kind.holds_objects():
                self.stack[-1] = target.values = _single(raw, shape)
            else:
                self.stack[-1] = target.values = _array(raw, kind, shape, fortran=bool(is_fortran))
        else:
            raise _RefusedError("it sets attributes, want plain values and arrays of numbers only")


def _single(raw: Any, shape: Any) -> Any:
    """Return the value of an array that holds one object and has no axes, as `numpy.save` wraps a dictionary."""
    if shape != () or type(raw) is not list or len(raw) != 1:
        raise _RefusedError("an array of objects, want numbers or one dictionary")
    return raw[0]


def _array(raw: Any, kind: Any, shape: Any, *, fortran: bool) -> npt.NDArray[Any]:
    """Make an array of bytes that must be as many as its shape says."""
    if isinstance(raw, str):  # Python 2 wrote bytes as text
        raw = raw.encode("latin-1")
    if not isinstance(kind, _Kind) or not isinstance(raw, bytes | bytearray):
        raise _RefusedError("an array of objects, want numbers")
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"an array of shape {shape!r}")
    dtype = kind.dtype()
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"an array of shape {shape} of {dtype} has {len(raw)} bytes")
    return np.frombuffer(raw, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _resolve(value: Any) -> Any:
    """Return the array in place of its placeholder."""
    return value.values if isinstance(value, _Array) and value.values is not None else value


def _check_plain(value: Any) -> None:
    """Refuse a value that holds a placeholder of this module; each container is visited once."""
    placeholders, containers = {_Array, _Name, _Kind}, {list, tuple, dict}
    pending, visited = [value], set()
    while pending:
        item = pending.pop()
        if type(item) in placeholders:
            raise _RefusedError("it holds an unfinished array or a type, want plain values and arrays of numbers only")
        if type(item) not in containers or id(item) in visited:
            continue
        visited.add(id(item))
        members = item.values() if isinstance(item, dict) else item
        if not (placeholders | containers).isdisjoint(map(type, members)):
            pending += [member for member in members if type(member) in placeholders | containers]


_ACTIONS: dict[str, Callable[[_Machine], object]] = {
    "MARK": _Machine.mark,
    "MEMOIZE": lambda machine: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    "POP": lambda machine: machine.stack.pop(),
    "POP_MARK": lambda machine: machine.items(),
    "EMPTY_LIST": lambda machine: machine.push([]),
    "LIST": lambda machine: machine.push(machine.items()),
    "APPEND": lambda machine: machine.extend([*machine.last(1)]),
    "APPENDS": lambda machine: machine.extend(machine.items()),
    "EMPTY_TUPLE": lambda machine: machine.push(()),
    "TUPLE": lambda machine: machine.push(tuple(machine.items())),
    "TUPLE1": lambda machine: machine.push(machine.last(1)),
    "TUPLE2": lambda machine: machine.push(machine.last(2)),
    "TUPLE3": lambda machine: machine.push(machine.last(3)),
    "EMPTY_DICT": lambda machine: machine.push({}),
    "DICT": _Machine.make_dictionary,
    "SETITEM": lambda machine: machine.update([*machine.last(2)]),
    "SETITEMS": lambda machine: machine.update(machine.items()),
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
"""The instructions that need more than their argument."""

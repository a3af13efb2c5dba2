"""Imports by dotted path: a user's own classes, named on the command line or in a configuration."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from avloc.errors import AvlocError, one_line


def import_dotted(path: str, what: str) -> object:
    """Import a module's attribute by its dotted path, also from the current folder.

    The current folder is appended to `sys.path` if only there the module is found. It comes last, so nothing in it shadows
    an installed package: with Hugging Face's `datasets` installed, a folder `datasets` here stays invisible.

    Only pass a path that the caller typed, never one that was read from a checkpoint or a store: importing runs code.

    Args:
        path: `package.module.attribute`.
        what: the kind of object expected, for the error message, e.g. `a subclass of Extractor`.

    Raises:
        AvlocError: if the path has no dot, the module cannot be imported, or it lacks the attribute.

    >>> import_dotted("collections.OrderedDict", "a class")
    <class 'collections.OrderedDict'>
    """
    module_name, _, attribute = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise AvlocError(f"{path!r}: expected the dotted path of {what}, like package.module.Name")
    make_importable(path)
    try:
        return getattr(import_module(module_name), attribute)
    except Exception as error:  # the module is the user's code, which may raise anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise AvlocError(f"{path}: cannot be imported, expected {what} ({reason})") from error


def make_importable(path: str) -> None:
    """Append the current folder to `sys.path` if only there the module of a dotted path is found.

    Otherwise the folder stays off the path: the files in it must not become modules by accident.
    """
    folder, module = Path.cwd(), path.partition(".")[0]
    is_here = (folder / module).is_dir() or (folder / f"{module}.py").is_file()
    if is_here and module not in sys.modules and find_spec(module) is None:
        sys.path.append(str(folder))

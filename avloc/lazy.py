"""Lazy loading of the public names: a package lists them, and each is imported when it is first used."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module


def load(package: str, name: str, modules: Mapping[str, str]) -> object:
    """Import a public name of a package, and keep it there for the next time.

    Args:
        package: the package's `__name__`.
        name: the attribute asked for.
        modules: by public name, the module that defines it.

    Raises:
        AttributeError: if the package has no such name.

    >>> load("avloc.core", "TimeGrid", {"TimeGrid": "avloc.core.timeline"}).__name__
    'TimeGrid'
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value: object = getattr(import_module(modules[name]), name)
    setattr(sys.modules[package], name, value)
    return value

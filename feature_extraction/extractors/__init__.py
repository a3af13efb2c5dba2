"""The extractors by name: the one table that the command line lists.

A specification is a name, or a name with the constructor's arguments: `r3d_18:weights=/data/r3d_18.pth,stride=2`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, Features

EXTRACTORS: dict[str, str] = {
    "logspec": "avloc.feature_extraction.extractors.spectrogram.LogSpec",
    "logmel": "avloc.feature_extraction.extractors.spectrogram.LogMel",
    "residual_grid": "avloc.feature_extraction.extractors.residual_grid.ResidualGrid",
    "r3d_18": "avloc.feature_extraction.extractors.video_cnn.R3D18",
    "batfd_c3d": "avloc.feature_extraction.extractors.batfd.BATFDC3D",
    "batfd_mvit": "avloc.feature_extraction.extractors.batfd.BATFDMViT",
    "batfd_audio": "avloc.feature_extraction.extractors.batfd.BATFDAudio",
}

__all__ = ["EXTRACTORS", "Extractor", "Features", "build", "parse"]


def parse(specification: str) -> tuple[str, dict[str, str]]:
    """`name:key=value,…` → the name and its arguments, as written.

    >>> parse("r3d_18:random=true,stride=2")
    ('r3d_18', {'random': 'true', 'stride': '2'})
    """
    name, _, rest = specification.partition(":")
    arguments = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise AvlocError(f"extractor {specification!r}: want name:key=value,key=value, got {part!r}")
        arguments[key.strip()] = value.strip()
    return name.strip(), arguments


def build(name: str, arguments: Mapping[str, Any] | None = None) -> Extractor:
    """An extractor by name; arguments that come as text are turned into what the constructor takes.

    Raises:
        AvlocError: if there is no such extractor, or it has no such argument.
    """
    if name not in EXTRACTORS:
        raise AvlocError(f"unknown extractor {name!r}, there are: {', '.join(sorted(EXTRACTORS))}")
    module, _, attribute = EXTRACTORS[name].rpartition(".")
    factory: Callable[..., Extractor] = getattr(import_module(module), attribute)
    signature = inspect.signature(factory).parameters
    typed = {}
    for key, value in (arguments or {}).items():
        if key not in signature:
            raise AvlocError(f"extractor {name} has no argument {key!r}, it has: {', '.join(signature) or 'none'}")
        typed[key] = _typed(name, key, value, str(signature[key].annotation)) if isinstance(value, str) else value
    return factory(**typed)


def _typed(name: str, key: str, value: str, annotation: str) -> Any:
    if annotation == "int":
        try:
            return int(value)
        except ValueError as error:
            raise AvlocError(f"extractor {name}: {key} must be a whole number, got {value!r}") from error
    if annotation == "bool":
        if value.lower() not in ("true", "false"):
            raise AvlocError(f"extractor {name}: {key} must be true or false, got {value!r}")
        return value.lower() == "true"
    return value

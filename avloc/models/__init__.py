"""The networks: one file each, and the table that checkpoints name them by."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avloc.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

    from avloc.models.batfd.network import BATFD
    from avloc.models.batfd.plus import BATFDPlus
    from avloc.models.batfd.published import load_published
    from avloc.models.boundary_transformer import BoundaryTransformer

MODELS: dict[str, str] = {
    "BoundaryTransformer": "avloc.models.boundary_transformer",
    "BATFD": "avloc.models.batfd.network",
    "BATFDPlus": "avloc.models.batfd.plus",
}
_EXPORTS = {**MODELS, "load_published": "avloc.models.batfd.published"}

__all__ = ["BATFD", "MODELS", "BATFDPlus", "BoundaryTransformer", "build_model", "load_published"]


def __getattr__(name: str) -> Any:
    """The networks by name, imported (with torch) when first asked for."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build_model(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A network by name.

    Raises:
        CheckpointError: if there is no such network, or it does not take these arguments.
    """
    if name not in MODELS:
        raise CheckpointError(f"unknown network {name!r}, there are: {', '.join(MODELS)}")
    try:
        network: nn.Module = getattr(import_module(MODELS[name]), name)(**arguments)
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"network {name} cannot be made from {arguments}: {error}") from error
    return network

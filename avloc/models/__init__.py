"""The networks: one file each, and the table that checkpoints name them by."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avloc.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

MODELS: dict[str, str] = {"BoundaryTransformer": "avloc.models.boundary_transformer"}


def build_model(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A network by name.

    Raises:
        CheckpointError: if there is no such network, or it does not take these arguments.
    """
    if name not in MODELS:
        raise CheckpointError(f"unknown network {name!r}, there are: {', '.join(MODELS)}")
    try:
        network: nn.Module = getattr(import_module(MODELS[name]), name)(**arguments)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"network {name} cannot be made from {arguments}: {error}") from error
    return network

"""Networks, their contract, and their checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.models.batfd.network import BATFD as BATFD
    from avloc.models.batfd.plus import BATFDPlus as BATFDPlus
    from avloc.models.batfd.published import load_published as load_published
    from avloc.models.boundary_transformer import BoundaryTransformer as BoundaryTransformer
    from avloc.models.catalog import build_model as build_model
    from avloc.models.checkpoint import Checkpoint as Checkpoint
    from avloc.models.checkpoint import read_checkpoint as read_checkpoint
    from avloc.models.network import Network as Network
    from avloc.models.network import check_network as check_network

__all__ = [
    "BATFD",
    "BATFDPlus",
    "BoundaryTransformer",
    "Checkpoint",
    "Network",
    "build_model",
    "check_network",
    "load_published",
    "read_checkpoint",
]

_MODULES = {
    "BATFD": "avloc.models.batfd.network",
    "BATFDPlus": "avloc.models.batfd.plus",
    "BoundaryTransformer": "avloc.models.boundary_transformer",
    "Checkpoint": "avloc.models.checkpoint",
    "Network": "avloc.models.network",
    "build_model": "avloc.models.catalog",
    "check_network": "avloc.models.network",
    "load_published": "avloc.models.batfd.published",
    "read_checkpoint": "avloc.models.checkpoint",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__

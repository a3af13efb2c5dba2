"""Training: the LightningModule, and the training run of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.training.command import train as train
    from avloc.training.module import LocalizationModule as LocalizationModule

__all__ = [
    "LocalizationModule",
    "train",
]

_MODULES = {
    "LocalizationModule": "avloc.training.module",
    "train": "avloc.training.command",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__

"""Inference: a trained network on clips, or on the features of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.inference.localizer import Localizer as Localizer
    from avloc.inference.packaged import load_packaged as load_packaged
    from avloc.inference.split.prediction import SplitPredictions as SplitPredictions
    from avloc.inference.split.prediction import predict as predict

__all__ = [
    "Localizer",
    "SplitPredictions",
    "load_packaged",
    "predict",
]

_MODULES = {
    "Localizer": "avloc.inference.localizer",
    "SplitPredictions": "avloc.inference.split.prediction",
    "load_packaged": "avloc.inference.packaged",
    "predict": "avloc.inference.split.prediction",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__

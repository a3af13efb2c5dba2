"""Networks, their contract, and their checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.core.descriptions import TrainingContext as TrainingContext
    from avloc.models.batfd.network import BATFD as BATFD
    from avloc.models.batfd.plus import BATFDPlus as BATFDPlus
    from avloc.models.batfd.published import load_published as load_published
    from avloc.models.boundary_transformer.network import BoundaryTransformer as BoundaryTransformer
    from avloc.models.boundary_transformer.weak_pooling import InstancePooling as InstancePooling
    from avloc.models.boundary_transformer.weak_pooling import multiple_instance_loss as multiple_instance_loss
    from avloc.models.catalog import build_model as build_model
    from avloc.models.checkpoint import Checkpoint as Checkpoint
    from avloc.models.checkpoint import read_checkpoint as read_checkpoint
    from avloc.models.checkpoint import write_checkpoint as write_checkpoint
    from avloc.models.clip_pooling import AttentiveStatisticsPooling as AttentiveStatisticsPooling
    from avloc.models.clip_pooling import MeanPooling as MeanPooling
    from avloc.models.clip_pooling import MultiHeadFactorizedPooling as MultiHeadFactorizedPooling
    from avloc.models.front_ends.catalog import build_front_end as build_front_end
    from avloc.models.front_ends.lips import LipFrontEnd as LipFrontEnd
    from avloc.models.front_ends.parallel import ParallelFrontEnd as ParallelFrontEnd
    from avloc.models.front_ends.raw import RawFrontEnd as RawFrontEnd
    from avloc.models.front_ends.spectrogram import SpectrogramFrontEnd as SpectrogramFrontEnd
    from avloc.models.front_ends.speech import SpeechFrontEnd as SpeechFrontEnd
    from avloc.models.front_ends.whisper import WhisperFrontEnd as WhisperFrontEnd
    from avloc.models.network import Network as Network
    from avloc.models.network import check_network as check_network

__all__ = [
    "BATFD",
    "AttentiveStatisticsPooling",
    "BATFDPlus",
    "BoundaryTransformer",
    "Checkpoint",
    "InstancePooling",
    "LipFrontEnd",
    "MeanPooling",
    "MultiHeadFactorizedPooling",
    "Network",
    "ParallelFrontEnd",
    "RawFrontEnd",
    "SpectrogramFrontEnd",
    "SpeechFrontEnd",
    "TrainingContext",
    "WhisperFrontEnd",
    "build_front_end",
    "build_model",
    "check_network",
    "load_published",
    "multiple_instance_loss",
    "read_checkpoint",
    "write_checkpoint",
]

_MODULES = {
    "AttentiveStatisticsPooling": "avloc.models.clip_pooling",
    "BATFD": "avloc.models.batfd.network",
    "BATFDPlus": "avloc.models.batfd.plus",
    "BoundaryTransformer": "avloc.models.boundary_transformer.network",
    "Checkpoint": "avloc.models.checkpoint",
    "InstancePooling": "avloc.models.boundary_transformer.weak_pooling",
    "LipFrontEnd": "avloc.models.front_ends.lips",
    "MeanPooling": "avloc.models.clip_pooling",
    "MultiHeadFactorizedPooling": "avloc.models.clip_pooling",
    "Network": "avloc.models.network",
    "ParallelFrontEnd": "avloc.models.front_ends.parallel",
    "RawFrontEnd": "avloc.models.front_ends.raw",
    "SpectrogramFrontEnd": "avloc.models.front_ends.spectrogram",
    "SpeechFrontEnd": "avloc.models.front_ends.speech",
    "TrainingContext": "avloc.core.descriptions",
    "WhisperFrontEnd": "avloc.models.front_ends.whisper",
    "build_front_end": "avloc.models.front_ends.catalog",
    "build_model": "avloc.models.catalog",
    "check_network": "avloc.models.network",
    "load_published": "avloc.models.batfd.published",
    "multiple_instance_loss": "avloc.models.boundary_transformer.weak_pooling",
    "read_checkpoint": "avloc.models.checkpoint",
    "write_checkpoint": "avloc.models.checkpoint",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__

"""What a system is: a network's class, its arguments, and its training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from avloc.models import Network

FEATURES = ("logspec", "residual_grid")
OURS = "boundary_transformer"


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table.

    Attributes:
        network: dotted path of its class.
        title: in the tables.
        short: in the head of a column.
        arguments: of the class.
        lr: the highest learning rate.
        hop_s: seconds per step.
        pseudo_forgeries: share of the real training clips that get a pseudo-forgery.
        modality: the only modality of its labels and forgeries; empty: both.
        weights_of: another system, whose trained network this one decodes; empty: it is trained itself.
        setting: the difference between the trials of a system, in the tables.
        clip_labels_only: train and choose the weights without any segment, by the AUC of the clips.
        extractors: the features of both streams.
        data: other options of `avloc.datasets.FeatureData`.
        held_back: methods whose clips are left out of the training, so that validation meets them as unseen ones.
        starts_from: another system, with whose trained weights the training begins; empty: with random ones.
        start_budget: the budget of that system's training.
        front_end_lr: the highest rate of a front end's pretrained layers; None: `lr`.
        precision: of the training, by Lightning's names; predictions are in 32 bits.
    """

    network: str
    title: str
    short: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    lr: float = 2e-3
    hop_s: float = 0.04
    pseudo_forgeries: float = 0.0
    modality: str = ""
    weights_of: str = ""
    setting: str = "rate 2e-3"
    clip_labels_only: bool = False
    extractors: tuple[str, ...] = FEATURES
    data: Mapping[str, object] = field(default_factory=dict)
    held_back: tuple[str, ...] = ()
    starts_from: str = ""
    start_budget: str = ""
    front_end_lr: float | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    @property
    def monitor(self) -> str:
        """The metric of the validation that chooses the weights."""
        return "val/auc" if self.clip_labels_only else "val/ap"

    @property
    def key(self) -> str:
        """A checksum of all settings of the training and the decoding: files of other settings are another run's."""
        settings = [self.network, self.arguments, self.lr, self.hop_s, self.pseudo_forgeries, self.modality]
        settings += ["clip labels only"] if self.clip_labels_only else []
        settings += [self.extractors] if self.extractors != FEATURES else []
        settings += [self.data] if self.data else []
        settings += [self.held_back] if self.held_back else []
        settings += [f"starts from {self.starts_from}, {self.start_budget}"] if self.starts_from else []
        settings += [f"front end at {self.front_end_lr}"] if self.front_end_lr else []
        settings += [self.precision] if self.precision != "32-true" else []
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def labels_per_modality(self) -> bool:
        """True if the network is trained on the segments of each modality, which may differ for one forgery."""
        return bool(self.arguments.get("modality_points", False))

    def with_arguments(self, title: str, **arguments: object) -> System:
        """The same system with other arguments of its class."""
        return replace(self, title=title, arguments={**self.arguments, **arguments})

    def decoded_with(self, title: str, trained: str = OURS, **arguments: object) -> System:
        """The same network with other arguments that only decoding reads, and the weights of a trained system."""
        return replace(self.with_arguments(title, **arguments), weights_of=trained)


def build_network(system: System) -> Network:
    """Make a system's network, with random weights."""
    module, _, name = system.network.rpartition(".")
    return cast("Network", getattr(import_module(module), name)(**system.arguments))

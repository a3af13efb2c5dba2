"""A network's parameters > groups of an optimizer: pretrained layers learn at rates of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from torch import nn

from avloc.errors import AvlocError


class PretrainedRates(NamedTuple):
    """Learning rates of the pretrained layers of front ends.

    Attributes:
        lr: maximum of the top layer's rate; None: that of the rest of the network.
        layer_decay: factor from each layer to the one under it.
        frozen_epochs: epochs at the beginning that leave them unchanged.

    Raises:
        AvlocError: from `check`, if a value is out of its range.
    """

    lr: float | None = None
    layer_decay: float = 1.0
    frozen_epochs: int = 0

    def check(self) -> None:
        """Check the values."""
        if not ((self.lr is None or self.lr > 0) and 0 < self.layer_decay <= 1 and self.frozen_epochs >= 0):
            raise AvlocError(
                f"want front_end_lr > 0, 0 < layer_decay ≤ 1 and frozen_epochs ≥ 0, got {self.lr}, {self.layer_decay:g}, "
                f"{self.frozen_epochs}"
            )


def parameter_groups(model: nn.Module, lr: float, rates: PretrainedRates) -> list[dict[str, Any]]:
    """Divide the parameters that learn: first those of the network itself, then pretrained layers from the top down.

    Pretrained parameters are those that a module's `pretrained_groups` names; those of its `undecayed_parameters` are in a group
    of their own, without weight decay (`avloc.models.front_ends`). A network without front ends is one group, all of which
    decays, as its results and the published recipes were obtained.

    Args:
        model: the network.
        lr: maximum of the learning rate.
        rates: of the pretrained layers.

    Returns:
        Groups (`params`, `lr`, `pretrained`; `weight_decay` 0 where none applies) of the network, and of each pretrained layer
        that learns.

    Raises:
        AvlocError: if rates are given, and the network has no pretrained layers that learn.

    >>> [group["lr"] for group in parameter_groups(nn.Linear(2, 3), 0.1, PretrainedRates())]
    [0.1]
    """
    undecayed = {id(p) for parameters in _named_by_modules(model, "undecayed_parameters") for p in parameters}
    pretrained: list[dict[str, Any]] = []
    for layers in _named_by_modules(model, "pretrained_groups"):
        for depth, parameters in enumerate(layers):
            rate = (lr if rates.lr is None else rates.lr) * rates.layer_decay**depth
            pretrained += _split_decay(parameters, undecayed, {"lr": rate, "pretrained": True})
    if rates != PretrainedRates() and not pretrained:
        raise AvlocError(
            "front_end_lr, layer_decay and frozen_epochs are for pretrained layers that learn, and the network has none; leave "
            "them out, or give its front end another tuning than frozen"
        )
    grouped = {id(p) for group in pretrained for p in group["params"]}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in grouped]
    return [*_split_decay(rest, undecayed, {"lr": lr, "pretrained": False}), *pretrained]


def _named_by_modules(model: nn.Module, method: str) -> Iterator[Any]:
    """Yield what each module returns that has a method of this name."""
    for module in model.modules():
        names = getattr(module, method, None)
        if callable(names):
            yield names()


def _split_decay(
    parameters: Sequence[nn.Parameter], undecayed: Set[int], options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Make a group of the parameters that decay, and one of those that do not; an empty group is left out."""
    parts = [[p for p in parameters if (id(p) in undecayed) == leaves_out] for leaves_out in (False, True)]
    groups = [{"params": parts[0], **options}, {"params": parts[1], **options, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]

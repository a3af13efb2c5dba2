"""A network's parameters > groups of an optimizer: pretrained layers learn at rates of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from avloc.errors import AvlocError


class PretrainedRates(NamedTuple):
    """Learning rates of the pretrained layers of front ends.

    Attributes:
        lr: maximum of the top layer's rate; None: that of the rest of the network.
        layer_decay: factor from each layer to the one under it.
        frozen_epochs: epochs at the beginning in which they do not learn.

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

    Pretrained parameters are those that a module's `pretrained_groups` names (`avloc.models.front_ends`).

    Args:
        model: the network.
        lr: maximum of the learning rate.
        rates: of the pretrained layers.

    Returns:
        A group (`params`, `lr`, `pretrained`) for the network, and one per pretrained layer that learns.

    Raises:
        AvlocError: if rates are given, and the network has no pretrained layers that learn.

    >>> [group["lr"] for group in parameter_groups(nn.Linear(2, 3), 0.1, PretrainedRates())]
    [0.1]
    """
    pretrained: list[dict[str, Any]] = []
    for module in model.modules():
        groups_of: Callable[[], list[list[nn.Parameter]]] | None = getattr(module, "pretrained_groups", None)
        for depth, parameters in enumerate(groups_of() if callable(groups_of) else []):
            rate = (lr if rates.lr is None else rates.lr) * rates.layer_decay**depth
            if parameters:
                pretrained.append({"params": parameters, "lr": rate, "pretrained": True})
    if rates != PretrainedRates() and not pretrained:
        raise AvlocError(
            "front_end_lr, layer_decay and frozen_epochs are for pretrained layers that learn, and the network has none; leave "
            "them out, or give its front end another tuning than frozen"
        )
    grouped = {id(p) for group in pretrained for p in group["params"]}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in grouped]
    return [{"params": rest, "lr": lr, "pretrained": False}, *pretrained]

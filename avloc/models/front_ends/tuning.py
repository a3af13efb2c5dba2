"""Which weights of a pretrained network learn with the task."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from avloc.errors import AvlocError
from avloc.models.front_ends.lora import add_lora

Tuning = Literal["frozen", "lora", "top", "all"]
"""`frozen`: none; `lora`: low-rank updates of its attention; `top`: its uppermost layers; `all`."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
"""The linear layers of an attention, by the names of transformers."""


def check_tuning(front_end: str, tuning: object) -> None:
    """Check a front end's `tuning`.

    Raises:
        AvlocError: if it is none.
    """
    if tuning not in get_args(Tuning):
        raise AvlocError(f"front end {front_end}: tuning must be one of {', '.join(get_args(Tuning))}, got {tuning!r}")


def choose_parameters(
    network: nn.Module, layers: nn.ModuleList, tuning: Tuning, *, top_layers: int = 1, rank: int = 8
) -> None:
    """Freeze what does not learn.

    Args:
        network: a pretrained network.
        layers: those of its transformer, from the lowest to the top one.
        tuning: which weights learn.
        top_layers: number of layers that learn with `top`.
        rank: of the updates of `lora`.
    """
    network.requires_grad_(tuning == "all")
    if tuning == "lora":
        add_lora(layers, ATTENTION, rank)
    elif tuning == "top":
        layers[-top_layers:].requires_grad_(True)

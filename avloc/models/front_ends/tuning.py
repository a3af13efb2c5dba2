"""Which weights of a pretrained network learn with the task."""

from __future__ import annotations

from typing import Literal, get_args

from avloc.errors import AvlocError

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

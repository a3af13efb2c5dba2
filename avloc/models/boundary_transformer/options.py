"""Checks of `BoundaryTransformer`'s arguments: sizes that fit, and no option without effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avloc.core.records import MODALITIES
from avloc.errors import AvlocError
from avloc.models.boundary_transformer.weak_pooling import POOLED_SHARE
from avloc.models.front_ends.catalog import check_front_end_options

LARGEST = {"width": 8192, "evidence_channels": 8192, "distance_bins": 8192}
LARGEST |= dict.fromkeys(("levels", "stem_layers", "cross_layers", "coarse_levels"), 64)
"""By option, a size that no network has and a checkpoint may claim: building more would take hours, or all memory."""
MOST_COARSE_LEVELS = 8  # frames of 256 steps, more than ten seconds


def check_options(arguments: Mapping[str, Any]) -> None:
    """Check the arguments of a network.

    Args:
        arguments: all of its constructor's, by name.

    Raises:
        AvlocError: if a size does not fit to another one, or to memory, or an option needs another one that is off.
    """
    _check_widths(arguments)
    for name, largest in LARGEST.items():
        if arguments[name] > largest:
            raise AvlocError(f"want {name} of at most {largest}, got {arguments[name]}")
    if arguments["distance_bins"] < 1:
        raise AvlocError(f"want at least one of distance_bins, got {arguments['distance_bins']}")
    coarse_levels, part_weight = arguments["coarse_levels"], arguments["part_weight"]
    if not 0 <= coarse_levels <= MOST_COARSE_LEVELS or part_weight < 0:
        raise AvlocError(
            f"want coarse_levels of 0 to {MOST_COARSE_LEVELS} and part_weight ≥ 0, got {coarse_levels} and {part_weight:g}"
        )
    _check_effects(arguments)


def _check_widths(arguments: Mapping[str, Any]) -> None:
    """Check the attention's heads, and each modality's number of layers."""
    width, heads = arguments["width"], arguments["heads"]
    if width % heads:
        raise AvlocError(f"heads must divide the width, got {heads} heads and a width of {width}")
    audio, visual = ((arguments[f"{m}_layers"], arguments[f"{m}_dim"]) for m in MODALITIES)
    if audio[1] % audio[0] or visual[1] % visual[0]:
        raise AvlocError(
            f"layers must divide the features' width, got {audio[0]} of {audio[1]} and {visual[0]} of {visual[1]}"
        )


def _check_effects(arguments: Mapping[str, Any]) -> None:
    """Refuse options that were asked for and would have no effect, because the one that they need is off.

    `merge_iou` and `merge_hull` are not among them: decoding alone reads them, and settings that differ in `modality_points`
    share them.
    """
    options = (
        ("refine", False, "evidence_channels"),
        ("share_branch", True, "modality_points"),
    )
    for option, usual, needed in options:
        if arguments[option] != usual and not arguments[needed]:
            raise AvlocError(
                f"{option}={arguments[option]} has no effect with {needed}={arguments[needed]}; leave {option} out, or change "
                f"{needed}"
            )
    for option in ("coarse_levels", "part_weight"):
        if arguments["clip_pooling"] and arguments[option]:
            raise AvlocError(
                f"{option} trains on segments, and clip_pooling on clip labels alone; leave one of them out"
            )
    if arguments["pooled_share"] != POOLED_SHARE and arguments["clip_pooling"] != "top_k":
        raise AvlocError("pooled_share has no effect without clip_pooling=top_k; leave it out")
    check_front_end_options(arguments)

"""Clips and their details > the groups of the tables: by modality, method, length, change, speaker, language, frame rate.

Two rules keep a group's scores sound. A property of fakes (modality, methods, length, change) selects the clips **all of whose
fakes have it**, together with **all real clips** of the split, so that false alarms count. A property of the recording (speaker,
language, frame rate) selects **forged and real clips alike**. A clip with fakes of two kinds is in neither kind's group.
Groups have different shares of forged clips, and AP rises with that share: compare systems within a group, not groups.

Legend: V clips.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import numpy.typing as npt
from scoring.truth import SplitTruth

from avloc.core.records import MODALITIES, VideoRecord

Mask = npt.NDArray[np.bool_]
LENGTHS_S = (0.2, 0.4, 0.8)
LENGTH_NAMES = ("< 0.2 s", "0.2–0.4 s", "0.4–0.8 s", "> 0.8 s")
EVERYTHING = "all clips"


def group_masks(truth: SplitTruth, *, unseen: Collection[str], neural: Collection[str]) -> dict[str, dict[str, Mask]]:
    """Mark the clips of each group: property → its value → (V,). Values without a forged clip are left out.

    Args:
        truth: of the split.
        unseen: methods that no training clip has.
        neural: methods that are neural networks.
    """
    groups = {"": {EVERYTHING: np.ones(len(truth.records), dtype=bool)}}
    groups["modality"] = _by_fakes(truth, lambda k: truth.records[k].modality, order=("audio", "visual", "both"))
    groups["methods"] = method_masks(truth, unseen, neural)
    for modality in MODALITIES:
        groups[f"{modality} method"] = _by_fakes(truth, lambda k, m=modality: _only_method(truth.details[k].methods, m))
    groups["length"] = _by_fakes(truth, lambda k: length_name(truth.records[k]), order=LENGTH_NAMES)
    groups["change"] = _by_fakes(truth, lambda k: truth.details[k].change)
    for name in ("speaker", "language", "fps"):
        groups[name] = _by_recording(truth, name)
    return groups


def method_masks(truth: SplitTruth, unseen: Collection[str], neural: Collection[str]) -> dict[str, Mask]:
    """Mark the clips whose methods all are of a kind, with all real clips; kinds without such a clip are left out."""
    kinds: dict[str, Callable[[str], bool]] = {
        "seen": lambda name: name not in unseen,
        "unseen": lambda name: name in unseen,
        "neural": lambda name: name in neural,
        "unseen neural": lambda name: name in unseen and name in neural,
    }
    masks = {}
    for kind, has in kinds.items():
        every = [bool(each.methods) and all(map(has, each.methods.values())) for each in truth.details]
        masks[kind] = np.array(every, dtype=bool)
    return {kind: mask | ~truth.is_forged() for kind, mask in masks.items() if mask.any()}


def _only_method(methods: Mapping[str, str], modality: str) -> str | None:
    """Return the method of a clip that is forged in one modality alone; None for others."""
    return methods[modality] if list(methods) == [modality] else None


def length_name(record: VideoRecord) -> str | None:
    """Return the range of length that all fakes of a clip are in; None if they are in several, or there are none.

    >>> from avloc.core.timeline import Segment
    >>> length_name(VideoRecord("a.mp4", "test", audio_segments=(Segment(1.0, 1.3), Segment(2.0, 2.2))))
    '0.2–0.4 s'
    """
    # Times have a millisecond; a difference of 0.2 s must not fall below 0.2.
    ranges = {int(np.searchsorted(LENGTHS_S, s.duration_s + 1e-6, side="right")) for s in record.segments}
    return LENGTH_NAMES[ranges.pop()] if len(ranges) == 1 else None


def _by_fakes(
    truth: SplitTruth, value_of: Callable[[int], str | None], order: Collection[str] | None = None
) -> dict[str, Mask]:
    """Group forged clips by a value, each group with all real clips."""
    forged = truth.is_forged()
    values = np.array([(value_of(k) or "") if forged[k] else "" for k in range(len(forged))])
    return {
        value: (values == value) | ~forged for value in order or np.unique(values).tolist() if value in values and value
    }


def _by_recording(truth: SplitTruth, name: str) -> dict[str, Mask]:
    """Group forged and real clips by an attribute of their details."""
    values = np.array([str(getattr(each, name)) for each in truth.details])
    masks = {value: values == value for value in np.unique(values).tolist()}
    return {value: mask for value, mask in masks.items() if (mask & truth.is_forged()).any()}

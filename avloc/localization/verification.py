"""A recorded result and one that was made again > the findings: which parts agree, within which tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from avloc.core.records import MODALITIES
from avloc.localization.result import Localization
from avloc.localization.segment import LocalizedSegment

SCORE_TOLERANCE = 0.002
"""The largest difference of scores and of fakeness that counts as none: other processors add in another order."""
TIME_TOLERANCE_S = 0.01
"""The same of times."""
COMPARED = ("sentence", "verdict", "llr", "probability", "step", "score", "segments", "weaker_segments")
"""Entries of a document that are compared with a tolerance, or that follow from these."""
FREE = ("schema", "file", "provenance")
"""Entries that may differ."""
EXACT = ("prior", "threshold", "calibration", "network")
"""Entries whose numbers come from the checkpoint and the options, not from decoding."""


class Finding(NamedTuple):
    """The comparison of one part of a result.

    Attributes:
        part: `clip`, `checkpoint`, `version`, `document`, `scores`, `segments`, `fakeness` or `details`.
        agrees: whether it is the same.
        text: the comparison, and the difference.
    """

    part: str
    agrees: bool
    text: str


def compare_results(
    document: Mapping[str, Any], recorded: Localization, repeated: Localization, threshold: float | None = None
) -> list[Finding]:
    """Compare a result with one that was made again.

    Args:
        document: the recorded result, as it was read.
        recorded: the same as a localization.
        repeated: the result that was made again, with the same settings.
        threshold: separates `segments` from `weaker_segments`; None: that of the result that was made again.
    """
    return [
        _compare_scores(recorded, repeated),
        _compare_segments(recorded.segments(0.0), repeated.segments(0.0)),
        _compare_fakeness(recorded, repeated),
        _compare_details(document, repeated.to_dict(threshold)),
    ]


def check_document(document: Mapping[str, Any], recorded: Localization) -> Finding:
    """Check that the sentence, the verdict, the probabilities and the order of a document follow from its own scores."""
    derived = recorded.to_dict(document["threshold"]["value"])
    changed = [key for key in derived if derived[key] != document.get(key)]
    changed += [key for key in document if key not in derived]
    if changed:
        return Finding("document", False, f"changed, not what follows from its own scores: {', '.join(changed)}")
    return Finding("document", True, "the verdict, the probabilities and the texts follow from its own scores")


def _compare_scores(recorded: Localization, repeated: Localization) -> Finding:
    first, second = ({key: each.scores.get(key) for key in ("clip", *MODALITIES)} for each in (recorded, repeated))
    differences = {key: _difference(first[key], second[key]) for key in first}
    return _finding("scores", differences, f"of the clip and of {' and '.join(MODALITIES)}")


def _difference(first: float | None, second: float | None) -> float:
    """The difference of two scores; infinite if only one exists."""
    if first is None or second is None:
        return 0.0 if first is second else math.inf
    return abs(first - second)


def _finding(part: str, differences: Mapping[str, float], text: str) -> Finding:
    largest = max(differences, key=lambda key: differences[key])
    if math.isinf(differences[largest]):
        return Finding(part, False, f"{text}: only one result has a value for {largest}")
    agrees = differences[largest] <= SCORE_TOLERANCE
    place = "" if agrees else f", for {largest}"
    return Finding(
        part, agrees, f"{text}: largest difference {differences[largest]:.4f}{place} (tolerance {SCORE_TOLERANCE:g})"
    )


def _compare_segments(recorded: Sequence[LocalizedSegment], repeated: Sequence[LocalizedSegment]) -> Finding:
    """Pair each recorded segment with a repeated one at the same place, of the same score."""
    free, missing = list(repeated), []
    for segment in recorded:
        partner = next((other for other in free if _is_same(segment, other)), None)
        if partner is None:
            missing.append(segment)
        else:
            free.remove(partner)
    tolerance = f"(tolerance {TIME_TOLERANCE_S:g} s, {SCORE_TOLERANCE:g} of scores)"
    if not missing and not free:
        return Finding("segments", True, f"all {len(recorded)} at the same times, with the same scores {tolerance}")
    examples = [*((each, "recorded") for each in missing), *((each, "made again") for each in free)]
    worst, origin = max(examples, key=lambda example: example[0].score)
    text = f"{len(missing)} of {len(recorded)} recorded ones are not made again, {len(free)} others are {tolerance}"
    place = f"{worst.start_s:.2f}–{worst.end_s:.2f} s, score {worst.score:.2f}"
    return Finding("segments", False, f"{text}; the strongest difference: {place}, {origin} alone")


def _is_same(first: LocalizedSegment, second: LocalizedSegment) -> bool:
    times = (first.start_s - second.start_s, first.end_s - second.end_s)
    scores = (
        _difference(first.score, second.score),
        _difference(first.audio_score, second.audio_score),
        _difference(first.visual_score, second.visual_score),
    )
    return max(map(abs, times)) <= TIME_TOLERANCE_S + 1e-9 and max(scores) <= SCORE_TOLERANCE + 1e-9


def _compare_fakeness(recorded: Localization, repeated: Localization) -> Finding:
    first, second = recorded.fakeness, repeated.fakeness
    if first.shape != second.shape:
        return Finding("fakeness", False, f"{len(first)} steps were recorded, {len(second)} are made again")
    differences = {}
    for k, modality in enumerate(MODALITIES):
        both = ~np.isnan(first[:, k]) & ~np.isnan(second[:, k])
        same_steps = np.array_equal(np.isnan(first[:, k]), np.isnan(second[:, k]))
        largest = float(np.abs(first[both, k] - second[both, k]).max(initial=0.0))
        differences[modality] = largest if same_steps else math.inf
    return _finding("fakeness", differences, f"of {len(first)} steps")


def _compare_details(document: Mapping[str, Any], repeated: Mapping[str, Any]) -> Finding:
    """Compare what does not follow from the scores: the length, the calibration, the network, the problems."""
    keys = [key for key in repeated if key not in (*COMPARED, *FREE)]
    # The clip may have another name now.
    first, second = ({key: _unnamed(each[key], each["file"]) for key in keys} for each in (document, repeated))
    changed = [key for key in keys if not _is_near(first[key], second[key], 0.0 if key in EXACT else TIME_TOLERANCE_S)]
    if changed:
        return Finding("details", False, f"{', '.join(changed)} of another value")
    return Finding("details", True, ", ".join(keys))


def _unnamed(value: object, name: str) -> object:
    """A JSON value without the name of the clip in its texts."""
    if isinstance(value, str):
        return value.replace(name, "")
    if isinstance(value, Mapping):
        return {key: _unnamed(inner, name) for key, inner in value.items()}
    return [_unnamed(inner, name) for inner in value] if isinstance(value, list) else value


def _is_near(first: object, second: object, tolerance: float) -> bool:
    """Tell whether two JSON values are equal, numbers up to a tolerance."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_is_near(first[key], second[key], tolerance) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(_is_near(*pair, tolerance) for pair in zip(first, second, strict=True))
    if isinstance(first, float | int) and isinstance(second, float | int):
        return abs(first - second) <= tolerance
    return first == second

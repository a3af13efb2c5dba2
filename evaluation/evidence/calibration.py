"""Fitted maps of scores to log-likelihood ratios: of one system (calibration) or several (fusion), and their file.

Legend: n clips or rows, K systems.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avloc.core.calibration import logit
from avloc.errors import AvlocError
from avloc.evaluation.evidence.folds import FOLDS, source_folds
from avloc.evaluation.evidence.logistic import fit_logistic
from avloc.evaluation.evidence.roc import Float, check_scores
from avloc.evaluation.matching import BoolArray, FloatArray, IntArray
from avloc.io.files import check_schema, read_json, write_json

SCHEMA = "avloc.calibration/1"
Kind = Literal["clips", "segments"]
Transform = Literal["logit", "identity"]
LOGIT_MARGIN = 1e-12  # scores that differ keep differing up to here


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map of the scores of one or several systems to natural-log likelihood ratios: Σ slope · transform(score) + offset.

    Attributes:
        kind: of the scores: whole `clips`, or rows of `segments`.
        transforms: the first step for each system's scores: `logit` for scores in [0, 1], or `identity`.
        slopes: one per system.
        offset: added to the sum.
        fakes: number of fake clips that it was fitted on; of rows that are hits.
        reals: number of real clips that it was fitted on; of rows that are none.
        provenance: the facts of the fit, such as its data, by name.

    >>> calibration = Calibration("clips", ("logit",), (2.0,), 0.5, fakes=10, reals=10)
    >>> calibration.llrs([[0.5], [0.9]]).round(3).tolist()
    [0.5, 4.894]
    """

    kind: Kind
    transforms: tuple[Transform, ...]
    slopes: tuple[float, ...]
    offset: float
    fakes: int
    reals: int
    provenance: Mapping[str, object] | None = None

    def llrs(self, scores: FloatArray | Sequence[Sequence[float]]) -> Float:
        """Return the log-likelihood ratio of each item (n,) from the scores of all systems (n, K).

        Raises:
            AvlocError: if the number of systems differs, or scores are outside [0, 1] that were in it when it was fitted.
        """
        array = np.asarray(scores, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.slopes):
            raise AvlocError(f"calibration: want scores of {len(self.slopes)} systems, got an array of {array.shape}")
        return transform_scores(array, self.transforms) @ np.array(self.slopes) + self.offset

    def probabilities(self, scores: FloatArray | Sequence[Sequence[float]], prior: float | None = None) -> Float:
        """Return the probability of each item (n,) at a prior; by default the share of fakes that it was fitted on."""
        prior = self.fakes / (self.fakes + self.reals) if prior is None else prior
        return np.exp(-np.logaddexp(0, -(self.llrs(scores) + math.log(prior) - math.log1p(-prior))))

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "transforms": list(self.transforms),
            "slopes": list(self.slopes),
            "offset": self.offset,
            "fakes": self.fakes,
            "reals": self.reals,
            "provenance": dict(self.provenance or {}),
        }

    @classmethod
    def from_dict(cls, document: object, source: str = "calibration") -> Calibration:
        """Build from JSON.

        Raises:
            AvlocError: if it is no calibration, or of another schema; names the field.
        """
        document = check_schema(document, source, SCHEMA, "a calibration", "avloc calibrate --save writes one")
        transforms, slopes = document.get("transforms"), document.get("slopes")
        checks = {
            "kind": document.get("kind") in ("clips", "segments"),
            "slopes": isinstance(slopes, list) and bool(slopes) and all(map(_is_number, slopes)),
            "transforms": isinstance(transforms, list)
            and isinstance(slopes, list)
            and len(transforms) == len(slopes)
            and all(t in ("logit", "identity") for t in transforms),
            "offset": _is_number(document.get("offset")),
            "fakes": _is_count(document.get("fakes")),
            "reals": _is_count(document.get("reals")),
        }
        if wrong := [name for name, is_right in checks.items() if not is_right]:
            raise AvlocError(
                f"{source}: {wrong[0]} is {document.get(wrong[0])!r}; fit it again with avloc calibrate or fuse"
            )
        provenance = document.get("provenance")
        return cls(
            document["kind"],
            tuple(document["transforms"]),
            tuple(map(float, document["slopes"])),
            float(document["offset"]),
            document["fakes"],
            document["reals"],
            provenance if isinstance(provenance, dict) else None,
        )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Read a file that `write_calibration` wrote.

    Raises:
        AvlocError: if it is missing or malformed.
    """
    path = Path(path).expanduser()
    return Calibration.from_dict(read_json(path, "calibration"), str(path))


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Write a calibration as JSON, atomically."""
    write_json(Path(path).expanduser(), calibration.to_dict())


def fit_calibration(
    scores: FloatArray | Sequence[Sequence[float]], is_fake: BoolArray, *, kind: Kind = "clips", prior: float = 0.5
) -> Calibration:
    """Fit the map of one or several systems' scores to log-likelihood ratios, by logistic regression.

    Args:
        scores: of each item by each system; the higher, the more likely fake: (n, K). Those of a system that all lie in
            [0, 1] go through the logit first.
        is_fake: the ground truth: (n,).
        kind: of the items: whole `clips`, or rows of `segments`.
        prior: share of fakes to optimize for, as of `fit_logistic`.

    Raises:
        AvlocError: if only one class exists, all scores of a system are equal, or a single system's are not higher for fakes.

    >>> scores, is_fake = [[-2.0], [1.0], [-1.0], [2.0]], np.array([False, False, True, True])
    >>> fit_calibration(scores, is_fake).transforms
    ('identity',)
    """
    array = np.asarray(scores, dtype=np.float64)
    check_scores(array[:, 0], is_fake)
    is_fake = np.asarray(is_fake, dtype=bool)
    transforms: tuple[Transform, ...] = tuple(
        "logit" if column.min(initial=0) >= 0 and column.max(initial=0) <= 1 else "identity" for column in array.T
    )
    fit = fit_logistic(transform_scores(array, transforms), is_fake, prior=prior)
    if len(fit.slopes) == 1 and fit.slopes[0] <= 0:
        raise AvlocError("higher scores do not mean fake here, rather the opposite: is their sign turned?")
    return Calibration(kind, transforms, fit.slopes, fit.offset, int(is_fake.sum()), int((~is_fake).sum()))


def transform_scores(scores: Float, transforms: Sequence[Transform]) -> Float:
    """Bring the scores of each system (n, K) to the scale of log-odds.

    Raises:
        AvlocError: if scores that should have a logit are outside [0, 1].
    """
    columns = []
    for k, transform in enumerate(transforms):
        column = scores[:, k]
        if transform == "logit":
            if len(column) and not (column.min() >= 0 and column.max() <= 1):
                raise AvlocError(
                    f"calibration: want scores in [0, 1], as those it was fitted on, got {column.min():g} to {column.max():g}"
                )
            column = logit(column, margin=LOGIT_MARGIN)
        columns.append(column)
    return np.stack(columns, axis=1)


def cross_validated_llrs(
    scores: FloatArray, is_fake: BoolArray, source: IntArray, *, folds: int = FOLDS, prior: float = 0.5, seed: int = 0
) -> Float:
    """Return log-likelihood ratios (n,), each by a calibration that was fitted on the other folds of source videos.

    Args:
        scores: of each clip by each system: (n, K).
        is_fake: the ground truth: (n,).
        source: index of each clip's source video: (n,).
        folds: number of folds.
        prior: as of `fit_calibration`.
        seed: seed of the folds.

    Raises:
        AvlocError: if fake or real clips come from fewer than two sources, or a fit fails.
    """
    fold = source_folds(source, is_fake, folds=folds, seed=seed)
    llrs = np.zeros(len(is_fake))
    transforms = fit_calibration(
        scores, is_fake, prior=prior
    ).transforms  # of all clips: a part may lie in [0, 1] by chance
    features = transform_scores(np.asarray(scores, dtype=np.float64), transforms)
    for k in range(int(fold.max()) + 1):
        fit = fit_logistic(features[fold != k], is_fake[fold != k], prior=prior)
        llrs[fold == k] = features[fold == k] @ np.array(fit.slopes) + fit.offset
    return llrs

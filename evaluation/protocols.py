"""Protocols: metadata + predictions > the published table, in both modes, as a whole and by modality."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.evaluation.matching import MODES, Mode
from avloc.evaluation.metrics import Hits, Scores, challenge_score, find_hits
from avloc.evaluation.predictions import Alignment, align, read_predictions
from avloc.evaluation.truth import Truth, read_truth

MODALITIES = ("audio", "visual", "both")
SUBSETS = {"full": (), "visual": ("audio",), "audio": ("visual",)}
"""By name, the modalities whose fakes are left out (LAV-DF's subsets); real clips stay in all."""
UNITS = ("seconds", "frames")


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a dataset's table reports.

    Attributes:
        name: on the command line.
        segments_field: the metadata's list of fake segments.
        ap_ious: thresholds of AP.
        ar_counts: rows per video of AR.
        has_score: whether there is a combined score, mean AP / 2 + mean AR / 2.
    """

    name: str
    segments_field: str
    ap_ious: tuple[float, ...]
    ar_counts: tuple[int, ...]
    has_score: bool

    def __post_init__(self) -> None:
        for iou in self.ap_ious:
            if not 0 < iou <= 1:
                raise AvlocError(
                    f"protocol {self.name}: an IoU threshold of AP must be above 0 and at most 1, got {iou}"
                )
        for count in self.ar_counts:
            if count < 1:
                raise AvlocError(f"protocol {self.name}: a number of rows of AR must be at least 1, got {count}")
        if not self.ap_ious or not self.ar_counts:
            raise AvlocError(f"protocol {self.name}: want at least one threshold of AP and one number of rows of AR")


CHALLENGE = ((0.5, 0.75, 0.9, 0.95), (50, 30, 20, 10, 5))
PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("lavdf", "fake_periods", (0.5, 0.75, 0.95), (100, 50, 20, 10), has_score=False),
        Protocol("avdeepfake1m", "fake_segments", *CHALLENGE, has_score=True),
        Protocol("avdeepfake1m++", "fake_segments", *CHALLENGE, has_score=True),
    )
}


def protocol_named(name: str) -> Protocol:
    """A protocol by name, or from a YAML file; an AvlocError names those there are.

    Such a file has the attributes of `Protocol`; what it leaves out is that of the protocol named in `base`
    (by default avdeepfake1m).
    """
    if name.endswith((".yaml", ".yml")):
        return _from_yaml(Path(name))
    if name not in PROTOCOLS:
        raise AvlocError(f"unknown protocol {name!r}, there are: {', '.join(PROTOCOLS)}, or a .yaml file")
    return PROTOCOLS[name]


def _from_yaml(path: Path) -> Protocol:
    import yaml

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such protocol file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AvlocError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    known = [f.name for f in dataclasses.fields(Protocol)]
    if not isinstance(given, dict) or (unknown := [k for k in given if k not in (*known, "base")]):
        what = f"unknown {', '.join(map(str, unknown))}" if isinstance(given, dict) else "not a mapping"
        raise AvlocError(f"{path}: {what}; a protocol has base, {', '.join(known)}")
    base = protocol_named(str(given.pop("base", "avdeepfake1m")))
    kinds = {"name": str, "segments_field": str, "has_score": bool}
    for name, value in given.items():
        if not isinstance(value, kinds.get(name, list)):
            raise AvlocError(f"{path}: {name} must be a {kinds.get(name, list).__name__}, got {value!r}")
    return with_options(base, **{"name": path.stem, **given})


def with_options(protocol: Protocol, **options: Any) -> Protocol:
    """A protocol with some attributes replaced; those that are None stay."""
    given = {k: v for k, v in options.items() if v is not None}
    for name, kind in (("ap_ious", float), ("ar_counts", int)):
        if name in given:
            if not all(type(x) in (int, kind) for x in given[name]):
                raise AvlocError(f"protocol {protocol.name}: {name} must be {kind.__name__}s, got {given[name]!r}")
            given[name] = tuple(kind(x) for x in given[name])
    return dataclasses.replace(protocol, **given)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scored predictions.

    Attributes:
        protocol: what was asked.
        table: as `metrics.json` has it.
        truth: the labelled clips.
        aligned: their rows, in the same order.
        hits: by mode, which row found which label; by modality, in groups numbered as `truth.modality`.
    """

    protocol: Protocol
    table: dict[str, Any]
    truth: Truth
    aligned: Alignment
    hits: dict[Mode, Hits]


def score_files(
    predictions: Path,
    metadata: Path,
    protocol: Protocol,
    *,
    modes: Sequence[Mode] = MODES,
    split: str | None = None,
    subset: str = "full",
    unit: str = "seconds",
    details: bool = True,
) -> Evaluation:
    """Score a prediction file.

    Args:
        predictions: the file.
        metadata: the dataset's own file.
        protocol: what to report.
        modes: `official`, `strict`, or both.
        split: only clips of this split.
        subset: `full`, or `visual` (without clips forged in audio only), or `audio` (without those in video only).
        unit: `seconds`, or `frames` (25 per second, as LAV-DF's reference reads them).
        details: read what breakdowns need too, see `read_truth`.

    Raises:
        AvlocError: if a file is not as it should be, or no prediction is of a labelled clip.
    """
    if unit not in UNITS:
        raise AvlocError(f"the unit must be {' or '.join(UNITS)}, got {unit!r}")
    truth = chosen_subset(read_truth(metadata, protocol.segments_field, split, details=details), subset, metadata)
    aligned = align(
        read_predictions(predictions), truth.files, frames_per_second=DEFAULT_FPS if unit == "frames" else None
    )
    if aligned.missing == len(truth.files):
        raise AvlocError(f"{predictions}: none of its clips is in {metadata}; do the file names match?")
    return score(truth, aligned, protocol, modes=modes, subset=subset)


def chosen_subset(truth: Truth, subset: str, metadata: Path) -> Truth:
    """The clips of a subset; an AvlocError if there is no such subset, or the metadata do not say who is in it."""
    if subset not in SUBSETS:
        raise AvlocError(f"the subset must be {', '.join(SUBSETS)}, got {subset!r}")
    if subset == "full":
        return truth
    if "" in truth.modality.names:
        clip = truth.files[int(np.argmax(truth.modality.isin("")))]
        raise AvlocError(f"{metadata}: does not say which modality of {clip} is forged, so there is no subset {subset}")
    return truth.chosen(~truth.modality.isin(*SUBSETS[subset]))


def score(
    truth: Truth, aligned: Alignment, protocol: Protocol, *, modes: Sequence[Mode] = MODES, subset: str = "full"
) -> Evaluation:
    """Score rows that are in the order of the labels; arguments as of `score_files`."""
    hits = find_hits(
        aligned.rows,
        truth.labels,
        modes=modes,
        ap_ious=protocol.ap_ious,
        ar_counts=protocol.ar_counts,
        group=truth.modality.codes.astype(np.int64),
    )
    table = {
        "protocol": protocol.name, "subset": subset,
        **table_of(truth, hits, protocol),
        "missing_files": aligned.missing, "empty_files": aligned.empty, "extra_files": aligned.extra,
        "by_modality": by_modality(truth, hits, protocol),
    }  # fmt: skip
    return Evaluation(protocol, table, truth, aligned, hits)


def by_modality(truth: Truth, hits: dict[Mode, Hits], protocol: Protocol) -> dict[str, Any]:
    """The table for each forged modality on its own: its clips, and the real ones, which stay in all."""
    names = truth.modality.names
    present = {names[code] for code in np.unique(truth.modality.codes)}
    return {kind: table_of(truth, hits, protocol, (kind, "real")) for kind in MODALITIES if kind in present}


def table_of(
    truth: Truth, hits: dict[Mode, Hits], protocol: Protocol, modalities: Sequence[str] | None = None
) -> dict[str, Any]:
    """Clips, segments and the scores by mode, of all clips or those of some modalities."""
    names = truth.modality.names
    groups = None if modalities is None else [k for k, name in enumerate(names) if name in modalities]
    mask = np.ones(len(truth), dtype=bool) if modalities is None else truth.modality.isin(*modalities)
    counts = np.diff(truth.labels.offsets)
    table: dict[str, Any] = {"videos": int(mask.sum()), "segments": int(counts[mask].sum())}
    for mode, of_mode in hits.items():
        table[mode] = as_json(of_mode.scores(protocol.ap_ious, groups), protocol)
    return table


def as_json(scores: Scores, protocol: Protocol) -> dict[str, Any]:
    """Scores with text keys; null where there is nothing to find."""
    return {
        "ap": {f"{k:g}": number(v) for k, v in scores.ap.items()},
        "ar": {str(k): number(v) for k, v in scores.ar.items()},
        "score": number(challenge_score(scores)) if protocol.has_score else None,
    }


def number(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)

"""Files of clip scores on the command line: labels, costs, tables; shared by evaluate, calibrate and fuse."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from avloc.cli.arguments.values import above_zero, number
from avloc.errors import AvlocError, shown

if TYPE_CHECKING:
    from avloc.core.provenance import Provenance
    from avloc.evaluation.bootstrap import Interval
    from avloc.evaluation.detection import ClipLabels
    from avloc.evaluation.evidence.costs import CostModel
    from avloc.evaluation.matching import FloatArray
    from avloc.evaluation.protocols import Protocol as ScoringProtocol
    from avloc.evaluation.reporting.results import ClipScoresReport, EvaluationReport

SEGMENT_OPTIONS = ("versus", "frame_step", "resolutions", "insight")
"""Options of `avloc evaluate` that a file of clip scores cannot have."""


class ClipScoringOptions(Protocol):
    """The options of `avloc evaluate` that clip scores need; see its help."""

    @property
    def predictions(self) -> Path: ...
    @property
    def split(self) -> str | None: ...
    @property
    def bootstrap(self) -> int | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def llr(self) -> bool: ...
    @property
    def fake_prior(self) -> float: ...
    @property
    def cost_missed(self) -> float: ...
    @property
    def cost_accused(self) -> float: ...
    @property
    def json(self) -> Path | None: ...
    @property
    def csv(self) -> Path | None: ...
    @property
    def report(self) -> Path | None: ...
    def report_title(self, provenance: Provenance | None) -> str: ...
    def provenance(self) -> Provenance | None: ...


def score_clip_scores(options: ClipScoringOptions, labels: ClipLabels, protocol: str) -> None:
    """Score a file of clip scores, print its tables, and write the output files.

    Args:
        options: of the verb.
        labels: which clips are fake.
        protocol: its name, for the output; empty: none.

    Raises:
        AvlocError: if an option for segments was given, or a file is malformed.
    """
    from avloc.evaluation.detection import score_clip_file
    from avloc.evaluation.evidence.costs import CostModel, score_evidence
    from avloc.evaluation.reporting.results import ClipScoresReport
    from avloc.evaluation.reporting.tables import clip_tables
    from avloc.evaluation.reporting.terminal import print_tables

    if unused := [name for name in SEGMENT_OPTIONS if getattr(options, name)]:
        name = unused[0].replace("_", "-")
        raise AvlocError(f"{options.predictions}: --{name} is for segments (json), this is a file of clip scores")
    provenance = options.provenance()
    costs = CostModel(options.fake_prior, options.cost_missed, options.cost_accused)
    result = score_clip_file(options.predictions, labels)
    print_warnings(
        options.predictions,
        result.notes,
        (result.missing, "labelled clips are missing and count with the score 0" + split_hint(options.split)),
        (result.extra, "are not labelled"),
    )
    evidence = score_evidence(result.scores, labels.is_fake, costs=costs, is_llr=options.llr)
    report = ClipScoresReport(
        protocol,
        len(labels),
        result.detection,
        evidence,
        result.missing,
        result.extra,
        _evidence_intervals(options, result.scores, labels, costs) if options.bootstrap else None,
        provenance,
    )
    print_tables(clip_tables(report))
    write_numbers_files(options.json, options.csv, report)
    if options.report is not None:
        from avloc.evaluation.reporting.clip_report import write_clip_report

        title = options.report_title(provenance)
        write_clip_report(options.report, report, result.scores, labels.is_fake, title=title)


def _evidence_intervals(
    options: ClipScoringOptions, scores: FloatArray, labels: ClipLabels, costs: CostModel
) -> dict[str, Interval]:
    from tqdm import tqdm

    from avloc.evaluation.evidence.intervals import evidence_intervals

    draws = options.bootstrap or 0
    with tqdm(total=draws, unit="draw", desc="intervals", disable=None) as bar:
        return evidence_intervals(
            scores,
            labels.is_fake,
            labels.source,
            costs=costs,
            is_llr=options.llr,
            resamples=draws,
            seed=options.seed,
            progress=bar.update,
        )


def read_clip_labels(
    metadata: Path, protocol: ScoringProtocol | None, split: str | None, subset: str = "full", *, details: bool
) -> ClipLabels:
    """Read which clips are fake: from an ASVspoof key, or from metadata, whose segments field the protocol names.

    Raises:
        AvlocError: if metadata come without a protocol, or a key with a split or a subset.
    """
    from avloc.evaluation.detection import ClipLabels
    from avloc.evaluation.inputs.asvspoof import is_key
    from avloc.evaluation.scoring import select_subset
    from avloc.evaluation.truth import read_truth

    if is_key(metadata):
        if split is not None or subset != "full":
            raise AvlocError(f"{metadata}: is an ASVspoof key, which has no splits and subsets; leave the option out")
        return ClipLabels.from_key(metadata)
    if protocol is None:
        raise AvlocError(f"{metadata}: --protocol is missing; only an ASVspoof key (filename, cm-label) needs none")
    truth = read_truth(metadata, protocol.segments_field, split, details=details)
    return ClipLabels.from_truth(select_subset(truth, subset, metadata))


def add_cost_options(group: argparse._ArgumentGroup, default: CostModel) -> None:
    """Add the options of `CostModel`, for verbs that report detection costs."""
    group.add_argument(
        "--fake-prior",
        type=number(0, 1),
        default=default.fake_prior,
        metavar="P",
        help=f"expected share of fakes, for the detection cost (default: {default.fake_prior:g}, ASVspoof 5)",
    )
    for name, cost, text in (
        ("--cost-missed", default.missed_fake, "a fake that is taken for real"),
        ("--cost-accused", default.accused_real, "a real clip that is called fake"),
    ):
        group.add_argument(
            name, type=above_zero, default=cost, metavar="C", help=f"cost of {text} (default: {cost:g}, ASVspoof 5)"
        )


def print_warnings(predictions: Path, texts: Sequence[str], *problems: tuple[int, str]) -> None:
    """Print the warnings, and one for each problem that occurs."""
    for text in [*texts, *(f"{count} {description}" for count, description in problems if count)]:
        print(f"warning: {shown(predictions)}: {shown(text)}", file=sys.stderr)


def system_names(files: Sequence[Path]) -> list[str]:
    """Name systems by their files; by the files' paths if two have one name, as in a folder per system.

    >>> system_names([Path("a/val.json"), Path("b/val.json")]), system_names([Path("a/x.json"), Path("b/y.json")])
    (['a/val.json', 'b/val.json'], ['x.json', 'y.json'])
    """
    names = [file.name for file in files]
    return names if len(set(names)) == len(names) else [shown(file) for file in files]


def split_hint(split: str | None) -> str:
    """Return the end of a warning about labelled clips without predictions: the labels may be those of several splits."""
    return "; if they are of another split, name that of the predictions by --split" if split is None else ""


def write_numbers_files(json: Path | None, csv: Path | None, report: EvaluationReport | ClipScoresReport) -> None:
    """Write the numbers to the JSON and CSV files that are named, with their record in the JSON and beside the CSV."""
    from avloc.evaluation.reporting.tables import write_numbers
    from avloc.io.files import write_json
    from avloc.io.provenance import write_sidecar

    if json is not None:
        write_json(json, report.to_dict())
    if csv is not None:
        write_numbers(csv, dataclasses.replace(report, provenance=None).to_dict())
        if report.provenance is not None:
            write_sidecar(csv, report.provenance)

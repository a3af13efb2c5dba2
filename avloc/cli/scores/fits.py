"""Fits on labelled predictions on the command line: shared by calibrate and fuse."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.values import number, output, path
from avloc.cli.scores.clip_scores import print_warnings, split_hint
from avloc.errors import AvlocError, counted, shown

if TYPE_CHECKING:
    from avloc.core.provenance import Provenance
    from avloc.evaluation.detection import ClipLabels
    from avloc.evaluation.evidence.calibration import Calibration
    from avloc.evaluation.evidence.costs import CostModel
    from avloc.evaluation.matching import BoolArray, FloatArray, PredictionRows
    from avloc.evaluation.protocols import Protocol
    from avloc.evaluation.truth import Truth


def add_label_options(group: argparse._ArgumentGroup) -> None:
    """Add `--protocol` and `--split`, for verbs that fit on labels."""
    from avloc.evaluation.protocols import PROTOCOLS

    group.add_argument(
        "--protocol",
        help=f"protocol of the metadata: {', '.join(PROTOCOLS)}, or a .yaml file (default: none, for an ASVspoof key)",
    )
    group.add_argument("--split", help="fit only on clips of this split (default: all)")


def add_use_options(group: argparse._ArgumentGroup, fit_name: str, scores: str) -> None:
    """Add `--use`, `--out` and `--prior`, for verbs that use a fit.

    Args:
        group: gets the options.
        fit_name: of the fit's file in the help, such as `C.json`.
        scores: adjective for the written scores, such as `calibrated`.
    """
    group.add_argument(
        "--use", type=path, metavar=fit_name, help="a fit that --save wrote (default: none, a fit to the labels)"
    )
    group.add_argument(
        "--out", type=output, help=f"write the {scores} scores; a .tsv gets ASVspoof's form and sign (default: none)"
    )
    group.add_argument(
        "--prior",
        type=number(0, 1),
        metavar="P",
        help="write probabilities at this prior (default: log-likelihood ratios of clips; of rows, probabilities at the share "
        "of hits that the fit met)",
    )


def check_ways(metadata: Path | None, use: Path | None, save: Path | None, out: Path | None) -> None:
    """Check that either labels and `--save`, or `--use` and `--out` are named.

    Raises:
        AvlocError: if neither or both are.
    """
    if (metadata is None) == (use is None):
        raise AvlocError(
            "want either labels to fit on, or --use with a fit, " + ("got neither" if use is None else "got both")
        )
    if use is not None and (out is None or save is not None):
        raise AvlocError(
            "--use wants --out, the file to write" if out is None else "--use and --save exclude each other"
        )
    if metadata is not None and save is None:
        raise AvlocError("labels want --save, the file for the fit")
    if metadata is not None and out is not None:
        raise AvlocError("--out is for --use; first fit with --save, then use the fit")


def check_prior(prior: float | None, use: Path | None) -> None:
    """Check that a prior leaves both classes possible, and that a fit is used with it.

    Raises:
        AvlocError: if it is 0 or 1, or no fit is used.
    """
    if prior is not None and use is None:
        raise AvlocError("--prior is for --use; a fit needs none")
    if prior is not None and not 0 < prior < 1:
        raise AvlocError(f"--prior: want a probability above 0 and below 1, got {prior:g}")


def load_protocol(name: str | None) -> Protocol | None:
    """Look up a protocol; None without a name."""
    from avloc.evaluation.protocols import get_protocol

    return None if name is None else get_protocol(name)


def load_scores(path: Path) -> tuple[dict[str, float], list[str]]:
    """Read a file of clip scores, and notes on it.

    Raises:
        AvlocError: if a line is malformed or repeats a clip, or there is no clip.
    """
    from avloc.evaluation.detection import load_clip_scores

    scores, notes = load_clip_scores(path)
    if not scores:
        raise AvlocError(f"{path}: has no clips")
    return scores, notes


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Prefix the errors of this block with the name of a file."""
    try:
        yield
    except AvlocError as error:
        raise AvlocError(f"{source}: {error}") from error


def read_labelled_scores(predictions: Path, labels: ClipLabels) -> FloatArray:
    """Read the scores of all labelled clips, in their order: (V,).

    Raises:
        AvlocError: if the file is malformed, or lacks a clip.
    """
    from avloc.evaluation.detection import score_clip_file

    result = score_clip_file(predictions, labels)
    print_warnings(predictions, result.notes, (result.extra, "are not labelled"))
    if result.missing:
        raise AvlocError(
            f"{predictions}: lacks {result.missing} of {len(labels)} labelled clips; a fit wants the scores of all: predict "
            "them, or name the split of the scores by --split"
        )
    return result.scores


def print_cross_validated(llrs: FloatArray, is_fake: BoolArray, costs: CostModel) -> None:
    """Print the measures of log-likelihood ratios that were fitted on other sources."""
    from avloc.evaluation.evidence.costs import score_evidence
    from avloc.evaluation.reporting.tables import evidence_table
    from avloc.evaluation.reporting.terminal import print_tables

    table = evidence_table(score_evidence(llrs, is_fake, costs=costs))
    note = f"Cross-validated over source videos: {int(is_fake.sum())} of {len(is_fake)} are fake. {table.note}"
    print_tables([dataclasses.replace(table, note=note)])


def read_segment_labels(metadata: Path, protocol: str | None, split: str | None) -> Truth:
    """Read metadata with segments, and their sources.

    Raises:
        AvlocError: if no protocol says which field holds the segments.
    """
    from avloc.evaluation.protocols import get_protocol
    from avloc.evaluation.truth import read_truth

    if protocol is None:
        raise AvlocError(f"{metadata}: --protocol is missing: it says which field holds the segments")
    return read_truth(metadata, get_protocol(protocol).segments_field, split)


def read_labelled_rows(predictions: Path, truth: Truth, split: str | None) -> PredictionRows:
    """Read the rows of the labelled clips, in their order; a clip may have none.

    Args:
        predictions: the file.
        truth: the labelled clips.
        split: the split of the labels, for a warning; None: all.

    Raises:
        AvlocError: if the file is malformed, or none of its clips is labelled.
    """
    from avloc.evaluation.inputs.names import describe_mismatch
    from avloc.evaluation.predictions import read_predictions, reorder

    loaded = read_predictions(predictions).renamed(truth.files)
    rows, missing = reorder(loaded, truth.files)
    if missing == len(truth):
        raise AvlocError(describe_mismatch(predictions, loaded.files, truth.files, "the metadata", loaded.notes))
    print_warnings(
        predictions, loaded.notes, (missing, "labelled clips are not in the predictions" + split_hint(split))
    )
    return rows


def save_fit(out: Path, calibration: Calibration, provenance: Provenance) -> None:
    """Write a fit with the record of what made it, and print its numbers."""
    from avloc.evaluation.evidence.calibration import write_calibration

    write_calibration(out, dataclasses.replace(calibration, provenance=provenance.to_dict()))
    slopes = ", ".join(f"{slope:.4g}" for slope in calibration.slopes)
    print(f"{shown(out)}: slope {slopes}, offset {calibration.offset:.4g}")


def load_fit(use: Path, kind: str, systems: int) -> Calibration:
    """Read a fit.

    Raises:
        AvlocError: if it is of another kind, or of another number of systems.
    """
    from avloc.evaluation.evidence.calibration import read_calibration

    calibration = read_calibration(use)
    if calibration.kind != kind:
        raise AvlocError(f"{use}: was fitted on {calibration.kind}, want a fit on {kind}")
    check_systems(use, len(calibration.slopes), systems)
    return calibration


def check_systems(use: Path, fitted: int, files: int) -> None:
    """Check that a fit gets as many files as it was fitted on systems.

    Raises:
        AvlocError: if it gets another number.
    """
    if files != fitted:
        raise AvlocError(
            f"{use}: was fitted on {counted(fitted, 'system')}, got {counted(files, 'file')}; want one file per system"
        )

"""`avloc calibrate`: scores > log-likelihood ratios, fitted on labelled clips or segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.parser import command_line, parser
from avloc.cli.arguments.values import output, path
from avloc.cli.scores.clip_scores import add_cost_options, print_warnings, read_clip_labels
from avloc.cli.scores.fits import (
    add_label_options,
    add_use_options,
    check_prior,
    check_ways,
    load_fit,
    load_protocol,
    load_scores,
    naming,
    print_cross_validated,
    read_labelled_rows,
    read_labelled_scores,
    read_segment_labels,
    save_fit,
)
from avloc.cli.scores.provenance import recorded_settings, scoring_provenance
from avloc.core.provenance import FIT, METADATA, PREDICTIONS, Provenance
from avloc.errors import shown
from avloc.io.provenance import write_sidecar

if TYPE_CHECKING:
    from avloc.evaluation.evidence.calibration import Calibration
    from avloc.evaluation.matching import BoolArray, FloatArray

EXAMPLE = """avloc calibrate val.txt val_metadata.json --protocol avdeepfake1m --save clips.json
  avloc calibrate test.txt --use clips.json --out test-llr.txt
  avloc calibrate scores.tsv key.tsv --save clips.json  # ASVspoof's files
  avloc calibrate val.json val_metadata.json --protocol avdeepfake1m --save rows.json
  avloc calibrate test.json --use rows.json --out calibrated.json"""
DESCRIPTION = """Turn scores into natural-log likelihood ratios: fit on labelled predictions, then use the fit on others.

With METADATA, fit on these labels and write the fit to --save: logistic regression, clips and segments alike. What is printed \
was cross-validated over source videos. With --use, apply a fit and write --out. Scores of clips become log-likelihood ratios \
(or with --prior probabilities); scores of rows become the probability that the row is a hit at IoU .5. The order of the scores \
stays. Never fit on the labels that you report scores on."""


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """The options of `avloc calibrate`; see its help."""

    predictions: Path
    metadata: Path | None
    protocol: str | None
    split: str | None
    save: Path | None
    use: Path | None
    out: Path | None
    prior: float | None
    fake_prior: float
    cost_missed: float
    cost_accused: float
    command: str

    def provenance(self) -> Provenance:
        """Return the record of the run."""
        files = {PREDICTIONS: self.predictions, METADATA: self.metadata, FIT: self.use}
        return scoring_provenance(self.command, recorded_settings(self), files)


def parse(arguments: Sequence[str]) -> CalibrateOptions:
    """Parse the command line."""
    from avloc.evaluation.evidence.costs import ASVSPOOF5

    options = parser("calibrate", EXAMPLE, description=DESCRIPTION)
    options.add_argument(
        "predictions",
        type=path,
        help="clip scores (.txt with file;score, or ASVspoof's .tsv), or segments (.json, .pkl)",
    )
    options.add_argument(
        "metadata", type=path, nargs="?", help="labels to fit on: metadata of the same clips, or an ASVspoof key"
    )
    fit = options.add_argument_group("fit")
    add_label_options(fit)
    fit.add_argument("--save", type=output, metavar="C.json", help="write the fit to this file (default: none)")
    add_cost_options(fit, ASVSPOOF5)
    add_use_options(options.add_argument_group("use"), "C.json", "calibrated")
    command = command_line("calibrate", arguments)
    return CalibrateOptions(**vars(options.parse_args(arguments)), command=command)


def run(arguments: Sequence[str]) -> int:
    """Fit a calibration, or use one."""
    from avloc.evaluation.detection import CLIP_SCORE_SUFFIXES

    options = parse(arguments)
    check_ways(options.metadata, options.use, options.save, options.out)
    check_prior(options.prior, options.use)
    is_clip_file = options.predictions.suffix in CLIP_SCORE_SUFFIXES
    if options.use is not None and options.out is not None:
        apply = _apply_clips if is_clip_file else _apply_rows
        apply(options, options.use, options.out)
        write_sidecar(options.out, options.provenance())
    elif options.metadata is not None and options.save is not None:
        fit = _fit_clips if is_clip_file else _fit_rows
        save_fit(options.save, fit(options, options.metadata), options.provenance())
    return 0


def _fit_clips(options: CalibrateOptions, metadata: Path) -> Calibration:
    from avloc.evaluation.evidence.calibration import cross_validated_llrs, fit_calibration
    from avloc.evaluation.evidence.costs import CostModel

    labels = read_clip_labels(metadata, load_protocol(options.protocol), options.split, details=True)
    scores = read_labelled_scores(options.predictions, labels)[:, None]
    with naming(options.predictions):
        calibration = fit_calibration(scores, labels.is_fake)
        llrs = cross_validated_llrs(scores, labels.is_fake, labels.source)
    print_cross_validated(
        llrs, labels.is_fake, CostModel(options.fake_prior, options.cost_missed, options.cost_accused)
    )
    return calibration


def _fit_rows(options: CalibrateOptions, metadata: Path) -> Calibration:
    from avloc.evaluation.evidence.calibration import cross_validated_llrs
    from avloc.evaluation.evidence.row_calibration import find_hit_rows, fit_row_calibration
    from avloc.evaluation.matching import video_of_row

    truth = read_segment_labels(metadata, options.protocol, options.split)
    rows = read_labelled_rows(options.predictions, truth, options.split)
    is_hit = find_hit_rows(rows, truth.labels)
    with naming(options.predictions):
        calibration = fit_row_calibration(rows, truth.labels)
        llrs = cross_validated_llrs(rows.scores[:, None], is_hit, truth.source[video_of_row(rows.offsets)])
    _print_row_fit(llrs, is_hit)
    return calibration


def _print_row_fit(llrs: FloatArray, is_hit: BoolArray) -> None:
    import numpy as np

    from avloc.evaluation.evidence.costs import score_evidence
    from avloc.evaluation.evidence.reliability import reliability_curve
    from avloc.evaluation.reporting.tables import NOTHING, Table, percent
    from avloc.evaluation.reporting.terminal import print_tables

    evidence = score_evidence(llrs, is_hit)
    share = is_hit.mean()
    curve = reliability_curve(np.exp(-np.logaddexp(0, -(llrs + np.log(share) - np.log1p(-share)))), is_hit)
    lines = [
        ["Cllr", f"{evidence.cllr:.4f}"],
        ["min Cllr", f"{evidence.min_cllr:.4f}"],
        ["expected calibration error", NOTHING if curve is None else f"{percent(curve.ece)} %"],
    ]
    note = f"Cross-validated over source videos: {int(is_hit.sum())} of {len(is_hit)} rows are hits (IoU .5)."
    print_tables([Table("Rows", ["", "value"], lines, note=note)])


def _apply_clips(options: CalibrateOptions, use: Path, out: Path) -> None:
    import numpy as np

    from avloc.evaluation.detection import save_clip_scores

    calibration = load_fit(use, "clips", 1)
    scores, notes = load_scores(options.predictions)
    print_warnings(options.predictions, notes)
    with naming(options.predictions):
        array = np.array(list(scores.values())).reshape(-1, 1)
        calibrated = (
            calibration.llrs(array) if options.prior is None else calibration.probabilities(array, options.prior)
        )
    save_clip_scores(out, dict(zip(scores, calibrated.tolist(), strict=True)))
    unit = "log-likelihood ratios" if options.prior is None else f"probabilities at a prior of {options.prior:g}"
    print(f"{shown(out)}: {unit} of {len(scores)} clips")


def _apply_rows(options: CalibrateOptions, use: Path, out: Path) -> None:
    from avloc.evaluation.evidence.row_calibration import calibrate_rows
    from avloc.evaluation.predictions import iter_clips, read_predictions, write_predictions

    calibration = load_fit(use, "segments", 1)
    predictions = read_predictions(options.predictions)
    print_warnings(options.predictions, predictions.notes)
    with naming(options.predictions):
        rows = calibrate_rows(predictions.rows, calibration, options.prior)
    write_predictions(out, iter_clips(predictions.files, rows), exact=True)
    print(f"{shown(out)}: {len(predictions)} clips, {len(rows.scores)} rows")

"""`avloc fuse`: clip scores or segments of several systems > one file, by a fit on labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.parser import command_line, parser
from avloc.cli.arguments.values import output, path, positive
from avloc.cli.scores.clip_scores import add_cost_options, print_warnings, read_clip_labels, system_names
from avloc.cli.scores.fits import (
    add_label_options,
    add_use_options,
    check_prior,
    check_systems,
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
from avloc.cli.scores.provenance import prediction_roles, recorded_settings, scoring_provenance
from avloc.core.provenance import FIT, METADATA, Provenance
from avloc.errors import AvlocError, shown
from avloc.io.provenance import write_sidecar

if TYPE_CHECKING:
    from avloc.evaluation.evidence.roc import Float
    from avloc.evaluation.fusion.fitting import FusionFit
    from avloc.evaluation.matching import PredictionRows

EXAMPLE = """avloc fuse val-a.json val-b.json --labels val_metadata.json --protocol avdeepfake1m --save fusion.json
  avloc fuse test-a.json test-b.json --use fusion.json --out fused.json
  avloc fuse val-a.txt val-b.txt --labels val_metadata.json --protocol avdeepfake1m --save clips.json
  avloc fuse test-a.txt test-b.txt --use clips.json --out prediction.txt --prior 0.5"""
DESCRIPTION = """Fuse the clip scores, or the segments, of several systems: fit on labels first, then use the fit.

Clip scores: a weighted sum of log-odds, fitted by logistic regression, is the log-likelihood ratio. Segments: the rows of each \
system are calibrated, and rows of different systems that overlap enough become one, with the mean of their ends and scores \
(boxes), or all rows go through one soft-NMS. Weights and thresholds are those that score best on the labels; what is printed \
was cross-validated over source videos. Give the files in the same order each time. Never fit on the labels that you report \
scores on."""


@dataclass(frozen=True, slots=True)
class FuseOptions:
    """The options of `avloc fuse`; see its help."""

    predictions: tuple[Path, ...]
    labels: Path | None
    protocol: str | None
    split: str | None
    method: str
    keep: int
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
        files = {**prediction_roles(self.predictions), METADATA: self.labels, FIT: self.use}
        return scoring_provenance(self.command, recorded_settings(self), files)


def parse(arguments: Sequence[str]) -> FuseOptions:
    """Parse the command line."""
    from avloc.evaluation.evidence.costs import ASVSPOOF5
    from avloc.evaluation.fusion.segments import KEEP, METHODS

    options = parser("fuse", EXAMPLE, description=DESCRIPTION)
    options.add_argument(
        "predictions",
        type=path,
        nargs="+",
        metavar="FILE",
        help="a file per system: clip scores (.txt, or ASVspoof's .tsv), or segments (.json, .pkl)",
    )
    fit = options.add_argument_group("fit")
    fit.add_argument(
        "--labels", type=path, help="labels of the same clips: metadata, or an ASVspoof key (default: none, with --use)"
    )
    add_label_options(fit)
    fit.add_argument(
        "--method", choices=METHODS, default=METHODS[0], help=f"fusion of segments (default: {METHODS[0]})"
    )
    fit.add_argument(
        "--keep", type=positive, default=KEEP, help=f"at most this many fused rows per clip (default: {KEEP})"
    )
    fit.add_argument("--save", type=output, metavar="F.json", help="write the fit to this file (default: none)")
    add_cost_options(fit, ASVSPOOF5)
    add_use_options(options.add_argument_group("use"), "F.json", "fused")
    namespace = options.parse_args(arguments)
    namespace.predictions = tuple(namespace.predictions)
    return FuseOptions(**vars(namespace), command=command_line("fuse", arguments))


def run(arguments: Sequence[str]) -> int:
    """Fit a fusion, or use one."""
    options = parse(arguments)
    check_ways(options.labels, options.use, options.save, options.out)
    check_prior(options.prior, options.use)
    is_clip_file = _are_clip_scores(options.predictions)
    if options.prior is not None and not is_clip_file:
        raise AvlocError(
            "--prior is for clip scores; fused rows are probabilities at the share of hits that the fit met"
        )
    if options.use is not None and options.out is not None:
        apply = _apply_clips if is_clip_file else _apply_rows
        apply(options, options.use, options.out)
        write_sidecar(options.out, options.provenance())
    elif options.labels is not None and options.save is not None:
        fit = _fit_clips if is_clip_file else _fit_rows
        fit(options, options.labels, options.save)
    return 0


def _are_clip_scores(files: Sequence[Path]) -> bool:
    """Tell whether all files hold clip scores.

    Raises:
        AvlocError: if only some do, or one file alone is named.
    """
    from avloc.evaluation.detection import CLIP_SCORE_SUFFIXES

    if len(files) < 2:
        raise AvlocError(f"want the files of at least two systems, got {len(files)}; avloc calibrate takes one")
    kinds = [file.suffix in CLIP_SCORE_SUFFIXES for file in files]
    if len(set(kinds)) > 1:
        raise AvlocError(
            f"{files[kinds.index(True)]} has clip scores and {files[kinds.index(False)]} segments: fuse one kind"
        )
    return kinds[0]


def _fit_clips(options: FuseOptions, labels_path: Path, save: Path) -> None:
    import numpy as np

    from avloc.evaluation.evidence.calibration import cross_validated_llrs, fit_calibration
    from avloc.evaluation.evidence.costs import CostModel

    labels = read_clip_labels(labels_path, load_protocol(options.protocol), options.split, details=True)
    scores = np.stack([read_labelled_scores(file, labels) for file in options.predictions], axis=1)
    with naming(labels_path):
        calibration = fit_calibration(scores, labels.is_fake)
        llrs = cross_validated_llrs(scores, labels.is_fake, labels.source)
    print_cross_validated(
        llrs, labels.is_fake, CostModel(options.fake_prior, options.cost_missed, options.cost_accused)
    )
    save_fit(save, calibration, options.provenance())


def _apply_clips(options: FuseOptions, use: Path, out: Path) -> None:
    from avloc.evaluation.detection import save_clip_scores

    calibration = load_fit(use, "clips", len(options.predictions))
    files, scores = _read_systems(options.predictions)
    with naming(use):
        fused = calibration.llrs(scores) if options.prior is None else calibration.probabilities(scores, options.prior)
    save_clip_scores(out, dict(zip(files, fused.tolist(), strict=True)))
    unit = "log-likelihood ratios" if options.prior is None else f"probabilities at a prior of {options.prior:g}"
    print(f"{shown(out)}: {unit} of {len(files)} clips, of {len(options.predictions)} systems")


def _read_systems(paths: Sequence[Path]) -> tuple[list[str], Float]:
    """Read the clip scores of all systems, in the order of the first one's clips (V,): (V, K).

    Raises:
        AvlocError: if two files have different clips.
    """
    import numpy as np

    from avloc.evaluation.detection import rename_clips

    files: list[str] = []
    columns: list[list[float]] = []
    for file in paths:
        scores, notes = load_scores(file)
        if columns:
            scores, renamed = rename_clips(scores, files)
            notes += renamed
            if scores.keys() != set(files):
                lacks, more = len(set(files) - scores.keys()), len(scores.keys() - set(files))
                raise AvlocError(
                    f"{file}: lacks {lacks} clips of {paths[0]}, and has {more} others; want the same clips"
                )
        files = files or list(scores)
        print_warnings(file, notes)
        columns.append([scores[name] for name in files])
    return files, np.array(columns).T.reshape(-1, len(paths))


def _fit_rows(options: FuseOptions, labels_path: Path, save: Path) -> None:
    from tqdm import tqdm

    from avloc.evaluation.fusion.fitting import candidate_fusions, fit_segment_fusion
    from avloc.evaluation.fusion.fusion_file import write_fusion
    from avloc.evaluation.fusion.segments import METHODS
    from avloc.evaluation.protocols import get_protocol

    truth = read_segment_labels(labels_path, options.protocol, options.split)
    systems = [read_labelled_rows(file, truth, options.split) for file in options.predictions]
    method = METHODS[METHODS.index(options.method)]  # type: ignore[arg-type]
    total = len(candidate_fusions(len(systems), method))
    with naming(labels_path), tqdm(total=total, unit="fusion", desc="fit", disable=None) as bar:
        fit = fit_segment_fusion(
            systems,
            truth,
            get_protocol(options.protocol or ""),
            method=method,
            keep=options.keep,
            progress=bar.update,
        )
    _print_fit(options, fit)
    write_fusion(save, fit.fusion, options.provenance().to_dict())
    fusion = fit.fusion
    chosen = (
        f"sigma {fusion.sigma:g}"
        if fusion.method == "soft-nms"
        else (f"rows merge from an IoU of {fusion.merge_iou:g} on, a system without a row counts {fusion.absence:g}")
    )
    print(f"{shown(save)}: {fusion.method}, weights {', '.join(f'{w:g}' for w in fusion.weights)}, {chosen}")


def _print_fit(options: FuseOptions, fit: FusionFit) -> None:
    from avloc.evaluation.reporting.tables import Table, percent
    from avloc.evaluation.reporting.terminal import print_tables

    names = system_names(options.predictions)
    lines = [[name, percent(score)] for name, score in zip(names, fit.system_scores, strict=True)]
    note = "Strict, mean of folds of source videos; the fusion under settings chosen on\nthe other folds."
    print_tables([Table("Fusion", ["system", fit.objective], [*lines, ["fused", percent(fit.score)]], note=note)])


def _apply_rows(options: FuseOptions, use: Path, out: Path) -> None:
    from tqdm import tqdm

    from avloc.evaluation.fusion.fusion_file import read_fusion
    from avloc.evaluation.predictions import iter_clips, write_predictions

    fusion = read_fusion(use)
    check_systems(use, len(fusion.weights), len(options.predictions))
    files, systems = _read_rows(options.predictions)
    counts = {"clips": 0, "rows": 0}

    def clips() -> Iterator[tuple[str, Float]]:
        with tqdm(total=len(files), unit="clip", desc="fuse", disable=None) as bar, naming(use):
            for part in fusion.iter_parts(systems):
                begin, clips_in_part = counts["clips"], len(part.offsets) - 1
                yield from iter_clips(files[begin : begin + clips_in_part], part)
                counts["clips"] += clips_in_part
                counts["rows"] += len(part.scores)
                bar.update(clips_in_part)

    write_predictions(out, clips())
    print(f"{shown(out)}: {counts['clips']} clips, {counts['rows']} rows, of {len(systems)} systems")


def _read_rows(paths: Sequence[Path]) -> tuple[list[str], list[PredictionRows]]:
    """Read the rows of all systems, in the order of the first one's clips, then those that only others have.

    Raises:
        AvlocError: if two files have no clip in common.
    """
    from avloc.evaluation.inputs.names import describe_mismatch
    from avloc.evaluation.predictions import read_predictions, reorder

    first, *others = paths
    loaded = [read_predictions(first)]
    files = list(loaded[0].files)
    for file in others:
        predictions = read_predictions(file).renamed(files)
        earlier_names = set(files)
        more = [name for name in predictions.files if name not in earlier_names]
        if len(more) == len(predictions) and files:
            raise AvlocError(describe_mismatch(file, predictions.files, files, str(first), predictions.notes))
        files += more
        loaded.append(predictions)
    systems = []
    for file in paths:
        predictions = loaded.pop(0)
        rows, missing = (predictions.rows, 0) if predictions.files == files else reorder(predictions, files)
        print_warnings(
            file, predictions.notes, (missing, "clips of the other systems are missing; they have no rows of this one")
        )
        systems.append(rows)
        del predictions
    return files, systems

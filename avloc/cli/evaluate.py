"""`avloc evaluate`: predictions + metadata > tables of scores."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.dataset import add_dataset_options
from avloc.cli.arguments.parser import command_line, parser
from avloc.cli.arguments.values import above_zero, existing_file, number, output, path, positive, whole
from avloc.cli.scores.clip_scores import (
    add_cost_options,
    print_warnings,
    read_clip_labels,
    score_clip_scores,
    split_hint,
    system_names,
    write_numbers_files,
)
from avloc.core.provenance import METADATA, PREDICTIONS, VERSUS
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.core.provenance import FileIdentity, Provenance
    from avloc.evaluation.bootstrap import Interval
    from avloc.evaluation.detection import ClipLabels
    from avloc.evaluation.evidence.ranges import RangeScores
    from avloc.evaluation.protocols import Protocol
    from avloc.evaluation.reporting.results import EvaluationReport, StepScores
    from avloc.evaluation.scoring import Evaluation
    from avloc.evaluation.truth import Truth

EXAMPLE = """avloc evaluate predictions.json LAV-DF/metadata.min.json --protocol lavdf --split test --report report.html
  avloc evaluate predictions.json val_metadata.json --protocol avdeepfake1m --bootstrap --versus other.json
  avloc evaluate predictions.json --dataset folder --root clips --protocol lavdf  # clips/labels.csv
  avloc evaluate predictions.json mine.json --protocol avdeepfake1m --segments-field fakes --ap-ious 0.3,0.5
  avloc evaluate prediction.txt val_metadata.json --protocol avdeepfake1m --report clips.html
  avloc evaluate scores.tsv key.tsv --llr --bootstrap  # ASVspoof's files
  avloc evaluate predictions.json --dataset partialspoof --root PartialSpoof/database --split eval --protocol speech"""
DESCRIPTION = """Score predictions with AP and AR, and analyse the errors.

Predictions are read in these forms, told by their content:
  {"file": [[score, start, end], …], …}
      json of avloc and of the challenges
  {"results": {"file": [{"segment": [start, end], "score": s}, …], …}}
      json of ActivityNet (OpenTAD)
  eval_results.pkl
      pickle of ActionFormer and UMMAFormer; no code of the file is run
  predictions.rttm
      RTTM; the confidence is the score, 1 where it is <NA>
  prediction.txt
      one file;score per line, for whole clips; a higher score means fake
  scores.tsv
      ASVspoof's scores (filename, cm-score) of whole clips, higher for bona
      fide ones; the sign is changed
Times are in seconds (see --unit). Clips are matched by name; where that fails, by the end of their path without the suffix.
Rows that look like frames, or like columns in another order, give a warning."""


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """The options of `avloc evaluate`; see its help."""

    predictions: Path
    metadata: Path | None
    dataset: str | None
    root: Path | None
    protocol: str | None
    mode: str
    split: str | None
    subset: str
    unit: str
    segments_field: str | None
    ap_ious: tuple[float, ...] | None
    ar_counts: tuple[int, ...] | None
    score: bool | None
    insight: bool
    bootstrap: int | None
    versus: Path | None
    seed: int
    frame_step: float | None
    resolutions: bool
    llr: bool
    fake_prior: float
    cost_missed: float
    cost_accused: float
    json: Path | None
    csv: Path | None
    report: Path | None
    system: str | None
    command: str

    def report_title(self, provenance: Provenance | None) -> str:
        """Return the heading of the report: the system, by its recorded checkpoint if there is one, the set and the split."""
        if self.metadata is None:
            name = f"{self.dataset} ({self.root.resolve().name})" if self.root is not None else str(self.dataset)
        else:
            name = "/".join(self.metadata.resolve().parts[-2:])
        split = "all splits" if self.split is None else f"split {self.split}"
        checkpoint = None if provenance is None else provenance.checkpoint
        system = self.predictions.name
        if checkpoint is not None and checkpoint.name:
            system = f"{checkpoint.name} ({system})"
        return f"{self.system or system} on {name}, {split}"

    @property
    def inputs(self) -> dict[str, Path | None]:
        """The files that the scores rest on, by their roles in the record."""
        return {PREDICTIONS: self.predictions, METADATA: self.metadata, VERSUS: self.versus}

    @property
    def has_output(self) -> bool:
        """Tell whether a file is written, which holds the record of what made it."""
        return not (self.json is None and self.csv is None and self.report is None)

    def provenance(self, inputs: Mapping[str, FileIdentity] | None = None) -> Provenance | None:
        """Return the record of what makes the scores, for the output files; None without any.

        Args:
            inputs: the identities of the files, if they were hashed already.
        """
        if not self.has_output:
            return None
        from avloc.cli.scores.provenance import recorded_settings, scoring_provenance

        return scoring_provenance(self.command, recorded_settings(self), self.inputs, inputs)

    @property
    def needs_insight(self) -> bool:
        """Tell whether breakdowns, errors and calibration were asked for; the page always has them."""
        return self.insight or self.report is not None


def parse(arguments: Sequence[str]) -> EvaluateOptions:
    """Parse the command line."""
    from avloc.evaluation.matching import MODES
    from avloc.evaluation.protocols import PROTOCOLS
    from avloc.evaluation.scoring import SUBSETS, UNITS

    options = parser("evaluate", EXAMPLE, description=DESCRIPTION)
    _add_files(options, arguments)
    options.add_argument(
        "--protocol",
        help=f"thresholds and counts: {', '.join(PROTOCOLS)}, or a .yaml file; needed for all but an ASVspoof key "
        "(default: none)",
    )
    options.add_argument(
        "--mode", default="both", choices=[*MODES, "both"], help="as published, correct, or both (default: both)"
    )
    options.add_argument(
        "--split", help="score only clips of this split; LAV-DF's metadata holds all three (default: all)"
    )
    options.add_argument(
        "--subset",
        default="full",
        choices=list(SUBSETS),
        help="visual: without clips forged in audio only; audio: without those forged in video only (default: full)",
    )
    options.add_argument(
        "--unit", default="seconds", choices=list(UNITS), help="time unit of the predictions (default: seconds)"
    )
    _add_protocol_options(options.add_argument_group("override the protocol"))
    _add_analysis_options(options.add_argument_group("analysis"))
    _add_evidence_options(options.add_argument_group("clip scores as evidence"))
    _add_output_options(options.add_argument_group("output files"))
    namespace = options.parse_args(arguments)
    sources = [namespace.metadata, namespace.dataset, namespace.root]
    if [source is not None for source in sources] not in ([True, False, False], [False, True, True]):
        options.error("want the metadata file, or --dataset and --root")
    return EvaluateOptions(**vars(namespace), command=command_line("evaluate", arguments))


def _add_files(options: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    may_lack_metadata = not {"--dataset", "--root", "--help", "-h"}.isdisjoint(
        word.partition("=")[0] for word in arguments
    )
    options.add_argument(
        "predictions",
        type=path,
        help='{"file": [[score, start, end], …]}, or another form, see above; a .txt with one file;score per line gives AUC '
        "and EER",
    )
    options.add_argument(
        "metadata",
        type=path,
        # argparse refuses an option before a positional that may be missing.
        nargs="?" if may_lack_metadata else None,
        metavar="metadata" if may_lack_metadata else "metadata (or --dataset and --root)",
        help="the dataset's own metadata file (json), your labels.csv, an RTTM file, or for clip scores ASVspoof's key (.tsv) or "
        "protocol (.trl.txt); or name --dataset and --root instead",
    )
    add_dataset_options(options, required=False)


def _add_protocol_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--segments-field", help="the metadata's field with the list of fake segments (default: the protocol's)"
    )
    group.add_argument(
        "--ap-ious",
        metavar="A,B",
        type=_list_of(number()),
        help="IoU thresholds of AP, such as 0.5,0.75 (default: the protocol's)",
    )
    group.add_argument(
        "--ar-counts",
        type=_list_of(positive),
        help="numbers of rows per clip of AR, such as 50,10 (default: the protocol's)",
    )
    group.add_argument(
        "--score",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="report the combined score, mean AP / 2 + mean AR / 2 (default: as the protocol)",
    )


def _add_analysis_options(group: argparse._ArgumentGroup) -> None:
    from avloc.evaluation.bootstrap import RESAMPLES

    group.add_argument(
        "--insight",
        action="store_true",
        help="also breakdowns, errors and calibration, printed and in the output files",
    )
    group.add_argument(
        "--bootstrap",
        type=whole,
        nargs="?",
        const=RESAMPLES,
        metavar="N",
        help=f"95 %% intervals from N draws of source videos; without N, {RESAMPLES} (default: none)",
    )
    group.add_argument(
        "--versus",
        type=existing_file("prediction file"),
        metavar="B.json",
        help="difference to these predictions, with intervals (default: none)",
    )
    group.add_argument("--seed", type=whole, default=0, help="seed of the draws (default: 0)")
    group.add_argument(
        "--frame-step",
        type=above_zero,
        metavar="S",
        help="also AUC, EER and F1 over steps of S seconds (default: none)",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", type=output, help="write the numbers that were asked for (default: none)")
    group.add_argument("--csv", type=output, help="write the same numbers, one per line (default: none)")
    group.add_argument(
        "--report", type=output, help="write a page with tables, curves and timelines, html (default: none)"
    )
    group.add_argument(
        "--system",
        metavar="NAME",
        help="name of the system in the report (default: that of the recorded network, and of the prediction file)",
    )
    group.add_argument(
        "--resolutions",
        action="store_true",
        help="also EER and F1 of frames of 20 to 640 ms, and the range-based EER (default: only by the protocol speech)",
    )


def _add_evidence_options(group: argparse._ArgumentGroup) -> None:
    from avloc.evaluation.evidence.costs import ASVSPOOF5

    group.add_argument(
        "--llr",
        action="store_true",
        help="the scores are natural-log likelihood ratios, as avloc calibrate writes them: also Cllr and act DCF",
    )
    add_cost_options(group, ASVSPOOF5)


def _list_of(number_type: Callable[[str], float]) -> Callable[[str], tuple[float, ...]]:
    return lambda text: tuple(number_type(part) for part in text.split(","))


def run(arguments: Sequence[str]) -> int:
    """Score the predictions, print the tables, and write the output files."""
    from avloc.evaluation.detection import CLIP_SCORE_SUFFIXES
    from avloc.evaluation.protocols import PROTOCOLS, get_protocol, replace_options

    options = parse(arguments)
    if options.bootstrap is not None and options.bootstrap < 2:
        raise AvlocError(f"--bootstrap wants at least 2 draws, got {options.bootstrap}")
    is_clip_file = options.predictions.suffix in CLIP_SCORE_SUFFIXES
    if options.protocol is None:
        if not is_clip_file:
            raise AvlocError(
                f"--protocol is missing, one of {', '.join(PROTOCOLS)}; only clip scores with an ASVspoof key need none"
            )
        score_clip_scores(options, _clip_labels(options, None), "")
        return 0
    protocol = replace_options(
        get_protocol(options.protocol),
        segments_field=options.segments_field,
        ap_ious=options.ap_ious,
        ar_counts=options.ar_counts,
        has_score=options.score,
    )
    if is_clip_file:
        score_clip_scores(options, _clip_labels(options, protocol), protocol.name)
    else:
        _score_segments(options, protocol)
    return 0


def _score_segments(options: EvaluateOptions, protocol: Protocol) -> None:
    if options.llr:
        raise AvlocError(
            f"{options.predictions}: --llr is for files of clip scores (.txt, .tsv), this one has segments"
        )
    from avloc.evaluation.reporting.tables import report_tables
    from avloc.evaluation.reporting.terminal import print_tables

    evaluation, provenance = _evaluate_recorded(options, protocol)
    report = _build_report(options, evaluation, protocol, provenance)
    print_tables(report_tables(report, insight=options.insight))
    numbers = report if options.insight else replace(report, insight=None)  # the page has it unasked
    write_numbers_files(options.json, options.csv, numbers)
    if options.report is not None:
        from avloc.evaluation.reporting.report import write_report

        write_report(options.report, evaluation, report, title=options.report_title(report.provenance))


def _evaluate_recorded(options: EvaluateOptions, protocol: Protocol) -> tuple[Evaluation, Provenance | None]:
    """Evaluate, and hash the files at the same time if a record is wanted."""
    if not options.has_output:
        return _evaluate(options, options.predictions, protocol), None
    from avloc.cli.scores.provenance import identifying_inputs

    with identifying_inputs(options.inputs) as identities:
        evaluation = _evaluate(options, options.predictions, protocol)
        return evaluation, options.provenance(identities())


def _evaluate(options: EvaluateOptions, predictions: Path, protocol: Protocol) -> Evaluation:
    from avloc.evaluation.matching import MODES
    from avloc.evaluation.scoring import EvaluationWarning, evaluate
    from avloc.evaluation.truth import Truth

    needs_details = options.needs_insight or bool(
        options.bootstrap or options.versus or options.frame_step or options.resolutions
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvaluationWarning)  # printed below
        truth = _labelled_clips(options)
        evaluation = evaluate(
            predictions,
            truth,
            protocol,
            modes=[mode for mode in MODES if options.mode in (mode, "both")],
            split=None if isinstance(truth, Truth) else options.split,
            subset=options.subset,
            unit=options.unit,
            details=needs_details,
        )
    print_warnings(
        predictions,
        evaluation.warnings,
        (
            evaluation.table.missing_files,
            "labelled clips are not in the predictions and count as not found" + split_hint(options.split),
        ),
        (evaluation.table.empty_files, "clips have an empty list"),
        (evaluation.table.extra_files, "predicted clips are not in the metadata and were left out"),
    )
    return evaluation


def _labelled_clips(options: EvaluateOptions) -> Path | Truth:
    """Return the metadata file, or what another source labels."""
    from avloc.inference.split.dataset_truth import dataset_truth, is_table, table_truth

    if options.metadata is not None and not is_table(options.metadata):
        return options.metadata
    if options.segments_field is not None:
        raise AvlocError(
            "--segments-field names a list of a metadata json; a table or a --dataset has none, leave it out"
        )
    if options.metadata is not None:
        return table_truth(options.metadata, options.split)
    assert options.dataset is not None
    assert options.root is not None
    return dataset_truth(options.dataset, options.root, options.split)


def _clip_labels(options: EvaluateOptions, protocol: Protocol | None) -> ClipLabels:
    """Return which clips are fake; a metadata file needs a protocol, which names its field."""
    from avloc.evaluation.detection import ClipLabels
    from avloc.evaluation.scoring import select_subset
    from avloc.evaluation.truth import Truth

    labelled = _labelled_clips(options)
    if isinstance(labelled, Truth):
        return ClipLabels.from_truth(select_subset(labelled, options.subset, options.metadata or str(options.root)))
    details = options.bootstrap is not None
    return read_clip_labels(labelled, protocol, options.split, options.subset, details=details)


def _build_report(
    options: EvaluateOptions, evaluation: Evaluation, protocol: Protocol, provenance: Provenance | None
) -> EvaluationReport:
    """Compute the requested parts of the report."""
    from avloc.evaluation.bootstrap import RESAMPLES
    from avloc.evaluation.reporting.insight import compute_insight
    from avloc.evaluation.reporting.results import Comparison, EvaluationReport

    draws = options.bootstrap or RESAMPLES
    intervals = _bootstrap(options, evaluation, None, draws) if options.bootstrap else None
    versus = None
    if options.versus is not None:
        other = _evaluate(options, options.versus, protocol)
        name = system_names([options.predictions, options.versus])[1]
        versus = Comparison(name, other.table, _bootstrap(options, evaluation, other, draws))
    return EvaluationReport(
        evaluation.table,
        intervals=intervals,
        versus=versus,
        insight=compute_insight(evaluation) if options.needs_insight else None,
        frames=_score_steps(options.frame_step, evaluation) if options.frame_step is not None else None,
        ranges=_score_ranges(evaluation) if options.resolutions or protocol.has_ranges else None,
        provenance=provenance,
    )


def _bootstrap(
    options: EvaluateOptions, evaluation: Evaluation, other: Evaluation | None, draws: int
) -> dict[str, Interval]:
    from tqdm import tqdm

    from avloc.evaluation.bootstrap import bootstrap_intervals

    with tqdm(total=draws, unit="draw", desc="intervals" if other is None else "difference", disable=None) as bar:
        return bootstrap_intervals(evaluation, other, resamples=draws, seed=options.seed, progress=bar.update)


def _score_steps(step_s: float, evaluation: Evaluation) -> StepScores:
    from avloc.evaluation.detection import score_steps
    from avloc.evaluation.reporting.results import StepScores

    truth = evaluation.truth
    return StepScores(step_s, score_steps(evaluation.aligned.rows, truth.labels, truth.duration_s, step_s=step_s))


def _score_ranges(evaluation: Evaluation) -> RangeScores:
    from avloc.evaluation.evidence.ranges import score_ranges

    return score_ranges(evaluation.aligned.rows, evaluation.truth.labels, evaluation.truth.duration_s)

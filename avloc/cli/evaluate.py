"""`avloc evaluate`: predictions + metadata > the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.cli.main import parser
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.evaluation.protocols import Evaluation, Protocol

EXAMPLE = """avloc evaluate predictions.json LAV-DF/metadata.min.json --protocol lavdf --split test --report report.html
  avloc evaluate predictions.json val_metadata.json --protocol avdeepfake1m --bootstrap --versus other.json
  avloc evaluate predictions.json mine.json --protocol avdeepfake1m --segments-field fakes --ap-ious 0.3,0.5
  avloc evaluate prediction.txt val_metadata.json --protocol avdeepfake1m"""


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    from avloc.evaluation.protocols import protocol_named, with_options

    given = _options().parse_args(arguments)
    protocol = with_options(
        protocol_named(given.protocol),
        segments_field=given.segments_field,
        ap_ious=given.ap_ious,
        ar_counts=given.ar_counts,
        has_score=given.score,
    )
    if given.bootstrap is not None and given.bootstrap < 2:
        raise AvlocError(f"--bootstrap wants at least 2 draws, got {given.bootstrap}")
    if given.predictions.suffix == ".txt":
        return _clip_scores(given, protocol)
    evaluation = _scored(given, given.predictions, protocol)
    table = _table(given, evaluation, protocol)
    from avloc.evaluation.reporting.tables import print_tables, tables_of, write_numbers

    shown = tables_of(table) if given.insight else tables_of({k: v for k, v in table.items() if k != "insight"})
    print_tables(shown)
    if given.json is not None:
        from avloc.io.files import write_json

        write_json(given.json, table)
    if given.csv is not None:
        write_numbers(given.csv, table)
    if given.report is not None:
        from avloc.evaluation.reporting.report import write_report

        write_report(given.report, evaluation, table, title=f"avloc: {given.predictions.name}")
    return 0


def _options() -> argparse.ArgumentParser:
    from avloc.evaluation.bootstrap import RESAMPLES
    from avloc.evaluation.matching import MODES
    from avloc.evaluation.protocols import PROTOCOLS, SUBSETS, UNITS

    options = parser("evaluate", EXAMPLE, description="score predictions with AP and AR, and say where they fail")
    options.add_argument(
        "predictions",
        type=Path,
        help='{"file": [[score, start, end], …]}; .txt with file;score lines gives AUC and EER',
    )
    options.add_argument("metadata", type=Path, help="the dataset's own file")
    options.add_argument("--protocol", required=True, help=f"what to report: {', '.join(PROTOCOLS)}, or a .yaml file")
    options.add_argument("--mode", default="both", choices=[*MODES, "both"], help="as published, correct, or both")
    options.add_argument("--split", help="only this split's clips (LAV-DF's metadata holds all three)")
    options.add_argument(
        "--subset", default="full", choices=list(SUBSETS),
        help="visual: without clips forged in audio only; audio: without those forged in video only",
    )  # fmt: skip
    options.add_argument("--unit", default="seconds", choices=list(UNITS), help="of the predictions")
    free = options.add_argument_group("instead of what the protocol says")
    free.add_argument("--segments-field", help="the metadata's list of fake segments")
    free.add_argument("--ap-ious", type=_numbers(float), help="thresholds of AP, as in 0.5,0.75")
    free.add_argument("--ar-counts", type=_numbers(int), help="rows per clip of AR, as in 50,10")
    free.add_argument("--score", action=argparse.BooleanOptionalAction, default=None, help="mean AP / 2 + mean AR / 2")
    more = options.add_argument_group("to know more")
    more.add_argument("--insight", action="store_true", help="print breakdowns, errors and calibration too")
    more.add_argument(
        "--bootstrap", type=int, nargs="?", const=RESAMPLES, metavar="N",
        help=f"95 %% intervals from N draws of source videos (default {RESAMPLES})",
    )  # fmt: skip
    more.add_argument(
        "--versus", type=Path, metavar="B.json", help="the difference to these predictions, with intervals"
    )
    more.add_argument("--seed", type=int, default=0, help="of the draws")
    more.add_argument("--frame-step", type=float, metavar="S", help="AUC, EER and F1 over steps of S seconds too")
    written = options.add_argument_group("what is written")
    written.add_argument("--json", type=Path, help="the numbers, breakdowns included")
    written.add_argument("--csv", type=Path, help="the same, one number a line")
    written.add_argument("--report", type=Path, help="a page with tables, curves and timelines (html)")
    return options


def _numbers(kind: Any) -> Any:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(","))

    parse.__name__ = f"list of {kind.__name__}"
    return parse


def _scored(given: Any, predictions: Path, protocol: Protocol) -> Evaluation:
    from avloc.evaluation.matching import MODES
    from avloc.evaluation.protocols import score_files

    evaluation = score_files(
        predictions,
        given.metadata,
        protocol,
        modes=MODES if given.mode == "both" else (given.mode,),
        split=given.split,
        subset=given.subset,
        unit=given.unit,
        details=_wants_insight(given) or bool(given.bootstrap or given.versus or given.frame_step),
    )
    for count, what in (
        (evaluation.aligned.missing, "labelled clips are not in the predictions and count as not found"),
        (evaluation.aligned.empty, "clips have an empty list"),
        (evaluation.aligned.extra, "predicted clips are not in the metadata and were left out"),
    ):
        if count:
            print(f"warning: {predictions}: {count} {what}", file=sys.stderr)
    return evaluation


def _wants_insight(given: Any) -> bool:
    return bool(given.insight or given.json or given.csv or given.report)


def _table(given: Any, evaluation: Evaluation, protocol: Protocol) -> dict[str, Any]:
    """The scores, and all else that was asked for."""
    from avloc.evaluation import bootstrap

    table = dict(evaluation.table)
    draws = given.bootstrap or bootstrap.RESAMPLES
    if given.bootstrap:
        table["intervals"] = bootstrap.as_json(_intervals(given, evaluation, None, draws))
    if given.versus is not None:
        other = _scored(given, given.versus, protocol)
        difference = bootstrap.as_json(_intervals(given, evaluation, other, draws))
        table["versus"] = {"file": given.versus.name, "table": other.table, "difference": difference}
    if _wants_insight(given):
        from avloc.evaluation.reporting.insight import insight

        table["insight"] = insight(evaluation)
    if given.frame_step is not None:
        from avloc.evaluation import detection

        if not 0 < given.frame_step < float("inf"):
            raise AvlocError(f"--frame-step must be above 0 seconds, got {given.frame_step}")
        found = detection.frame_detection(
            evaluation.aligned.rows, evaluation.truth.labels, evaluation.truth.duration_s, step_s=given.frame_step
        )
        table["frames"] = {"step_s": given.frame_step, **detection.as_json(found)}
    return table


def _intervals(given: Any, evaluation: Evaluation, other: Evaluation | None, draws: int) -> Any:
    from tqdm import tqdm

    from avloc.evaluation.bootstrap import intervals

    with tqdm(total=draws, unit="draw", desc="intervals" if other is None else "difference", disable=None) as bar:
        return intervals(evaluation, other, resamples=draws, seed=given.seed, progress=bar.update)


def _clip_scores(given: Any, protocol: Protocol) -> int:
    """AUC, EER and F1 of a detection file."""
    from avloc.evaluation import detection
    from avloc.evaluation.protocols import chosen_subset
    from avloc.evaluation.reporting.tables import detection_table, print_tables, write_numbers
    from avloc.evaluation.truth import read_truth
    from avloc.io.files import write_json

    unused = [name for name in ("versus", "bootstrap", "frame_step", "report") if getattr(given, name) is not None]
    if unused:
        raise AvlocError(f"{given.predictions}: --{unused[0].replace('_', '-')} is for segments (json), this is a .txt")
    truth = read_truth(given.metadata, protocol.segments_field, given.split, details=False)
    truth = chosen_subset(truth, given.subset, given.metadata)
    found, missing, extra = detection.detection_of_file(given.predictions, truth)
    for count, what in (
        (missing, "labelled clips are missing and count with the score 0"),
        (extra, "are not labelled"),
    ):
        if count:
            print(f"warning: {given.predictions}: {count} {what}", file=sys.stderr)
    table: dict[str, Any] = {"protocol": protocol.name, "videos": len(truth), "detection": detection.as_json(found),
             "missing_files": missing, "extra_files": extra}  # fmt: skip
    print_tables([detection_table("Whole clips", table["detection"], "clips")])
    if given.json is not None:
        write_json(given.json, table)
    if given.csv is not None:
        write_numbers(given.csv, table)
    return 0

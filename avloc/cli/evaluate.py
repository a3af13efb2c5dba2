"""`avloc evaluate`: predictions + metadata > the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from avloc.cli.main import parser


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    from avloc.evaluation.metrics import MODES
    from avloc.evaluation.protocols import PROTOCOLS, protocol_named, score_files
    from avloc.evaluation.report import format_table, write_report

    options = parser(
        "evaluate",
        "avloc evaluate predictions.json LAV-DF/metadata.min.json --protocol lavdf --split test --report report.html",
    )
    options.add_argument("predictions", type=Path, help='{"file": [[score, start, end], …]}')
    options.add_argument("metadata", type=Path, help="the dataset's own file")
    options.add_argument("--protocol", required=True, help=f"what to report: {', '.join(PROTOCOLS)}")
    options.add_argument("--mode", default="both", choices=[*MODES, "both"], help="as published, correct, or both")
    options.add_argument("--split", help="only this split's clips (LAV-DF's metadata holds all three)")
    options.add_argument("--unit", default="seconds", choices=["seconds", "frames"], help="of the predictions")
    options.add_argument("--out", type=Path, help="write the numbers as json")
    options.add_argument("--report", type=Path, help="write a page with curves and examples")
    given = options.parse_args(arguments)
    modes = MODES if given.mode == "both" else (given.mode,)
    evaluation = score_files(
        given.predictions,
        given.metadata,
        protocol_named(given.protocol),
        modes=modes,
        split=given.split,
        unit=given.unit,
    )
    table, truth, aligned = evaluation.table, evaluation.truth, evaluation.aligned
    for count, what in (
        (aligned.missing, "labelled clips are not in the predictions and count as not found"),
        (aligned.empty, "clips have an empty list"),
        (aligned.extra, "predicted clips are not in the metadata and were left out"),
    ):
        if count:
            print(f"warning: {count} {what}", file=sys.stderr)
    print(format_table(table))
    if given.out is not None:
        from avloc.datasets.entries import write_json

        write_json(given.out, table)
    if given.report is not None:
        write_report(given.report, table, truth, aligned.rows, title=f"avloc: {given.predictions.name}")
    return 0

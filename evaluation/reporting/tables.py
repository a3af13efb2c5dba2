"""Scores > tables to read: in a terminal, as CSV, and for the html page."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from avloc.evaluation.error_analysis import KINDS
from avloc.evaluation.matching import MODES
from avloc.io.files import write_csv

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of texts; the first `labels` columns are names, the others numbers."""

    title: str
    header: list[str]
    lines: list[list[str]]
    labels: int = 1
    note: str = ""


def percent(value: float | None) -> str:
    """A share in percent with two digits."""
    return NOTHING if value is None else f"{100 * value:.2f}"


def tables_of(table: Mapping[str, Any]) -> list[Table]:
    """All tables that a `metrics.json` holds."""
    tables = [score_table(table)]
    if "intervals" in table:
        tables.append(interval_table("95 % intervals (strict, by source video)", table["intervals"]))
    if "versus" in table:
        other = table["versus"]
        tables.append(score_table(other["table"], title=f"Scores of {other['file']} in percent"))
        tables.append(
            interval_table(
                f"Difference to {other['file']} (strict, paired by source video)", other["difference"], p=True
            )
        )
    if "insight" in table:
        tables += insight_tables(table["insight"])
    if "frames" in table:
        tables.append(detection_table(f"Steps of {table['frames']['step_s']:g} s", table["frames"], "steps"))
    return tables


def score_table(table: Mapping[str, Any], title: str = "Scores in percent") -> Table:
    """The scores: a row per group and mode, a column per number."""
    modes = [m for m in MODES if m in table]
    first = table[modes[0]]
    scored = first["score"] is not None
    header = [
        "clips",
        "mode",
        *(f"AP@{k}" for k in first["ap"]),
        *(f"AR@{k}" for k in first["ar"]),
        *["score"] * scored,
    ]
    lines = []
    for name, group in {"all": table, **table.get("by_modality", {})}.items():
        for mode in modes:
            numbers = [*group[mode]["ap"].values(), *group[mode]["ar"].values(), *[group[mode]["score"]] * scored]
            lines.append([f"{name} ({group['videos']})", mode, *map(percent, numbers)])
    return Table(title, header, lines, labels=2)


def interval_table(title: str, intervals: Mapping[str, Any], *, p: bool = False) -> Table:
    """Scores with their intervals, in percent."""
    lines = [
        [name.upper().replace("SCORE", "score"), percent(i["value"]), percent(i["low"]), percent(i["high"])]
        + [f"{i['p']:.3f}" if "p" in i else NOTHING] * p
        for name, i in intervals.items()
    ]
    return Table(title, ["", "value", "low", "high", *["p"] * p], lines)


def insight_tables(insight: Mapping[str, Any]) -> list[Table]:
    """Breakdowns, errors and detection."""
    tables = [_breakdown_table(name, groups) for name, groups in insight["breakdowns"].items() if groups]
    errors = insight["errors"]
    lines = [
        [name, str(kind["count"]), NOTHING if name == "hit" else percent(kind["ap_cost"]), KINDS[name]]
        for name, kind in errors["kinds"].items()
    ]
    note = (
        f"AP@{errors['iou']:g} (strict) is {percent(errors['ap'])}; the cost is what mending that kind alone would win."
    )
    tables.append(Table("Errors", ["kind", "how many", "AP cost", "what"], lines, note=note))
    if insight["calibration"] is not None:
        found = insight["calibration"]
        lines = [
            [f"{mean:.3f}", f"{share:.3f}", str(rows)]
            for mean, share, rows in zip(found["mean_score"], found["share_of_hits"], found["rows"], strict=True)
        ]
        note = (
            f"Expected calibration error {percent(found['ece'])} %: a calibrated score is the share of hits (IoU .5)."
        )
        tables.append(Table("Calibration", ["mean score", "share of hits", "rows"], lines, labels=0, note=note))
    tables.append(detection_table("Whole clips, by their best row", insight["detection"], "clips"))
    return tables


def _breakdown_table(name: str, groups: Mapping[str, Any]) -> Table:
    first = next(iter(groups.values()))
    header = [name, "clips", "segments", *(f"AP@{k}" for k in first["ap"]), *(f"AR@{k}" for k in first["ar"])]
    lines = [
        [
            group,
            str(found["videos"]),
            str(found["segments"]),
            *map(percent, [*found["ap"].values(), *found["ar"].values()]),
        ]
        for group, found in groups.items()
    ]
    note = "Strict. " + (
        "Labels of that length; rows that found another are left out."
        if name == "fake length"
        else "Fake clips of that kind, and all real ones."
    )
    return Table(f"By {name}", header, lines, note=note)


def detection_table(title: str, found: Mapping[str, Any], what: str) -> Table:
    """AUC, EER and F1."""
    lines = [
        ["AUC", percent(found["auc"])],
        ["EER", percent(found["eer"])],
        ["F1 at a score of 0.5", percent(found["f1"])],
        ["best F1", percent(found["best_f1"])],
    ]
    note = f"{found['fakes']} of {found['total']} {what} are fake."
    if found["best_threshold"] is not None:
        note += f" The best F1 is at a score of {found['best_threshold']:.3g}."
    return Table(title, ["", "percent"], lines, note=note)


def as_text(table: Table, *, title: bool = True) -> str:
    """A table in plain columns."""
    widths = [max(len(line[k]) for line in [table.header, *table.lines]) for k in range(len(table.header))]
    texts = [table.title] * title
    for line in [table.header, *table.lines]:
        cells = zip(line, widths, strict=True)
        left = {*range(table.labels), *_words(table)}
        texts.append("  ".join(c.ljust(w) if k in left else c.rjust(w) for k, (c, w) in enumerate(cells)).rstrip())
    return "\n".join([*texts, *[table.note] * bool(table.note)])


def _words(table: Table) -> Iterator[int]:
    """Columns of text that are not names."""
    return (k for k, name in enumerate(table.header) if name == "what")


def print_tables(tables: Sequence[Table], out: TextIO | None = None) -> None:
    """Print tables, with lines and colours where the output is a terminal."""
    out = sys.stdout if out is None else out
    if not out.isatty():
        print("\n\n".join(as_text(table, title=len(tables) > 1) for table in tables), file=out)
        return
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(file=out)
    for table in tables:
        shown = RichTable(title=table.title, caption=table.note or None, title_justify="left", caption_justify="left")
        left = {*range(table.labels), *_words(table)}
        for k, name in enumerate(table.header):
            shown.add_column(name, justify="left" if k in left else "right")
        for line in table.lines:
            shown.add_row(*line)
        console.print(shown)


def write_numbers(path: Path, table: Mapping[str, Any]) -> None:
    """All numbers of a `metrics.json` as CSV, one a line: where it stands, and the number."""
    write_csv(path, ("name", "value"), _numbers(table, ()))


def _numbers(value: Any, at: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, (*at, name))
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from _numbers(inner, (*at, str(k)))
    else:
        yield "/".join(at), "" if value is None else value


def html_table(table: Table, escape: Any) -> Iterable[str]:
    """A table as html, with its title as a heading."""
    yield f'<h3>{escape(table.title)}</h3><div class="wide"><table><thead><tr>'
    yield from (f'<th scope="col">{escape(name)}</th>' for name in table.header)
    yield "</tr></thead><tbody>"
    words = {*range(table.labels), *_words(table)}
    for line in table.lines:
        cells = (f'<td class="{"l" if k in words else "r"}">{escape(cell)}</td>' for k, cell in enumerate(line))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'

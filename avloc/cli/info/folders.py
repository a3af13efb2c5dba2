"""Folders of results and of demos > descriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from avloc.cli.info.description import Description, listed, quoted
from avloc.cli.info.peek import Peek
from avloc.errors import counted

DEMO_MARKER = "demo.json"
LOOKED_AT = 200  # JSON files of a folder, in search of a result


def is_demo(peek: Peek) -> bool:
    """Tell whether a folder is that of a demo."""
    return (peek.path / DEMO_MARKER).is_file()


def describe_demo(peek: Peek) -> Description:
    """Describe the folder of a demo by its parts."""
    from avloc.io.files import read_json

    folder, settings = peek.path, read_json(peek.path / DEMO_MARKER, "marker of a demo")
    parts = {
        "clips": "generated clips",
        "features": "their features",
        "training": "the training run",
        "checkpoint.ckpt": "the network",
        "predictions.json": "its predictions",
        "metrics.json": "its scores",
        "report.html": "the report",
    }
    present = [name for name in parts if (folder / name).exists()]
    facts = [
        ("Settings", ", ".join(f"{name} {value}" for name, value in settings.items())),
        *((name, parts[name]) for name in present),
        ("State", "finished" if "report.html" in present else "unfinished: run avloc demo again to go on"),
    ]
    commands = [f"avloc info {quoted(folder / name)}" for name in present if name != "report.html"]
    return Description("folder of avloc demo", facts, {"settings": settings, "parts": present}, commands)


def is_results(peek: Peek) -> bool:
    """Tell whether a folder has a summary of `avloc localize`, or a result."""
    from avloc.localization.summary import TABLE, is_summary

    table = peek.path / TABLE
    return (table.is_file() and is_summary(table)) or next(_results(peek.path), None) is not None


def _results(folder: Path) -> Iterator[Path]:
    """Yield the results among the first JSON files of a folder."""
    for path in islice(sorted(folder.glob("*.json")), LOOKED_AT):
        if path.is_file() and Peek.at(path).schema.startswith("avloc.localization/"):
            yield path


def describe_results(peek: Peek) -> Description:
    """Describe a folder of results: the verdicts, and the most suspicious clips."""
    from avloc.io.files import read_json
    from avloc.io.provenance import provenance_facts, read_sidecar
    from avloc.localization.summary import INDEX, TABLE, read_summary

    folder, rows = peek.path, list(read_summary(peek.path).values())
    results = list(_results(folder))
    record = read_sidecar(folder / TABLE)
    answers = {row.file: (row.verdict or row.problems, row.answer) for row in rows}
    if not rows:
        documents = [read_json(path, "result") for path in results]
        answers = {str(d.get("file")): (str(d.get("verdict")), str(d.get("sentence"))) for d in documents}
    verdicts = Counter(verdict or "no verdict" for verdict, _ in answers.values())
    forged = [file for file, (verdict, _) in answers.items() if verdict == "likely forged"]
    facts = [
        ("Clips", f"{len(answers):,}"),
        ("Verdicts", listed(dict(verdicts.most_common(5)))),
        *(("Forged", f"{file}: {answers[file][1]}") for file in forged[:5]),
        ("", f"and {len(forged) - 5} more" if len(forged) > 5 else ""),
        *([] if record is None else provenance_facts(record)),
        ("Page", INDEX if (folder / INDEX).is_file() else ""),
    ]
    commands = [f"avloc info {quoted(path)}" for path in results[:1]]
    values = {"clips": len(answers), "verdicts": dict(verdicts), "record": None if record is None else record.to_dict()}
    return Description(f"results of avloc localize, {counted(len(answers), 'clip')}", facts, values, commands)


def is_result_table(peek: Peek) -> bool:
    """Tell whether a file is the summary of a folder, or the table of one result."""
    from avloc.localization.text import CSV_FIELDS

    if peek.suffix != ".csv":
        return False
    return tuple(peek.header) == CSV_FIELDS or peek.header[:3] == ["file", "seconds", "forged"]


def describe_result_table(peek: Peek) -> Description:
    """Describe a summary by its folder, or the table of one result by the record beside it."""
    from avloc.io.provenance import provenance_facts, read_sidecar
    from avloc.localization.summary import TABLE

    if peek.header[1] == "seconds" and peek.path.name == TABLE:
        return describe_results(Peek.at(peek.path.parent))
    record = read_sidecar(peek.path)
    rows = peek.path.read_bytes().count(b"\n") - 1
    facts = [("Segments", f"{rows:,}"), *([] if record is None else provenance_facts(record))]
    return Description("segments of avloc localize, as a table", facts, {"segments": rows})

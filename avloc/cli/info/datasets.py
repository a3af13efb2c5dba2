"""Folders of datasets, and files with labels > descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.info.description import Description, listed, quoted
from avloc.cli.info.peek import Peek
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.datasets.readers.table import RecordTable
    from avloc.evaluation.truth import Truth

MARKERS: Mapping[str, tuple[str, ...]] = {
    "lavdf": ("metadata.json", "metadata.min.json"),
    "avdeepfake1m++": ("testA_files.txt", "testB_files.txt"),
    "avdeepfake1m": ("train_metadata.json", "val_metadata.json", "test_files.txt", "train_metadata", "val_metadata"),
    "partialspoof": ("protocols",),
    "halftruth": ("HAD_*",),
    "llamapartialspoof": ("label_*.txt",),
    "csv": ("metadata.csv",),
    "json": ("metadata.json",),
    "folder": ("labels.csv", "labels.json"),
    "rttm": ("*.rttm",),
}
"""By layout, patterns of files of which a folder of it has at least one. The first layout that reads a folder is its own."""
EXTRACTORS = "logspec,residual_grid"  # in examples: they need no weights
METADATA_PROTOCOLS = ("lavdf", "avdeepfake1m")
"""Protocols by which metadata are read: the first whose field of fake segments they have, or else the first."""


def candidate_layouts(folder: Path) -> Iterator[str]:
    """Yield the layouts whose files a folder has."""
    for name, patterns in MARKERS.items():
        if next(chain.from_iterable(folder.glob(pattern) for pattern in patterns), None) is not None:
            yield name


def is_dataset(peek: Peek) -> bool:
    """Tell whether a folder has the metadata of a dataset."""
    return peek.path.is_dir() and next(candidate_layouts(peek.path), None) is not None


def describe_dataset(peek: Peek) -> Description:
    """Describe a dataset by the first layout that reads it.

    Raises:
        AvlocError: if none does; the message is that of the first.
    """
    from avloc.datasets.readers.catalog import read_records

    errors = []
    for layout in candidate_layouts(peek.path):
        try:
            return _describe_records(peek.path, layout, read_records(layout, peek.path))
        except AvlocError as error:
            errors.append(error)
    raise errors[0]


def has_clips(peek: Peek) -> bool:
    """Tell whether a folder has media files, in it or in its subfolders."""
    from avloc.datasets.readers.tabular import media_files

    return peek.path.is_dir() and next(media_files(peek.path), None) is not None


def describe_clips(peek: Peek) -> Description:
    """Describe a folder of clips without labels."""
    from avloc.datasets.readers.catalog import read_records
    from avloc.io.files import format_bytes

    table = read_records("folder", peek.path)
    size_bytes = sum((peek.path / file).stat().st_size for file in table.files)
    facts = [
        ("Clips", f"{len(table):,}"),
        ("Size", format_bytes(size_bytes)),
        ("Labels", "none; a labels.csv with file,start,end,modality would make it a dataset"),
    ]
    name = quoted(peek.path)
    commands = [f"avloc localize {name} --out timelines", f"avloc data check --dataset folder --root {name}"]
    return Description("folder of clips", facts, {"clips": len(table), "bytes": size_bytes}, commands)


def _describe_records(folder: Path, layout: str, table: RecordTable) -> Description:
    from avloc.datasets.inspect.overview import overview
    from avloc.datasets.readers.catalog import get_reader

    summary = overview(table)
    groups = {name: {row.name: row.clips for row in rows} for name, rows in summary.groups.items()}
    lengths = f", {summary.hours:.2f} h" if summary.hours else ""
    facts = [
        ("Layout", layout),
        ("Clips", f"{summary.clips:,}{lengths}"),
        ("Segments", f"{sum(summary.segments.values()):,} ({listed(summary.segments)})"),
        *((name.capitalize().replace("_", " "), listed(counts)) for name, counts in groups.items()),
        *(("Repaired", f"{count:,} {fault}") for fault, count in summary.repaired.items() if count),
    ]
    validation = get_reader(layout).validation
    split = next((name for name in ("test", "eval", validation) if name in groups["split"]), "all")
    options = f"--dataset {quoted(layout)} --root {quoted(folder)}"
    commands = [
        f"avloc data info {options} --html overview.html",
        f"avloc data check {options}",
        f"avloc extract {options} --extractors {EXTRACTORS} --store features",
        f"avloc predict {options} --split {quoted(split)} --out predictions.json",
    ]
    values = {"layout": layout, "clips": summary.clips, "hours": summary.hours, "segments": dict(summary.segments)}
    return Description(f"dataset of the layout {layout}", facts, {**values, "groups": groups}, commands)


def is_metadata(peek: Peek) -> bool:
    """Tell whether a file is a JSON list, as the metadata of the datasets are."""
    return peek.is_list


def describe_metadata(peek: Peek) -> Description:
    """Describe the metadata of a dataset, or a list of labels.

    Raises:
        AvlocError: if no protocol and no table reads it.
    """
    from avloc.evaluation.protocols import get_protocol
    from avloc.evaluation.truth import read_truth
    from avloc.inference.split.dataset_truth import is_table

    if is_table(peek.path):
        return describe_table(peek)
    fields = {name: get_protocol(name).segments_field for name in METADATA_PROTOCOLS}
    named = (name for name, text in fields.items() if f'"{text}"'.encode() in peek.head)
    protocol = next(named, METADATA_PROTOCOLS[0])
    truth = read_truth(peek.path, fields[protocol])
    commands = [f"avloc evaluate PREDICTIONS.json {quoted(peek.path)} --protocol {protocol} --report report.html"]
    return Description(f"metadata of clips, for the protocol {protocol}", *_truth_facts(truth, peek.path), commands)


def is_label_table(peek: Peek) -> bool:
    """Tell whether a file is a table of labels: csv with `file`, `start` and `end`, and no score; or RTTM without confidences."""
    if peek.suffix == ".csv":
        return {"file", "start", "end"} <= set(peek.header) and "score" not in peek.header
    return peek.suffix == ".rttm" and not _has_confidences(peek)


def _has_confidences(peek: Peek) -> bool:
    """Tell whether a line of RTTM has a number in its last field but one."""
    for line in peek.head.decode(errors="replace").splitlines():
        fields = line.split()
        if len(fields) > 8 and fields[8] != "<NA>":
            return True
    return False


def describe_table(peek: Peek) -> Description:
    """Describe labels of your own: `labels.csv` in a folder of clips, another csv, or an RTTM file.

    Raises:
        AvlocError: if a row is malformed, or a clip is missing.
    """
    from avloc.inference.split.dataset_truth import table_truth

    truth = table_truth(peek.path)
    commands = [f"avloc evaluate PREDICTIONS.json {quoted(peek.path)} --protocol PROTOCOL --report report.html"]
    layouts: dict[str, Callable[[], bool]] = {
        "folder": lambda: peek.path.name == "labels.csv",
        "csv": lambda: peek.path.name == "metadata.csv",
        "rttm": lambda: peek.suffix == ".rttm",
    }
    layout = next((name for name, fits in layouts.items() if fits()), None)
    if layout is not None:
        commands.append(f"avloc data info --dataset {layout} --root {quoted(peek.path.parent)}")
    return Description("labels of clips", *_truth_facts(truth, peek.path), commands)


def _truth_facts(truth: Truth, path: Path) -> tuple[list[tuple[str, str]], dict[str, object]]:
    import numpy as np

    from avloc.io.files import format_bytes

    segments = int(truth.labels.offsets[-1])
    codes = np.bincount(truth.modality.codes, minlength=len(truth.modality.names)).tolist()
    modalities = {name or "unknown": count for name, count in zip(truth.modality.names, codes, strict=True) if count}
    known_s = truth.duration_s[~np.isnan(truth.duration_s)]
    size_bytes = path.stat().st_size
    facts = [
        ("Clips", f"{len(truth):,}" + (f", {known_s.sum() / 3600:.2f} h" if len(known_s) else "")),
        ("Segments", f"{segments:,}"),
        ("Modality", listed(modalities)),
        ("Size", format_bytes(size_bytes)),
    ]
    return facts, {"clips": len(truth), "segments": segments, "modality": modalities, "bytes": size_bytes}

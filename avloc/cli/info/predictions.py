"""Files of predictions, clip scores and raw rows > descriptions."""

from __future__ import annotations

import numpy as np

from avloc.cli.info.description import Description, quoted
from avloc.cli.info.peek import Peek
from avloc.errors import counted

RAW_ROWS = (".h5", ".hdf5")


def is_predictions(peek: Peek) -> bool:
    """Tell whether a file is a JSON object of lists by clip, ActivityNet's results, a pickle, or RTTM with confidences."""
    from avloc.evaluation.inputs.activitynet import is_activitynet
    from avloc.evaluation.predictions import PICKLE_SUFFIXES

    if peek.suffix in (
        *PICKLE_SUFFIXES,
        ".rttm",
    ):  # RTTM without confidences is a table of labels, tried first
        return peek.path.is_file()
    return peek.is_object and (peek.first_member[1] in ("[", "") or is_activitynet(peek.head))


def describe_predictions(peek: Peek) -> Description:
    """Describe predictions: clips, rows, scores, and the record beside them.

    Raises:
        AvlocError: if the file is malformed; names clip and row.
    """
    from avloc.evaluation.predictions import read_predictions
    from avloc.io.files import format_bytes

    path, predictions = peek.path, read_predictions(peek.path)
    rows, counts = predictions.rows, np.diff(predictions.rows.offsets)
    size_bytes, empty = path.stat().st_size, int(np.count_nonzero(counts == 0))
    facts = [
        ("Clips", f"{len(predictions):,}" + (f", {empty:,} of them without rows" if empty else "")),
        ("Rows", f"{len(rows.scores):,}" + (f", at most {counts.max():,} per clip" if len(counts) else "")),
        ("Scores", f"{rows.scores.min():.4g} to {rows.scores.max():.4g}" if len(rows.scores) else ""),
        ("Latest end", f"{rows.segments[:, 1].max():.2f} s" if len(rows.scores) else ""),
        *(("Note", note) for note in predictions.notes),
        *_record_facts(peek),
        ("Size", format_bytes(size_bytes)),
    ]
    values = {"clips": len(predictions), "empty": empty, "rows": len(rows.scores), "bytes": size_bytes}
    commands = [
        f"avloc evaluate {quoted(path)} METADATA.json --protocol PROTOCOL --report report.html",
        f"avloc submit {quoted(path)} --files FILES.txt --out submission.zip",
        f"avloc convert {quoted(path)} --form activitynet --out results.json",
    ]
    return Description("predictions of fake segments", facts, values, commands)


def _record_facts(peek: Peek) -> list[tuple[str, str]]:
    """The facts of the record beside predictions, if it is of this file."""
    from avloc.io.files import file_sha256
    from avloc.io.provenance import provenance_facts, read_sidecar

    record = read_sidecar(peek.path)
    if record is None:
        return []
    if not record.lies_beside(file_sha256(peek.path)):
        return [("Record", "the one beside it is of other content")]
    return provenance_facts(record)


def is_clip_scores(peek: Peek) -> bool:
    """Tell whether a file is one of clip scores: `file;score` lines, or ASVspoof's scores or key."""
    from avloc.evaluation.detection import CLIP_SCORE_SUFFIXES

    return peek.suffix in CLIP_SCORE_SUFFIXES and peek.path.is_file()


def describe_clip_scores(peek: Peek) -> Description:
    """Describe a file of clip scores, or an ASVspoof key.

    Raises:
        AvlocError: if a line is malformed.
    """
    from avloc.evaluation.detection import ClipLabels, load_clip_scores
    from avloc.evaluation.inputs.asvspoof import is_key
    from avloc.io.files import format_bytes

    path, size_bytes = peek.path, peek.path.stat().st_size
    size = ("Size", format_bytes(size_bytes))
    if is_key(path):
        is_fake = ClipLabels.from_key(path).is_fake
        fakes = int(np.count_nonzero(is_fake))
        facts = [("Clips", f"{len(is_fake):,}, {fakes:,} of them fake"), size]
        values: dict[str, object] = {"clips": len(is_fake), "fakes": fakes, "bytes": size_bytes}
        return Description("key of ASVspoof", facts, values, [f"avloc evaluate SCORES.tsv {quoted(path)}"])
    scores, notes = load_clip_scores(path)
    bounds = f"{min(scores.values()):.4g} to {max(scores.values()):.4g}" if scores else ""
    facts = [("Clips", f"{len(scores):,}"), ("Scores", bounds), *(("Note", note) for note in notes), size]
    commands = [
        f"avloc evaluate {quoted(path)} METADATA.json --protocol PROTOCOL --report clips.html",
        f"avloc calibrate {quoted(path)} METADATA.json --protocol PROTOCOL --save calibration.json",
    ]
    return Description("scores of clips", facts, {"clips": len(scores), "bytes": size_bytes}, commands)


def is_raw_rows(peek: Peek) -> bool:
    """Tell whether a file has the name of raw rows."""
    return peek.suffix in RAW_ROWS and peek.path.is_file() and not (peek.path.parent / "store.json").is_file()


def describe_raw_rows(peek: Peek) -> Description:
    """Describe rows before suppression.

    Raises:
        AvlocError: if the file holds none.
    """
    from avloc.inference.raw.raw_file import RawFile, is_validation
    from avloc.io.files import format_bytes

    raw = RawFile(peek.path)
    settings, clips, size_bytes = raw.settings, len(raw.files()), peek.path.stat().st_size
    facts = [
        ("Clips", counted(clips, "clip")),
        ("Dataset", f"{settings.dataset}, split {settings.split}"),
        ("Weights", f"sha256 {settings.network}" if settings.network else ""),
        ("Size", format_bytes(size_bytes)),
    ]
    name = quoted(peek.path)
    commands = [f"avloc tune {name} METADATA.json --protocol PROTOCOL --save tuned.json"]
    if not is_validation(settings.split, settings.validation):  # on which no search may run
        commands = [f"avloc tune {name} --use TUNED.json --out predictions.json"]
    return Description("rows before suppression", facts, {**settings.to_dict(), "clips": clips}, commands)

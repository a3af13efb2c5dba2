"""JSON documents of avloc, and tables that it writes > descriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from avloc.cli.info.description import Description, quoted
from avloc.cli.info.peek import Peek
from avloc.errors import AvlocError, counted, one_line

RESULT, CALIBRATION, FUSION, TUNED, RECORD = (
    "avloc.localization",
    "avloc.calibration",
    "avloc.fusion",
    "avloc.tuned",
    "avloc.provenance",
)
"""The names of schemas, without their numbers."""


def has_schema(peek: Peek, name: str) -> bool:
    """Tell whether a document names a schema, of any number."""
    return peek.schema.startswith(f"{name}/")


def describe_result(peek: Peek) -> Description:
    """Describe a result of `avloc localize`.

    Raises:
        AvlocError: if it is damaged, or of a schema of a later release.
    """
    from avloc.io.files import read_json
    from avloc.io.provenance import provenance_facts
    from avloc.localization.result import Localization, result_errors
    from avloc.localization.text import evidence_text, network_text, notes, sentence

    document = read_json(peek.path, "result")
    with result_errors(peek.path):
        localization = Localization.from_dict(document)
    record = localization.provenance
    is_recorded = record is not None and record.clip is not None and record.checkpoint is not None
    facts = [
        ("Clip", "" if is_recorded else f"{localization.file}, {localization.duration_s:.2f} s"),
        ("Answer", sentence(localization)),
        ("Evidence", evidence_text(localization)),
        ("Network", "" if localization.network is None else network_text(localization.network)),
        *(("Note", note) for note in notes(localization)),
    ]
    labels = {label for label, text in facts if text}
    facts += [] if record is None else [fact for fact in provenance_facts(record) if fact[0] not in labels]
    commands = []
    if is_recorded:
        commands.append(f"avloc localize --verify {quoted(peek.path)} {quoted(localization.file)}")
    else:
        facts.append(("Provenance", "not recorded, so it cannot be verified; localize the clip again"))
    values = {
        key: document.get(key) for key in ("schema", "file", "sentence", "verdict", "llr", "network", "provenance")
    }
    return Description("result of avloc localize", facts, values, commands)


def describe_calibration(peek: Peek) -> Description:
    """Describe a calibration of scores.

    Raises:
        AvlocError: if it is malformed.
    """
    from avloc.evaluation.evidence.calibration import read_calibration

    fit = read_calibration(peek.path)
    systems = len(fit.slopes)
    facts = [
        ("Of", f"{'whole clips' if fit.kind == 'clips' else 'rows of segments'}, {counted(systems, 'system')}"),
        ("Fitted on", f"{fit.fakes:,} fake and {fit.reals:,} real"),
        ("Slopes", ", ".join(f"{slope:.4g}" for slope in fit.slopes)),
        ("Offset", f"{fit.offset:.4g}"),
        *_origin_facts(fit.provenance or {}),
    ]
    names = " ".join(f"SCORES_{k + 1}" for k in range(systems)) if systems > 1 else "SCORES"
    verb = "fuse" if systems > 1 else "calibrate"
    commands = [
        f"avloc {verb} {names} --use {quoted(peek.path)} --out calibrated.{'txt' if fit.kind == 'clips' else 'json'}"
    ]
    return Description(f"calibration of {fit.kind}", facts, fit.to_dict(), commands)


def describe_fusion(peek: Peek) -> Description:
    """Describe a fusion of segments.

    Raises:
        AvlocError: if it is malformed.
    """
    from avloc.evaluation.fusion.fusion_file import read_fusion
    from avloc.io.files import read_json

    fusion, document = read_fusion(peek.path), read_json(peek.path, "fusion")
    facts = [
        ("Method", fusion.method),
        ("Weights", ", ".join(f"{weight:.4g}" for weight in fusion.weights)),
        ("Rows kept", f"{fusion.keep:,} per clip"),
        *_origin_facts(document.get("provenance") or {}),
    ]
    names = " ".join(f"PREDICTIONS_{k + 1}.json" for k in range(len(fusion.weights)))
    commands = [f"avloc fuse {names} --use {quoted(peek.path)} --out fused.json"]
    return Description(f"fusion of {counted(len(fusion.weights), 'system')}", facts, document, commands)


def _origin_facts(origin: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The record of a fit; of an earlier release the names of its files."""
    from avloc.core.provenance import Provenance
    from avloc.io.provenance import provenance_facts

    try:
        return provenance_facts(Provenance.from_dict(origin))
    except ValueError:
        predictions = origin.get("predictions")
        files = [*(predictions if isinstance(predictions, list) else ()), origin.get("labels")]
        texts = [f"{file.get('file')}, sha256 {file.get('sha256')}" for file in files if isinstance(file, Mapping)]
        return [("Made by", str(origin.get("made_by") or "")), *(("Made of", text) for text in texts)]


def describe_tuned(peek: Peek) -> Description:
    """Describe tuned settings of decoding.

    Raises:
        AvlocError: if they are malformed.
    """
    from avloc.inference.raw.tuned_file import read_tuned
    from avloc.io.files import read_json

    tuned, document = read_tuned(peek.path), read_json(peek.path, "tuned settings")
    facts = [("Decoding", ", ".join(f"{name} {value:g}" for name, value in tuned.values().items()))]
    facts += _origin_facts(document.get("provenance") or {})
    options = "--checkpoint BEST.ckpt --dataset DATASET --root FOLDER --split test"
    commands = [f"avloc predict {options} --tuned {quoted(peek.path)} --out predictions.json"]
    return Description("tuned settings of decoding", facts, document, commands)


def describe_record(peek: Peek) -> Description:
    """Describe the record of what made a file beside it.

    Raises:
        AvlocError: if it is damaged.
    """
    from avloc.io.files import file_sha256, read_json
    from avloc.io.provenance import parse_sidecar, provenance_facts

    document = read_json(peek.path, "record of provenance")
    record = parse_sidecar(document, peek.path)
    facts, commands = provenance_facts(record), []
    if record.output is not None:
        beside = peek.path.with_name(record.output.file)
        state = "missing"
        if beside.is_file():
            state = "as recorded" if record.lies_beside(file_sha256(beside)) else "of other content now"
            commands.append(f"avloc info {quoted(beside)}")
        facts.insert(0, ("Record of", f"{record.output.file} ({state}), sha256 {record.output.sha256}"))
    return Description("record of what made a file", facts, document, commands)


def is_picture(peek: Peek) -> bool:
    """Tell whether a file is a png that holds the record of what made it."""
    from avloc.io.figures import PNG_KEY

    return peek.suffix == ".png" and PNG_KEY.encode() in peek.head


def describe_picture(peek: Peek) -> Description:
    """Describe the timeline of a result by its record.

    Raises:
        AvlocError: if the record is damaged.
    """
    from PIL import Image

    from avloc.core.provenance import Provenance
    from avloc.io.figures import PNG_KEY
    from avloc.io.provenance import provenance_facts

    try:
        with Image.open(peek.path) as image:
            record = Provenance.from_dict(json.loads(image.info[PNG_KEY]))
    except (OSError, KeyError, ValueError, SyntaxError) as error:  # Pillow raises the last for a damaged chunk
        raise AvlocError(f"{peek.path}: a damaged picture ({one_line(error)}); make the result again") from error
    commands = [f"avloc localize {quoted(record.clip.file)} --out timelines"] if record.clip is not None else []
    return Description(
        "timeline of avloc localize", provenance_facts(record), {"provenance": record.to_dict()}, commands
    )


def is_scores(peek: Peek) -> bool:
    """Tell whether a file has the numbers of `avloc evaluate --json`."""
    return peek.first_member[0] == "protocol" and b'"videos"' in peek.head


def describe_scores(peek: Peek) -> Description:
    """Describe the numbers of an evaluation.

    Raises:
        AvlocError: if it is no JSON.
    """
    from avloc.core.provenance import Provenance
    from avloc.io.files import read_json
    from avloc.io.provenance import provenance_facts

    document = read_json(peek.path, "numbers of avloc evaluate")
    facts = [
        ("Protocol", str(document.get("protocol"))),
        ("Clips", str(document.get("videos"))),
        *(("Score", f"{mode} {_score_text(document[mode])}") for mode in ("official", "strict") if mode in document),
    ]
    detection = document.get("detection")
    if isinstance(detection, dict):
        facts.append(
            ("Detection", ", ".join(f"{k} {detection[k]:.4g}" for k in ("auc", "eer") if detection.get(k) is not None))
        )
    try:
        record = Provenance.from_dict(document["provenance"]) if "provenance" in document else None
    except ValueError as error:
        raise AvlocError(f"{peek.path}: a damaged record of provenance, {error}; evaluate again") from error
    facts += [] if record is None else provenance_facts(record)
    return Description("scores of avloc evaluate", facts, {"scores": document})


def _score_text(scores: Any) -> str:
    """Format AP and AR by their thresholds and counts."""
    parts = []
    for name in ("ap", "ar"):
        values = scores.get(name) if isinstance(scores, dict) else None
        if isinstance(values, dict):
            parts += [f"{name.upper()}@{key} {100 * value:.2f}" for key, value in values.items() if value is not None]
    return ", ".join(parts)

"""The file of a fitted fusion of segments: settings > JSON, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from avloc.errors import AvlocError
from avloc.evaluation.evidence.calibration import Calibration
from avloc.evaluation.fusion.segments import SegmentFusion
from avloc.io.files import check_schema, read_json, write_json

SCHEMA = "avloc.fusion/1"
NUMBERS = ("merge_iou", "absence", "sigma")


def write_fusion(path: str | os.PathLike[str], fusion: SegmentFusion, provenance: Mapping[str, object]) -> None:
    """Write a fusion as JSON, atomically, with its provenance."""
    document = {
        "schema": SCHEMA,
        "method": fusion.method,
        "weights": list(fusion.weights),
        **{name: getattr(fusion, name) for name in NUMBERS},
        "keep": fusion.keep,
        "calibrations": [calibration.to_dict() for calibration in fusion.calibrations],
        "provenance": dict(provenance),
    }
    write_json(Path(path).expanduser(), document)


def read_fusion(path: str | os.PathLike[str]) -> SegmentFusion:
    """Read a file that `write_fusion` wrote.

    Raises:
        AvlocError: if it is missing, of another schema, or malformed; names the field.
    """
    path = Path(path).expanduser()
    document = check_schema(read_json(path, "fusion"), path, SCHEMA, "a fusion", "avloc fuse --save writes one")
    weights, calibrations, keep = (document.get(name) for name in ("weights", "calibrations", "keep"))
    checks = {
        "weights": isinstance(weights, list) and all(type(weight) in (int, float) for weight in weights),
        "calibrations": isinstance(calibrations, list),
        "keep": type(keep) is int,
        "method": isinstance(document.get("method"), str),
    } | {name: type(document.get(name)) in (int, float) for name in NUMBERS}
    if wrong := [name for name, is_right in checks.items() if not is_right]:
        raise AvlocError(f"{path}: {wrong[0]} is {document.get(wrong[0])!r}; fit it again with avloc fuse")
    parts = tuple(
        Calibration.from_dict(part, f"{path}: calibration {k}") for k, part in enumerate(document["calibrations"])
    )
    try:
        return SegmentFusion(
            parts,
            tuple(map(float, document["weights"])),
            method=document["method"],
            keep=document["keep"],
            **{name: float(document[name]) for name in NUMBERS},
        )
    except AvlocError as error:
        raise AvlocError(f"{path}: {error}; fit it again with avloc fuse") from error

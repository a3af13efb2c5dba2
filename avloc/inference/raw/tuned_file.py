"""The file of tuned settings: settings > JSON, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from avloc.errors import AvlocError
from avloc.heads.candidates import PointDecoding
from avloc.io.files import check_schema, read_json, write_json

SCHEMA = "avloc.tuned/1"


@dataclass(frozen=True, slots=True)
class TunedSettings:
    """Settings that turn a network's candidates into rows.

    Attributes:
        decoding: of the candidates.
        keep: at most this many rows per 40 s of a clip.

    Raises:
        AvlocError: if `keep` is less than 1.

    >>> TunedSettings(PointDecoding(), keep=50).keep
    50
    """

    decoding: PointDecoding
    keep: int

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise AvlocError(f"want keep of at least 1, got {self.keep}")

    def values(self) -> dict[str, float]:
        """Return all settings by name, `keep` among them."""
        return {**self.decoding.to_dict(), "keep": self.keep}


def write_tuned(path: str | os.PathLike[str], tuned: TunedSettings, provenance: Mapping[str, object]) -> None:
    """Write settings as JSON, atomically, with their provenance."""
    write_json(
        Path(path).expanduser(),
        {
            "schema": SCHEMA,
            "decoding": tuned.decoding.to_dict(),
            "keep": tuned.keep,
            "provenance": dict(provenance),
        },
    )


def read_tuned(path: str | os.PathLike[str]) -> TunedSettings:
    """Read a file that `write_tuned` wrote.

    Raises:
        AvlocError: if it is missing, of another schema, or malformed; names the field.
    """
    path = Path(path).expanduser()
    document = read_json(path, "file of tuned settings")
    document = check_schema(document, path, SCHEMA, "tuned settings", "avloc tune writes them")
    decoding, keep = document.get("decoding"), document.get("keep")
    if not isinstance(decoding, dict):
        raise AvlocError(f"{path}: decoding is {decoding!r}; tune again with avloc tune")
    if type(keep) is not int:
        raise AvlocError(f"{path}: keep is {keep!r}; tune again with avloc tune")
    try:
        return TunedSettings(PointDecoding.from_dict(decoding), keep)
    except AvlocError as error:
        raise AvlocError(f"{path}: {error}; tune again with avloc tune") from error

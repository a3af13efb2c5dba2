"""Files > their identities; a record of provenance > facts for people, and the file beside a result that cannot hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from avloc.core.provenance import FileIdentity, Provenance
from avloc.errors import AvlocError
from avloc.io.files import check_schema, file_sha256, format_bytes, read_json, write_json

SIDECAR_SUFFIX = ".provenance"
SIDECAR_SCHEMA = "avloc.provenance/1"
ROLE_LABELS = {
    "clip": "Clip",
    "predictions": "Predictions",
    "metadata": "Metadata",
    "versus": "Compared with",
    "fit": "Fit",
}


def identify_file(
    path: str | Path,
    *,
    duration_s: float | None = None,
    sha256: str | None = None,
    pulse: Callable[[], object] = lambda: None,
) -> FileIdentity:
    """Hash a file, block by block, and return its identity.

    Args:
        path: the file.
        duration_s: of a clip, its length in seconds.
        sha256: its hash, if that is known: the file is not read.
        pulse: called with each block, to show that this process is alive.

    Raises:
        OSError: if it cannot be read.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     identify_file(file.name).sha256[:12]
    'e3b0c44298fc'
    """
    path = Path(path)
    sha256 = file_sha256(path, pulse) if sha256 is None else sha256
    return FileIdentity(str(path), sha256, path.stat().st_size, duration_s)


def provenance_facts(provenance: Provenance) -> list[tuple[str, str]]:
    """List the facts of a record for people: pairs of a label and a text, none of them empty.

    >>> record = Provenance("0.1.0", "2026-11-26T09:30:00Z", "avloc localize a.mp4", {"keep": 100, "end": None})
    >>> provenance_facts(record)[1:]
    [('Date', '2026-11-26 09:30:00 UTC'), ('Settings', 'keep 100'), ('Command', 'avloc localize a.mp4')]
    """
    checkpoint = provenance.checkpoint
    facts = [
        ("Made by", provenance.avloc and f"avloc {provenance.avloc}"),
        ("Date", date_text(provenance)),
        *((ROLE_LABELS.get(role, role), _file_text(file)) for role, file in provenance.inputs.items()),
    ]
    if checkpoint is not None:
        file = FileIdentity(checkpoint.file, checkpoint.sha256, checkpoint.size_bytes)
        facts += [("Network", checkpoint.name), ("Checkpoint", _file_text(file)), ("Trained on", checkpoint.trained_on)]
    settings = [f"{name} {value}" for name, value in provenance.settings.items() if value is not None]
    facts += [("Settings", ", ".join(settings)), ("Command", provenance.command)]
    return [(label, text) for label, text in facts if text]


def date_text(provenance: Provenance) -> str:
    """Format the date of a record for people; empty if it is unknown.

    >>> date_text(Provenance("0.1.0", "2026-11-26T09:30:00Z"))
    '2026-11-26 09:30:00 UTC'
    """
    return provenance.created.replace("T", " ").replace("Z", " UTC")


def _file_text(file: FileIdentity) -> str:
    length = "" if file.duration_s is None else f", {file.duration_s:.2f} s"
    return f"{file.file}, {format_bytes(file.size_bytes)}{length}, sha256 {file.sha256}"


def sidecar_path(path: str | Path) -> Path:
    """Return the file of the record of a file that cannot hold one.

    >>> sidecar_path("out/predictions.json").as_posix()
    'out/predictions.json.provenance'
    """
    path = Path(path)
    return path.with_name(path.name + SIDECAR_SUFFIX)


def write_sidecar(path: str | Path, provenance: Provenance) -> Path:
    """Write the record of a file beside it, with the file's own hash, and return the record's path.

    Raises:
        OSError: if the file cannot be read, or the record not be written.
    """
    beside = sidecar_path(path)
    output = identify_file(path).without_folder()
    write_json(beside, {"schema": SIDECAR_SCHEMA, **replace(provenance, output=output).to_dict()})
    return beside


def read_sidecar(path: str | Path) -> Provenance | None:
    """Read the record beside a file; None if it is missing.

    Raises:
        AvlocError: if it is no such record; names the entry.
    """
    beside = sidecar_path(path)
    if not beside.is_file():
        return None
    return parse_sidecar(read_json(beside, "record of provenance"), beside)


def parse_sidecar(document: object, path: Path) -> Provenance:
    """Check the content of a record's file.

    Raises:
        AvlocError: if it is no such record; names the entry.
    """
    document = check_schema(
        document, path, SIDECAR_SCHEMA, "a record of provenance", "remove it, or make the result again"
    )
    try:
        return Provenance.from_dict(document)
    except ValueError as error:
        raise AvlocError(
            f"{path}: a damaged record of provenance, {error}; remove it, or make the result again"
        ) from error

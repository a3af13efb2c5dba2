"""The record of what made scores: the command, its settings, and its files with their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from avloc.cli.scores.clip_scores import print_warnings
from avloc.core.provenance import (
    METADATA,
    PREDICTIONS,
    VERSUS,
    CheckpointIdentity,
    FileIdentity,
    Provenance,
    current_provenance,
)
from avloc.errors import AvlocError
from avloc.io.provenance import identify_file, read_sidecar, sidecar_path


def scoring_provenance(
    command: str, settings: Mapping[str, object], predictions: Path, metadata: Path | None, versus: Path | None = None
) -> Provenance:
    """Hash the files of an evaluation, and return its record, with the checkpoint that made the predictions if that is known.

    Args:
        command: the command line.
        settings: the options that change the scores; paths become texts.
        predictions: the prediction file; `avloc predict` writes a record beside it, which names the checkpoint.
        metadata: the file of the labels; None: they come from a data set.
        versus: the predictions to compare with.

    Raises:
        OSError: if a file cannot be read.
    """
    files = {PREDICTIONS: predictions, METADATA: metadata, VERSUS: versus}
    inputs = {role: identify_file(file) for role, file in files.items() if file is not None}
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    return current_provenance(command, plain, _checkpoint(predictions, inputs[PREDICTIONS]), inputs)


def _checkpoint(predictions: Path, identity: FileIdentity) -> CheckpointIdentity | None:
    """Return the checkpoint in the record beside predictions; None without one, or with a warning if it cannot be used."""
    try:
        record = read_sidecar(predictions)
    except AvlocError as error:
        print_warnings(predictions, [f"the checkpoint is not recorded: {error}"])
        return None
    if record is None:
        return None
    if record.output is None or record.output.sha256 != identity.sha256:
        text = f"the checkpoint is not recorded: {sidecar_path(predictions).name} is of other predictions"
        print_warnings(predictions, [text])
        return None
    return record.checkpoint

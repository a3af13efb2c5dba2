"""The record of scores, of a fit, or of a fit's results: the command, its settings, and its files with their hashes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from avloc.cli.scores.clip_scores import print_warnings
from avloc.core.provenance import PREDICTIONS, CheckpointIdentity, FileIdentity, Provenance, current_provenance
from avloc.errors import AvlocError
from avloc.io.provenance import identify_file, read_sidecar, sidecar_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FILES = ("predictions", "metadata", "labels", "raw", "versus", "use", "json", "csv", "report", "save", "out", "command")
"""Options that are files or the command itself, which a record has elsewhere than in its settings."""


def recorded_settings(options: DataclassInstance) -> dict[str, object]:
    """Return the options of a verb but its files, as JSON values."""
    values = {name: value for name, value in dataclasses.asdict(options).items() if name not in FILES}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def prediction_roles(files: Sequence[Path]) -> dict[str, Path | None]:
    """Name the files of one or several systems by their roles in a record.

    >>> list(prediction_roles([Path("a.json"), Path("b.json")]))
    ['predictions 1', 'predictions 2']
    """
    if len(files) == 1:
        return {PREDICTIONS: files[0]}
    return {f"{PREDICTIONS} {number}": file for number, file in enumerate(files, 1)}


def identify_inputs(
    files: Mapping[str, Path | None], pulse: Callable[[], object] = lambda: None
) -> dict[str, FileIdentity]:
    """Hash files by role; one that is None is left out. `pulse` is called with each block.

    Raises:
        OSError: if a file cannot be read.
    """
    return {role: identify_file(file, pulse=pulse) for role, file in files.items() if file is not None}


@contextmanager
def identifying_inputs(files: Mapping[str, Path | None]) -> Iterator[Callable[[], dict[str, FileIdentity]]]:
    """Hash files in a thread while the block reads them, and yield a function that waits for the result.

    It raises what `identify_inputs` raises. When the block ends, the thread ends.
    """
    has_ended = Event()

    def check() -> None:
        if has_ended.is_set():
            raise InterruptedError("nobody waits for the hashes")

    with ThreadPoolExecutor(1) as pool:
        identities = pool.submit(identify_inputs, files, check)
        try:
            yield identities.result
        finally:
            has_ended.set()


def scoring_provenance(
    command: str,
    settings: Mapping[str, object],
    files: Mapping[str, Path | None],
    inputs: Mapping[str, FileIdentity] | None = None,
) -> Provenance:
    """Hash the files of a command, and return its record, with the checkpoint that made the predictions if that is known.

    Args:
        command: the command line.
        settings: the options that change the result, as JSON values.
        files: by role, the inputs; one that is None is left out. `avloc predict` writes a record beside predictions, which names
            the checkpoint.
        inputs: result of `identify_inputs`, if the files were hashed already.

    Raises:
        OSError: if a file cannot be read.
    """
    inputs = identify_inputs(files) if inputs is None else inputs
    predictions = files.get(PREDICTIONS)
    checkpoint = None if predictions is None else _checkpoint(predictions, inputs[PREDICTIONS])
    return current_provenance(command, settings, checkpoint, inputs)


def _checkpoint(predictions: Path, identity: FileIdentity) -> CheckpointIdentity | None:
    """Return the checkpoint in the record beside predictions; None without one, or with a warning if it cannot be used."""
    try:
        record = read_sidecar(predictions)
    except AvlocError as error:
        print_warnings(predictions, [f"the checkpoint is not recorded: {error}"])
        return None
    if record is None:
        return None
    if not record.lies_beside(identity.sha256):
        text = f"the checkpoint is not recorded: {sidecar_path(predictions).name} is of other predictions"
        print_warnings(predictions, [text])
        return None
    return record.checkpoint

"""The prediction of a split into a file: settings > parts > engine > journal > predictions.json. It resumes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from avloc import __version__
from avloc.core.provenance import Provenance, current_provenance
from avloc.errors import AvlocError
from avloc.inference.raw.raw_file import RawSettings, write_raw
from avloc.inference.split.journal import Journal, PartSummary
from avloc.inference.split.parts import ClipPredicted, PartEvent, PartSpec, PredictionSettings, run_parts
from avloc.io.files import file_sha256
from avloc.io.provenance import write_sidecar
from avloc.models.checkpoint import read_outline
from avloc.models.packaged import identify_checkpoint

PART_CLIPS = 128  # a multiple of the usual batches
Engine = Callable[[Iterable[PartSpec], PredictionSettings], Iterator[PartEvent]]
"""Runs the parts of a prediction, see `avloc.feature_extraction.job.engines`."""


class PredictionReport(NamedTuple):
    """The result of a prediction.

    Attributes:
        summary: the counts of this task's parts.
        reused: clips of these that an earlier run had predicted.
        missing: number of unfinished parts of all tasks.
        failures_path: the table of the clips that failed, written with the file.
    """

    summary: PartSummary
    reused: int
    missing: int
    failures_path: Path


def predict_to_file(
    settings: PredictionSettings,
    out: Path,
    *,
    array_index: tuple[int, int] = (0, 1),
    engine: Engine = run_parts,
    progress: Callable[[int, int], object] = lambda done, total: None,
    command: str = "",
) -> PredictionReport:
    """Predict a split into a file, part by part. Call it again to go on after an interruption.

    The record of what made the file lies beside it (`avloc.io.provenance.sidecar_path`).

    Args:
        settings: the network, the split, and the resources.
        out: the file to write. Finished parts wait in a hidden folder beside it.
        array_index: (i, n): only make every n-th part from the i-th on, for task i of a job array of n tasks. Call it
            without, once all tasks are done, to write the file.
        engine: runs the parts.
        progress: called with the numbers of finished clips and of all clips of this task.
        command: the command line, for the record.

    Raises:
        AvlocError: if the settings are wrong, or the journal is of another run.
        OSError: if the disk does not accept a file; finished parts are kept.
    """
    i, n = array_index
    if not 0 <= i < n:
        raise AvlocError(f"--shard i/n needs 0 <= i < n, got {i}/{n}")
    clips = len(settings.records())
    journal = Journal(out, -(-clips // PART_CLIPS), settings.task)
    fingerprint = _fingerprint(settings)
    journal.open(fingerprint)
    own_parts = range(i, journal.count, n)
    specs = {
        part: PartSpec(part * PART_CLIPS, min((part + 1) * PART_CLIPS, clips), journal.path(part)) for part in own_parts
    }
    total = sum(spec.end - spec.first for spec in specs.values())
    missing = [spec for part, spec in specs.items() if not journal.has(part)]
    reused = done = total - sum(spec.end - spec.first for spec in missing)
    progress(done, total)
    try:
        with contextlib.closing(engine(missing, settings)) as events:  # type: ignore[type-var]
            for event in events:
                if isinstance(event, ClipPredicted):
                    done += 1
                    progress(done, total)
    except AvlocError:
        if n == 1:  # other tasks may be about to write their first part
            journal.discard_unused()
        raise
    summary = PartSummary()
    for part in journal.summaries(own_parts):
        summary.add(part)
    unfinished = sum(not journal.has(part) for part in range(journal.count))
    if n == 1:
        journal.join(partial(write_raw, settings=_raw_settings(settings)) if settings.raw else None)
        write_sidecar(out, _provenance(settings, fingerprint, command))
    return PredictionReport(summary, reused, unfinished, journal.failures_path)


def _fingerprint(settings: PredictionSettings) -> dict[str, Any]:
    """The settings that predictions depend on; not the folders, which other machines may name differently."""
    digest = hashlib.sha256()
    for file in settings.records().files:
        digest.update(file.encode("utf-8", "surrogateescape") + b"\0")
    localizer = settings.localizer
    return {
        "avloc": __version__,
        "checkpoint": file_sha256(localizer.file),
        "network": None if localizer.network is None else str(localizer.network),
        "precision": localizer.precision,
        "decoding": localizer.decoding,
        "dataset": settings.dataset,
        "split": settings.split,
        "clips": digest.hexdigest(),
        "cached_features": settings.store is not None,  # that they fit the checkpoint is checked as they are read
        "keep": settings.keep,
        "batch_size": settings.batch_size,
        "longest_s": settings.longest_s,
        "allow_missing": settings.allow_missing,
        "decoding_settings": None if settings.decoding is None else settings.decoding.to_dict(),
        "raw": settings.raw,
        "part_clips": PART_CLIPS,
        # Parts of segments have no such key, as in journals of earlier versions.
        **({} if settings.task == "localization" else {"task": settings.task}),
    }


def _provenance(settings: PredictionSettings, fingerprint: dict[str, Any], command: str) -> Provenance:
    """The record of a prediction: the checkpoint was hashed for the journal, and all that predictions depend on is there."""
    file = settings.localizer.file
    checkpoint = identify_checkpoint(file, read_outline(file).description, sha256=fingerprint["checkpoint"])
    recorded = {name: value for name, value in fingerprint.items() if name not in ("avloc", "checkpoint")}
    return current_provenance(command, recorded, checkpoint)


def _raw_settings(settings: PredictionSettings) -> RawSettings:
    """Describe the run for its file of raw rows."""
    from avloc.datasets.readers.catalog import get_reader
    from avloc.models.network import candidate_network

    localizer = replace(settings.localizer, device="cpu").load()
    return RawSettings(
        candidate_network(localizer.model).decoding,
        settings.keep,
        "" if localizer.description is None else localizer.description.sha256,
        settings.dataset,
        settings.split,
        get_reader(settings.dataset).validation,
    )

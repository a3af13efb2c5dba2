"""A folder of .npy files, one (T, D) per clip > a store, by shards as the extraction makes them; resumable in the same way."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.store import layout
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.npy_export import ABOUT, ABOUT_VERSION, ENDING
from avloc.feature_extraction.store.shards import NO_FILE, OK, ShardRows, ShardWriter
from avloc.feature_extraction.store.verify import checked_rows
from avloc.io.files import read_json, remove_stale, resolve_inside

PIECE = 1 << 22  # numbers that are read at once
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a user says of a folder; None is not said.

    Attributes:
        extractor: the name that the features get.
        modality: `audio` or `visual`.
        hop_s: seconds per row.
        start_s: when the first row of each clip begins; 0 unless said.
        receptive_field_s: how much time a row sees; the hop unless said.
        suffix: a clip's name ends with it where that of its file ends with .npy; .mp4 unless said.
        transposed: the files are (D, T).
    """

    extractor: str | None = None
    modality: str | None = None
    hop_s: float | None = None
    start_s: float | None = None
    receptive_field_s: float | None = None
    suffix: str | None = None
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class NpyFolder:
    """A folder, and all that is known of what is in it.

    Attributes:
        folder: the folder.
        files: clip → its file, relative to the folder.
        description: of the extractor; without `dim` if that is to be taken from the files.
        starts_s: clip → when its first row begins, where that is not `start_s`.
        start_s: of the others.
        failures: clips without a file, and why.
        transposed: the files are (D, T).
    """

    folder: Path
    files: dict[str, str]
    description: dict[str, Any]
    starts_s: dict[str, float] = field(default_factory=dict)
    start_s: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)
    transposed: bool = False

    @property
    def clips(self) -> list[str]:
        """All clips, those without a file too, in an order that depends on the names alone."""
        return sorted({*self.files, *self.failures})


@dataclass(slots=True)
class ImportReport:
    """Clips now done, those that were there before, which of either failed, and how many had values past float16's."""

    done: int = 0
    reused: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    clipped: int = 0


def read_source(folder: Path, given: ImportOptions) -> NpyFolder:
    """What is in a folder: from its `export.json` if it has one, which what is given must agree with; else as given.

    Raises:
        AvlocError: if there is nothing to import, or what is given is not enough, wrong, or does not agree.
    """
    if not folder.is_dir():
        raise AvlocError(f"{folder}: no such folder")
    found = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob(f"*{ENDING}") if not path.name.startswith(".")
    )
    if (folder / ABOUT).exists():
        return _exported(folder, found, given)
    if not found:
        raise AvlocError(f"{folder}: has no {ENDING} files")
    suffix = ".mp4" if given.suffix is None else given.suffix
    files = {name.removesuffix(ENDING) + suffix: name for name in found}
    start_s = given.start_s or 0.0
    return NpyFolder(folder, files, _description(given), start_s=start_s, transposed=given.transposed)


def _description(given: ImportOptions) -> dict[str, Any]:
    for option, value in (("extractor", given.extractor), ("modality", given.modality), ("hop", given.hop_s)):
        if value is None:
            raise AvlocError(f"say --{option}: the folder has no {ABOUT} that does")
    hop_s, start_s = float(given.hop_s or 0), float(given.start_s or 0)
    field_s = hop_s if given.receptive_field_s is None else given.receptive_field_s
    if not (0 < hop_s < math.inf and math.isfinite(start_s) and 0 < field_s < math.inf):
        raise AvlocError(f"want a hop and a receptive field above 0 s and a start, got {hop_s}, {field_s}, {start_s}")
    if given.modality not in MODALITIES:
        raise AvlocError(f"modality must be {' or '.join(MODALITIES)}, got {given.modality!r}")
    return {
        "name": _plain(str(given.extractor)), "version": 1, "modality": given.modality, "parameters": {"imported": True},
        "weights_sha256": None, "hop_s": hop_s, "start_offset_s": start_s, "layers": 1, "receptive_field_s": field_s,
    }  # fmt: skip


def _plain(name: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise AvlocError(f"an extractor's name is of letters, digits and _ . + -, got {name!r}")
    return name


def _exported(folder: Path, found: Sequence[str], given: ImportOptions) -> NpyFolder:
    """As its `export.json` says."""
    path = folder / ABOUT
    about = read_json(path, "description of an export")
    if not isinstance(about, dict) or about.get("format_version") != ABOUT_VERSION:
        raise AvlocError(f"{path}: want the description of an export of format version {ABOUT_VERSION}")
    try:
        description, names, suffix = dict(about["extractor"]), dict(about["names"]), str(about["suffix"])
        files = {names.get(name, name.removesuffix(ENDING) + suffix): name for name in found}
        starts = {str(clip): float(start_s) for clip, start_s in about["starts_s"].items()}
        failures = {str(clip): str(why) for clip, why in about["failures"].items() if clip not in files}
        clips, says = int(about["clips"]), _said(description, suffix)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AvlocError(f"{path}: damaged, {error!r}; export again") from error
    _plain(str(description["name"]))
    _check_agreement(path, says, given)
    if len(found) != clips:
        raise AvlocError(f"{folder}: {len(found)} of {clips} files are there, its export is unfinished; run it again")
    return NpyFolder(folder, files, description, starts, failures=failures)


def _said(description: dict[str, Any], suffix: str) -> dict[str, Any]:
    """What an `export.json` says to each option."""
    int(description["dim"])
    return {
        "extractor": description["name"], "modality": description["modality"], "hop": description["hop_s"],
        "start": description.get("start_offset_s", 0.0), "receptive-field": description.get("receptive_field_s"),
        "suffix": suffix,
    }  # fmt: skip


def _check_agreement(path: Path, says: dict[str, Any], given: ImportOptions) -> None:
    options = (given.extractor, given.modality, given.hop_s, given.start_s, given.receptive_field_s, given.suffix)
    for (option, said), value in zip(says.items(), options, strict=True):
        agrees = math.isclose(value, float(said or 0)) if isinstance(value, float) else value in (None, said)
        if not agrees:
            raise AvlocError(f"--{option} {value} does not agree with {path}, which says {said}; leave the option out")
    if given.transposed:
        raise AvlocError(f"--transposed does not agree with {path}: what we export is not; leave the option out")


def import_features(
    source: NpyFolder,
    store: FeatureStore,
    *,
    shard_clips: int | None = None,
    retry_failed: bool = False,
    progress: Callable[[int], object] = lambda clips: None,
) -> ImportReport:
    """Bring a folder's features into a store; shards that are there are kept.

    Args:
        source: the folder.
        store: where to.
        shard_clips: clips per shard at the most; a 16th of the set within bounds unless given.
        retry_failed: make the shards again that have a clip that failed.
        progress: called with the number of clips that are done.

    Raises:
        AvlocError: if none of the files can be used.
        StoreError: if the store holds features made with other settings, or of other files of the same names.
    """
    clips, report = source.clips, ImportReport()
    name = str(source.description["name"])
    description = source.description if "dim" in source.description else {**source.description, "dim": _dim(source)}
    folder = store.prepare(description)
    remove_stale(folder)
    size = shard_clips or layout.shard_size(len(clips))
    found = layout.planned_layout(store, name, clips) or layout.new(store, name, clips, size)
    store.note(name, found.plan())
    report.reused += int(found.skipped().sum())
    if report.reused:
        progress(report.reused)
    for index, shard_name in enumerate(found.names):
        path, part = folder / shard_name, found.clips(index)
        rows = _there(path, source)
        if rows is None or (retry_failed and rows.failures):
            with ShardWriter(path, int(description["dim"]), store.fingerprint(name)) as shard:
                _write(shard, source, part, int(description["dim"]), report, progress)
        else:
            report.reused += len(part)
            report.failures.update(rows.failures)
            progress(len(part))
    return report


def _there(path: Path, source: NpyFolder) -> ShardRows | None:
    """The tables of a shard if there is one, made of the files that are there now, as far as their sizes tell."""
    if not path.exists():
        return None
    rows = checked_rows(path)
    for clip, state, size in zip(rows.files, rows.status, rows.bytes.tolist(), strict=True):
        now = _size(source, clip)
        if state == OK and NO_FILE not in (size, now) and size != now:
            raise StoreError(
                f"{path}: was made of another {source.files[clip]}, of {size} bytes; that in {source.folder} has {now}; "
                "name another store"
            )
    return rows


def _size(source: NpyFolder, clip: str) -> int:
    try:
        return (source.folder / source.files[clip]).stat().st_size
    except (OSError, KeyError):
        return NO_FILE


def _write(
    shard: ShardWriter,
    source: NpyFolder,
    clips: Sequence[str],
    dim: int,
    report: ImportReport,
    progress: Callable[[int], object],
) -> None:
    for clip in clips:
        size = _size(source, clip)
        try:
            if clip not in source.files:
                raise AvlocError(source.failures[clip])
            largest = 0.0
            for piece in _pieces(source, source.files[clip], dim):
                shard.append(piece)
                largest = max(largest, float(np.abs(piece).max(initial=0)))
            shard.end(clip, source.starts_s.get(clip, source.start_s), size)
            report.clipped += largest > LARGEST
        except (AvlocError, OSError, MemoryError) as error:
            shard.fail(clip, str(error), size)
            report.failures[clip] = str(error)
        report.done += 1
        progress(1)


def _pieces(source: NpyFolder, file: str, dim: int) -> Iterator[npt.NDArray[np.floating]]:
    """The rows of a file, some at a time.

    Raises:
        AvlocError: if they cannot be used.
    """
    values = _open(source, file)
    if values.shape[1] != dim:
        swapped = "; is it the other way round (--transposed)?" if values.shape[0] == dim else ""
        raise AvlocError(f"want {dim} numbers per row, got {values.shape[1]}{swapped}")
    size = max(1, PIECE // max(1, dim))
    for begin in range(0, len(values), size):
        piece = np.asarray(values[begin : begin + size])
        if not np.isfinite(piece).all():
            raise AvlocError("has values that are not finite numbers")
        yield piece if piece.dtype.kind == "f" else piece.astype(np.float64)


def _open(source: NpyFolder, file: str) -> npt.NDArray[Any]:
    """A file's values (T, D), still on the disk."""
    path = resolve_inside(source.folder, file)
    try:
        values: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise AvlocError(f"not a .npy file of numbers ({' '.join(str(error).split())})") from error
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise AvlocError(f"want numbers of shape (rows, numbers), got {values.dtype} of shape {values.shape}")
    return values.T if source.transposed else values


def _dim(source: NpyFolder) -> int:
    """Numbers per row of the first file that can be read."""
    first = None
    for file in source.files.values():
        try:
            return int(_open(source, file).shape[1])
        except (AvlocError, OSError) as error:
            first = first or f"{file}: {error}"
    raise AvlocError(f"{source.folder}: none of the {len(source.files)} {ENDING} files can be used; {first}")

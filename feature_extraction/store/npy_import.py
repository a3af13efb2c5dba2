"""A folder of .npy, .npz, .pt or .h5 files, one (T, D) per clip > shards of a store; resumable like an extraction."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import ExtractorDescription
from avloc.core.records import MODALITIES
from avloc.errors import AvlocError, StoreError, one_line
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.layout import new_layout, saved_layout, shard_size, shards_of_other_lists
from avloc.feature_extraction.store.npy_export import EXPORT_FILE, EXPORT_VERSION, SUFFIX
from avloc.feature_extraction.store.shard_tables import NO_FILE, OK, ShardTables, read_tables
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.io.array_files import SUFFIXES, open_array
from avloc.io.files import NoRoomError, read_json, remove_stale, resolve_inside

LONGEST_HOP_S = 10.0  # no features are that coarse: the number is a rate
PIECE_NUMBERS = 1 << 22  # read at once
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """A user's description of a folder of .npy files; None leaves a property to `export.json`, or to its default.

    Attributes:
        extractor: the name of the features in the store.
        modality: `audio` or `visual`.
        hop_s: seconds per row.
        start_s: start of each clip's first row, seconds; default 0.
        receptive_field_s: seconds that a row sees; default: the hop.
        suffix: ending of the clips' names in place of the files' (`strip_suffix`); default .mp4.
        transposed: the files are (D, T).
        strip_suffix: ending of the files' names that is not part of the clips' names, as `/features.npz`; only files with it are
            read. Default: .npy, or if no file has it the one of the other suffixes that all have.
        key: name of the array in files that hold several.
        width: numbers per row; files of (D, T) are told by it.
    """

    extractor: str | None = None
    modality: str | None = None
    hop_s: float | None = None
    start_s: float | None = None
    receptive_field_s: float | None = None
    suffix: str | None = None
    transposed: bool = False
    strip_suffix: str | None = None
    key: str | None = None
    width: int | None = None

    @property
    def layout(self) -> ArrayLayout:
        """The arrangement of the numbers in each file."""
        return ArrayLayout(self.transposed, self.key, self.width)


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """The arrangement of the numbers in each file.

    Attributes:
        transposed: the files are (D, T).
        key: name of the array in files that hold several.
        width: numbers per row, to recognize files of (D, T); None: unknown.
    """

    transposed: bool = False
    key: str | None = None
    width: int | None = None


@dataclass(frozen=True, slots=True)
class NpyFolder:
    """A folder of files with features, fully described.

    Attributes:
        folder: the folder.
        files: clip → its file, relative to the folder.
        description: the extractor's.
        starts_s: clip → start of its first row in seconds, unless `start_s`.
        start_s: start of the other clips.
        failures: clips without a file, with the reasons.
        layout: the arrangement of the numbers in each file.
        problems: clip → its decoding problems, if any.
        gaps: clip → (first, end) pairs of rows for which nothing was decoded, if any.
    """

    folder: Path
    files: dict[str, str]
    description: ExtractorDescription
    starts_s: dict[str, float] = field(default_factory=dict)
    start_s: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)
    layout: ArrayLayout = field(default_factory=ArrayLayout)
    problems: dict[str, list[str]] = field(default_factory=dict)
    gaps: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    @property
    def clips(self) -> list[str]:
        """All clips, also those without a file, in an order that depends on their names alone."""
        return sorted({*self.files, *self.failures})


@dataclass(slots=True)
class ImportReport:
    """The result of an import.

    Attributes:
        done: clips imported now.
        reused: clips that the store already had.
        failures: the clips of both kinds that could not be read, with the reasons.
        clipped: clips imported now with values past ±65,504, the limit of float16.
    """

    done: int = 0
    reused: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    clipped: int = 0


def read_npy_folder(folder: str | Path, options: ImportOptions) -> NpyFolder:
    """Describe a folder by its `export.json` (the options must agree with it), or without one by the options alone.

    Args:
        folder: a folder of files with features, at any depth.
        options: the user's description of it.

    Raises:
        AvlocError: if the folder has nothing to import, or the options are incomplete, wrong, or in contradiction to it.
    """
    folder = Path(folder).expanduser()
    if folder.is_file():
        raise AvlocError(f"{folder}: is a file, want a folder with a file of features per clip")
    if not folder.is_dir():
        raise AvlocError(f"{folder}: no such folder")
    if (folder / EXPORT_FILE).exists():
        return _read_export(folder, options)
    if next(folder.glob("*/store.json"), None) is not None:
        raise AvlocError(f"{folder}: is a feature store of avloc; join it to another with avloc store merge")
    if options.strip_suffix is not None and PurePosixPath(f"x{options.strip_suffix}").suffix not in SUFFIXES:
        raise AvlocError(
            f"--strip-suffix: want an ending of {', '.join(SUFFIXES)}, as /features.npz, got {options.strip_suffix!r}"
        )
    strip = options.strip_suffix or _common_suffix(folder)
    names = _find_files(folder, strip)
    if not names:
        forms = strip if options.strip_suffix is not None else ", ".join(SUFFIXES)
        raise AvlocError(f"{folder}: has no {forms} files")
    _check_options(options)
    suffix = ".mp4" if options.suffix is None else options.suffix
    files = {name.removesuffix(strip) + suffix: name for name in names}
    description = _description(options, _read_dim(folder, list(files.values()), options.layout))
    return NpyFolder(folder, files, description, start_s=options.start_s or 0.0, layout=options.layout)


def _find_files(folder: Path, ending: str) -> list[str]:
    """Return the names of the files with an ending, relative to the folder, sorted."""
    paths = folder.rglob(f"*{PurePosixPath(ending).suffix}")
    names = (path.relative_to(folder).as_posix() for path in paths if not path.name.startswith("."))
    return sorted(name for name in names if name.endswith(ending) and name != ending.lstrip("/"))


def _common_suffix(folder: Path) -> str:
    """Return .npy, or if no file has it the suffix that files of features have here.

    Raises:
        AvlocError: if they have several.
    """
    suffixes = [suffix for suffix in SUFFIXES if next(folder.rglob(f"*{suffix}"), None) is not None]
    if SUFFIX in suffixes or not suffixes:
        return SUFFIX
    if len(suffixes) > 1:
        raise AvlocError(f"{folder}: has files of {', '.join(suffixes)}; name one of these with --strip-suffix")
    return suffixes[0]


def _check_options(options: ImportOptions) -> None:
    """Raise unless the options describe features completely."""
    required = (("extractor", options.extractor), ("modality", options.modality), ("hop", options.hop_s))
    for option, value in required:
        if value is None:
            raise AvlocError(f"--{option} is required, as the folder has no {EXPORT_FILE}")
    hop_s, start_s = float(options.hop_s or 0), float(options.start_s or 0)
    field_s = hop_s if options.receptive_field_s is None else options.receptive_field_s
    if not (0 < hop_s < math.inf and math.isfinite(start_s) and 0 < field_s < math.inf):
        raise AvlocError(
            f"want a hop and a receptive field above 0 s and a finite start, got {hop_s}, {field_s}, {start_s}"
        )
    if hop_s > LONGEST_HOP_S:
        raise AvlocError(
            f"--hop: want the seconds per row, at most {LONGEST_HOP_S:g}, got {hop_s:g}; for {hop_s:g} rows per second say "
            f"{1 / hop_s:g}"
        )
    if options.modality not in MODALITIES:
        raise AvlocError(f"modality must be {' or '.join(MODALITIES)}, got {options.modality!r}")
    if options.width is not None and options.transposed:
        raise AvlocError("--width tells which files are (D, T); leave --transposed out")
    if options.suffix and "." not in options.suffix:
        raise AvlocError(f"--suffix: want an ending with its dot, as .{options.suffix}, got {options.suffix!r}")
    _check_name(str(options.extractor))


def _description(options: ImportOptions, dim: int) -> ExtractorDescription:
    hop_s = float(options.hop_s or 0)
    return ExtractorDescription(
        name=str(options.extractor),
        modality=str(options.modality),
        hop_s=hop_s,
        dim=dim,
        parameters={"imported": True},
        start_offset_s=float(options.start_s or 0),
        receptive_field_s=hop_s if options.receptive_field_s is None else options.receptive_field_s,
    )


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise AvlocError(f"an extractor's name consists of letters, digits and _ . + -, got {name!r}")


def _read_export(folder: Path, options: ImportOptions) -> NpyFolder:
    """Describe a folder by its `export.json`."""
    path = folder / EXPORT_FILE
    document = read_json(path, "description of an export")
    if not isinstance(document, dict) or document.get("format_version") != EXPORT_VERSION:
        raise AvlocError(f"{path}: want the description of an export of format version {EXPORT_VERSION}")
    try:
        description = ExtractorDescription.from_dict(document["extractor"])
        clip_names, suffix = dict(document["names"]), str(document["suffix"])
        file_suffix, key = str(document.get("file_suffix", SUFFIX)), document.get("key")
        names = _find_files(folder, file_suffix)
        files = {clip_names.get(name, name.removesuffix(file_suffix) + suffix): name for name in names}
        starts = {str(clip): float(start_s) for clip, start_s in document["starts_s"].items()}
        failures = {str(clip): str(reason) for clip, reason in document["failures"].items() if clip not in files}
        # Exports of earlier releases have none of these.
        problems = {clip: list(map(str, lines)) for clip, lines in document.get("problems", {}).items()}
        gaps = {clip: [(int(a), int(b)) for a, b in pairs] for clip, pairs in document.get("gaps", {}).items()}
        clips = int(document["clips"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AvlocError(f"{path}: damaged ({type(error).__name__}: {one_line(error)}); export again") from error
    _check_name(description.name)
    _check_agreement(path, description, suffix, options)
    if len(names) != clips:
        raise AvlocError(f"{folder}: has {len(names)} of {clips} files, its export is unfinished; run it again")
    layout = ArrayLayout(key=key if isinstance(key, str) else None)
    return NpyFolder(folder, files, description, starts, failures=failures, layout=layout, problems=problems, gaps=gaps)


def _check_agreement(path: Path, description: ExtractorDescription, suffix: str, options: ImportOptions) -> None:
    """Raise unless the options agree with an `export.json`."""
    expected: tuple[tuple[str, str | float | None, str | float | None], ...] = (
        ("extractor", description.name, options.extractor),
        ("modality", description.modality, options.modality),
        ("hop", description.hop_s, options.hop_s),
        ("first-row", description.start_offset_s, options.start_s),
        ("receptive-field", description.receptive_field_s, options.receptive_field_s),
        ("suffix", suffix, options.suffix),
    )
    for option, exported, value in expected:
        agrees = math.isclose(value, float(exported or 0)) if isinstance(value, float) else value in (None, exported)
        if not agrees:
            raise AvlocError(f"--{option} {value} contradicts {path}, which says {exported}; leave the option out")
    for option, value in (("key", options.key), ("strip-suffix", options.strip_suffix), ("width", options.width)):
        if value is not None:
            raise AvlocError(f"--{option} contradicts {path}, which describes the files; leave the option out")
    if options.transposed:
        raise AvlocError(f"--transposed contradicts {path}: exported files are never transposed; leave the option out")


def import_features(
    source: NpyFolder,
    store: FeatureStore,
    *,
    shard_clips: int | None = None,
    retry_failed: bool = False,
    progress: Callable[[int], object] = lambda clips: None,
) -> ImportReport:
    """Import a folder's features into a store; existing shards are kept.

    Args:
        source: the folder.
        store: the store to write.
        shard_clips: clips per shard, at most; default: a 16th of the set within bounds.
        retry_failed: rewrite the shards that have a failed clip.
        progress: called with the number of clips that are done.

    Raises:
        AvlocError: if none of the files can be used.
        StoreError: if the store holds features made with other settings, or of other files of the same names, or if it had
            shards of another list with some of the clips, which are gone.
    """
    clips, report = source.clips, ImportReport()
    name = source.description.name
    folder = store.prepare(source.description)
    remove_stale(folder)
    size = shard_clips or shard_size(len(clips))
    layout = saved_layout(store, name, clips) or new_layout(store, name, clips, size)
    shards_of_other_lists(store, name, layout)  # raises if they are gone
    store.save_plan(name, layout.plan())
    report.reused += int(layout.skipped().sum())
    if report.reused:
        progress(report.reused)
    fingerprint = store.fingerprint(name)
    for index, shard_name in enumerate(layout.names):
        path, shard_files = folder / shard_name, layout.clips(index)
        tables = _existing_tables(path, source, fingerprint)
        if tables is None or (retry_failed and tables.failures):
            description = source.description
            with ShardWriter(path, description.dim, fingerprint, description.dtype) as shard:
                _write_clips(shard, source, shard_files, report, progress)
        else:
            report.reused += len(shard_files)
            report.failures.update(tables.failures)
            progress(len(shard_files))
    return report


def _existing_tables(path: Path, source: NpyFolder, fingerprint: str) -> ShardTables | None:
    """The tables of a shard; None if it does not exist.

    Raises:
        StoreError: if it was made with other settings, or of other files than the present ones, judged by their sizes.
    """
    if not path.exists():
        return None
    tables = read_tables(path, fingerprint)
    for clip, state, size in zip(tables.files, tables.status, tables.bytes.tolist(), strict=True):
        present = _file_size(source, clip)
        if state == OK and NO_FILE not in (size, present) and size != present:
            raise StoreError(
                f"{path}: was made of another {source.files[clip]}, of {size} bytes; the one in {source.folder} has "
                f"{present}; name another store"
            )
    return tables


def _file_size(source: NpyFolder, clip: str) -> int:
    try:
        return (source.folder / source.files[clip]).stat().st_size
    except (OSError, KeyError):
        return NO_FILE


def _write_clips(
    shard: ShardWriter,
    source: NpyFolder,
    clips: Sequence[str],
    report: ImportReport,
    progress: Callable[[int], object],
) -> None:
    for clip in clips:
        size = _file_size(source, clip)
        try:
            if clip not in source.files:
                raise AvlocError(source.failures[clip])
            largest = 0.0
            for piece in _iter_pieces(source, source.files[clip]):
                shard.append(piece)
                if source.description.dtype == "float16":
                    largest = max(largest, float(np.abs(piece).max(initial=0)))
            shard.end(
                clip,
                source.starts_s.get(clip, source.start_s),
                size,
                problems=source.problems.get(clip, ()),
                gaps=source.gaps.get(clip, ()),
            )
            report.clipped += largest > LARGEST
        except NoRoomError:
            raise
        except (AvlocError, OSError, MemoryError) as error:
            shard.fail(clip, str(error), size)
            report.failures[clip] = str(error)
        report.done += 1
        progress(1)


def _iter_pieces(source: NpyFolder, file: str) -> Iterator[npt.NDArray[Any]]:
    """Yield the rows of a file in pieces.

    Raises:
        AvlocError: if they cannot be used.
    """
    values, dim = _open_values(source.folder, file, source.layout), source.description.dim
    if values.shape[1] != dim:
        hint = "; is the file transposed (--transposed)?" if values.shape[0] == dim else ""
        raise AvlocError(f"want {dim} numbers per row, got {values.shape[1]}{hint}")
    size = max(1, PIECE_NUMBERS // max(1, dim))
    for begin in range(0, len(values), size):
        piece = np.asarray(values[begin : begin + size])
        if not np.isfinite(piece).all():
            raise AvlocError("has values that are not finite numbers")
        is_feature = source.description.dtype == "float16"
        yield piece.astype(np.float64) if is_feature and piece.dtype.kind != "f" else piece


def _open_values(folder: Path, file: str, layout: ArrayLayout) -> npt.NDArray[Any]:
    """Read a file's values (T, D); those of a .npy file are mapped into memory."""
    values = open_array(resolve_inside(folder, file), layout.key)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise AvlocError(f"want numbers of shape (rows, numbers), got {values.dtype} of shape {values.shape}")
    if layout.width is None:
        return values.T if layout.transposed else values
    if layout.width not in values.shape:
        raise AvlocError(f"want {layout.width} numbers per row (--width), got an array of shape {values.shape}")
    return values if values.shape[1] == layout.width else values.T


def _read_dim(folder: Path, files: Sequence[str], layout: ArrayLayout) -> int:
    """The numbers per row: as stated, or those of the first file that can be read."""
    first = None
    for file in files:
        try:
            return int(_open_values(folder, file, layout).shape[1])
        except (AvlocError, OSError) as error:
            first = first or f"{file}: {error}"
    raise AvlocError(f"{folder}: none of the {len(files)} {PurePosixPath(files[0]).suffix} files can be used; {first}")

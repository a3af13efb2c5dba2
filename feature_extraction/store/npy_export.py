"""A store > a folder with one .npy, .npz, .pt or .h5 file (T, D) per clip, as ActionFormer and its relatives read them.

`export.json` beside them holds the information that such a file cannot: the extractor, its clock, the start of each clip, the
clips that could not be read. It is written first, so that its count of clips reveals an unfinished folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.index import name_keys
from avloc.feature_extraction.store.shard_file import open_shard
from avloc.feature_extraction.store.shard_tables import OK, checked_tables, read_tables
from avloc.io.array_files import SUFFIXES, encode_array, open_array
from avloc.io.files import read_json, remove_stale, replacing, resolve_inside, write_json

EXPORT_FILE = "export.json"
EXPORT_VERSION = 1
DTYPES = {
    "float16": ("float32", "float16"),
    "int16": ("int16", "float32"),
    "uint8": ("uint8", "int16", "float32", "float16"),
}
"""Types of the files that keep every value, by the type in the store; the first is the default."""
SUFFIX = ".npy"


class ExportReport(NamedTuple):
    """The number of files written, and of existing files kept."""

    written: int
    kept: int


@dataclass(frozen=True, slots=True)
class ActionFormerSettings:
    """The dataset settings of an ActionFormer configuration that reproduce the clock of exported features.

    Attributes:
        default_fps: frames per second of all clips.
        feat_stride: frames per row.
        num_frames: frames that set the middle of row 0; see `actionformer_settings`.
        receptive_field_frames: frames that a row sees; not a setting of ActionFormer.
        input_dim: numbers per row.
        file_prefix: of the feature files' names.
        file_ext: of the feature files' names.
    """

    default_fps: float
    feat_stride: float
    num_frames: float
    receptive_field_frames: float
    input_dim: int
    file_prefix: str = ""
    file_ext: str = SUFFIX


@dataclass(frozen=True, slots=True)
class ExportDescription:
    """The content of `export.json`.

    Attributes:
        dtype: of the values.
        extractor: its description.
        clips: number of files.
        suffix: ending of most clips' names, replaced by `file_suffix`.
        starts_s: clip → start of its first row in seconds, unless 0.
        names: file → clip, if not given by the suffix.
        failures: clips that could not be read, with the reasons; they have no file.
        problems: clip → its decoding problems, if any.
        gaps: clip → (first, end) pairs of rows for which nothing was decoded, if any.
        file_suffix: ending of the files' names, which tells their form.
        key: name of the array in each file; None: the form's default.
    """

    dtype: str
    extractor: ExtractorDescription
    clips: int
    suffix: str
    starts_s: dict[str, float]
    names: dict[str, str]
    failures: dict[str, str]
    problems: dict[str, tuple[str, ...]]
    gaps: dict[str, tuple[tuple[int, int], ...]]
    file_suffix: str = SUFFIX
    key: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The description as plain values, for JSON."""
        return {
            "format_version": EXPORT_VERSION,
            "dtype": self.dtype,
            "extractor": self.extractor.to_dict(),
            "clips": self.clips,
            "suffix": self.suffix,
            "hop_s": self.extractor.hop_s,
            "starts_s": self.starts_s,
            "names": self.names,
            "failures": self.failures,
            "problems": self.problems,
            "gaps": self.gaps,
            "file_suffix": self.file_suffix,
            "key": self.key,
            "actionformer": asdict(actionformer_settings(self.extractor, self.file_suffix)),
        }


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """An export to write, made by `plan_export` from checked names.

    Attributes:
        store: the store.
        extractor: a name in it.
        out: the folder to write.
        description: the content of its `export.json`.
    """

    store: FeatureStore
    extractor: str
    out: Path
    description: ExportDescription

    @property
    def clips(self) -> int:
        """The number of files to write."""
        return self.description.clips

    @property
    def failures(self) -> int:
        """The number of clips that could not be read and get no file."""
        return len(self.description.failures)


def target_name(file: str, suffix: str = SUFFIX) -> str:
    """The name of a clip's file, relative to the folder.

    >>> target_name("test/000001.mp4"), target_name("a/v1.5 b")
    ('test/000001.npy', 'a/v1.npy')
    >>> target_name("test/000001.mp4", "/features.npz")  # AuViRe's folders
    'test/000001/features.npz'
    """
    return f"{PurePosixPath(file).with_suffix('')}{suffix}"


def plan_export(
    store: FeatureStore,
    extractor: str,
    out: str | Path,
    *,
    dtype: str | None = None,
    suffix: str = SUFFIX,
    key: str | None = None,
    overwrite: bool = False,
) -> ExportPlan:
    """Check an export, without writing anything.

    Args:
        store: the store.
        extractor: a name in it.
        out: the folder to write.
        dtype: of the values; None: `float32`, or the store's own type of whole numbers.
        suffix: ending of the files' names in place of the clips' endings; its own suffix tells the form.
        key: name of the array in each file; None: the form's default, as `encode_array` has it.
        overwrite: accept a folder that holds something else, and rewrite existing files.

    Raises:
        AvlocError: if the type would change values, the form is unknown or has no names, two clips would become one file, a name
            leads out of the folder, or the folder holds something else.
    """
    out = Path(out).expanduser()
    stored = store.describe(extractor).dtype
    dtype = dtype or DTYPES[stored][0]
    if dtype not in DTYPES[stored]:
        raise AvlocError(f"{stored} values can be exported as {' or '.join(DTYPES[stored])}, got {dtype}")
    if out.is_file():
        raise AvlocError(f"{out}: is a file, want a folder")
    _check_form(suffix, key)
    description = replace(_describe_export(store, extractor, out, dtype, suffix), key=key)
    if not overwrite:
        _check_folder(store, extractor, out, description)
    return ExportPlan(store, extractor, out, description)


def _check_form(suffix: str, key: str | None) -> None:
    """Raise unless files of this ending can be written."""
    form = PurePosixPath(f"x{suffix}").suffix
    if form not in SUFFIXES:
        raise AvlocError(
            f"--add-suffix: want an ending of {', '.join(SUFFIXES)}, as .npz or /features.npz, got {suffix!r}"
        )
    encode_array(np.zeros((0, 1), np.float32), form, key)


def run_export(
    plan: ExportPlan, *, overwrite: bool = False, progress: Callable[[int], object] = lambda clips: None
) -> ExportReport:
    """Write the files; existing complete files are kept, unless `overwrite`.

    Args:
        plan: the export.
        overwrite: rewrite existing files.
        progress: called with 1 for each clip.

    Raises:
        StoreError: if the store was changed since the export was planned, so that `export.json` may not fit the files.
    """
    write_json(plan.out / EXPORT_FILE, plan.description.to_dict())
    dtype = np.dtype(plan.description.dtype).newbyteorder("<")
    key = plan.description.key
    written = kept = 0
    cleaned: set[Path] = set()
    for clip in _iter_clips(plan.store, plan.extractor):
        path = plan.out / target_name(clip.file, plan.description.file_suffix)
        if path.parent not in cleaned:
            cleaned.add(path.parent)
            remove_stale(path.parent)
        if not overwrite and _is_complete(path, (clip.end - clip.begin, clip.values.shape[1]), dtype, key):
            kept += 1
        else:
            content = encode_array(clip.values[clip.begin : clip.end].astype(dtype), path.suffix, key)
            with replacing(path, len(content)) as temporary:
                temporary.write_bytes(content)
            written += 1
        progress(1)
    _check_unchanged(plan)
    return ExportReport(written, kept)


def _check_unchanged(plan: ExportPlan) -> None:
    """Raise unless `export.json`, which was written first, still describes the store."""
    planned = plan.description
    description = _describe_export(plan.store, plan.extractor, plan.out, planned.dtype, planned.file_suffix)
    if replace(description, key=planned.key) != planned:
        raise StoreError(
            f"{plan.store.root / plan.extractor}: changed while it was exported; run the same export again"
        )


class _StoredClip(NamedTuple):
    """A clip in an open shard: its rows are `values[begin:end]`."""

    file: str
    begin: int
    end: int
    values: Any


def _iter_clips(store: FeatureStore, extractor: str) -> Iterator[_StoredClip]:
    """Yield the clips that have features; each shard stays open until the next one's first clip."""
    for path in store.shards(extractor):
        with open_shard(path) as shard:
            tables = checked_tables(path, shard)
            for k, (file, state) in enumerate(zip(tables.files, tables.status, strict=True)):
                if state == OK:
                    begin, end = tables.offsets[k : k + 2].tolist()
                    yield _StoredClip(file, begin, end, shard["values"])


def _is_complete(path: Path, shape: tuple[int, int], dtype: np.dtype[Any], key: str | None) -> bool:
    """Tell whether a file holds an array of this shape and type: for .npy from its header and size."""
    if not path.is_file():
        return False
    try:
        array = open_array(path, key)
    except (AvlocError, OSError):
        return False
    return array.shape == shape and array.dtype == dtype and not (array.flags.f_contiguous and shape[0] > 1 < shape[1])


@dataclass(slots=True)
class _NameHashes:
    """Hashes of the clips' names, and of the names of their files."""

    targets: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    clips: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])

    def add(self, files: list[str]) -> None:
        self.targets.append(name_keys(map(target_name, files)))
        self.clips.append(name_keys(files))

    def collision(self) -> int | None:
        """The hash of a file that two clips would become."""
        targets, clips = np.concatenate(self.targets), np.concatenate(self.clips)
        order = np.lexsort((clips, targets))
        targets, clips = targets[order], clips[order]
        collisions = np.flatnonzero((targets[1:] == targets[:-1]) & (clips[1:] != clips[:-1]))
        return int(targets[collisions[0]]) if len(collisions) else None

    def count(self) -> int:
        """The number of distinct files."""
        return len(np.unique(np.concatenate(self.targets)))


def _describe_export(store: FeatureStore, extractor: str, out: Path, dtype: str, file_suffix: str) -> ExportDescription:
    """Collect the content of `export.json`; only exceptions from the common rule are listed by name."""
    description, fingerprint = store.describe(extractor), store.fingerprint(extractor)
    hashes, suffix = _NameHashes(), None
    exceptions: dict[str, str] = {}
    starts: dict[str, float] = {}
    problems: dict[str, tuple[str, ...]] = {}
    gaps: dict[str, tuple[tuple[int, int], ...]] = {}
    for path in store.shards(extractor):
        tables = read_tables(path, fingerprint)
        entries = [k for k, state in enumerate(tables.status) if state == OK]
        hashes.add([tables.files[k] for k in entries])
        for k in entries:
            file = tables.files[k]
            target = target_name(file, file_suffix)
            resolve_inside(out, target)
            ending = PurePosixPath(file).suffix
            suffix = ending if suffix is None else suffix
            if target.removesuffix(file_suffix) + suffix != file:
                exceptions[target] = file
            if tables.starts[k] != 0:
                starts[file] = float(tables.starts[k])
            if tables.problems[k]:
                problems[file] = tables.problems[k]
        gaps |= {tables.files[k]: tables.gaps_of(k) for k in np.unique(tables.gaps[:, 0]).tolist()}
    key = hashes.collision()
    if key is not None:
        first, second = _colliding_clips(store, extractor, key)
        file_path = out / target_name(first, file_suffix)
        raise AvlocError(f"{first} and {second} would both become {file_path}; rename one of them")
    return ExportDescription(
        dtype=dtype,
        extractor=description,
        clips=hashes.count(),
        suffix=suffix or "",
        starts_s=starts,
        names=exceptions,
        failures=store.failures(extractor),
        problems=problems,
        gaps=gaps,
        file_suffix=file_suffix,
    )


def _colliding_clips(store: FeatureStore, extractor: str, key: int) -> list[str]:
    """Two clips whose files have this hash."""
    names: dict[str, None] = {}
    for path in store.shards(extractor):
        files = read_tables(path).files
        entries = np.flatnonzero(name_keys(map(target_name, files)) == key)
        names.update(dict.fromkeys(files[k] for k in entries))
    return list(names)[:2]


def actionformer_settings(description: ExtractorDescription, file_suffix: str = SUFFIX) -> ActionFormerSettings:
    """Convert an extractor's clock to the settings of an ActionFormer configuration.

    ActionFormer puts the middle of row k at `(k · feat_stride + num_frames / 2) / fps`; here it is `start + (k + ½) · hop`.
    `num_frames` follows from the two. It equals the receptive field where that begins with the stream, as in features of
    unpadded windows.

    >>> mel = ExtractorDescription("logmel", "audio", hop_s=0.04, dim=64, start_offset_s=0.08)
    >>> settings = actionformer_settings(mel)
    >>> settings.feat_stride, settings.num_frames  # the middle of row 0 is 2.5 / 25 = 0.1 s
    (1.0, 5.0)
    """
    hop_s, start_s = description.hop_s, description.start_offset_s
    field_s = hop_s if description.receptive_field_s is None else description.receptive_field_s
    return ActionFormerSettings(
        default_fps=DEFAULT_FPS,
        feat_stride=round(hop_s * DEFAULT_FPS, 9),
        num_frames=round((2 * start_s + hop_s) * DEFAULT_FPS, 9),
        receptive_field_frames=round(field_s * DEFAULT_FPS, 9),
        input_dim=description.dim,
        file_ext=file_suffix,
    )


def _check_folder(store: FeatureStore, extractor: str, out: Path, description: ExportDescription) -> None:
    """Raise if the folder holds another export, or unrelated files under our names."""
    if (out / EXPORT_FILE).exists():
        existing = read_json(out / EXPORT_FILE, "description of an export")
        expected = description.to_dict()
        earlier = {"file_suffix": SUFFIX, "key": None}  # releases that wrote .npy files only have neither
        for key in ("format_version", "dtype", "extractor", *earlier):
            if not isinstance(existing, dict) or {**earlier, **existing}.get(key) != expected[key]:
                raise AvlocError(f"{out}: holds another export, its {key} differs from this one's; name another folder")
        return
    if not out.exists():
        return
    for path in store.shards(extractor):
        for file in read_tables(path).files:
            target = target_name(file, description.file_suffix)
            if (out / target).exists():
                raise AvlocError(
                    f"{out}: holds {target}, but no {EXPORT_FILE} that describes it; name another folder, or "
                    "overwrite it with --overwrite"
                )

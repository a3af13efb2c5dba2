"""A store > a folder with a .npy file (T, D) per clip, as ActionFormer, UMMAFormer and their kin read them.

`export.json` beside them says what a .npy cannot: the extractor, its clock, when clips start, which could not be read. It is
written first, so that a folder that was left unfinished is told by its count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.feature_extraction.store.feature_store import FeatureStore, name_keys
from avloc.feature_extraction.store.shards import OK
from avloc.feature_extraction.store.verify import checked_rows
from avloc.io.files import read_json, remove_stale, replacing, resolve_inside, write_json

ABOUT = "export.json"
ABOUT_VERSION = 1
DTYPES = ("float32", "float16")
ENDING = ".npy"


class ExportReport(NamedTuple):
    """Files written, and those that were there before."""

    written: int
    kept: int


@dataclass(slots=True)
class Export:
    """What is to be written: made by `plan_export`, which has looked at all names."""

    store: FeatureStore
    extractor: str
    out: Path
    about: dict[str, Any]

    @property
    def clips(self) -> int:
        """How many files there will be."""
        return int(self.about["clips"])

    @property
    def failures(self) -> int:
        """How many clips could not be read and get no file."""
        return len(self.about["failures"])


def target_name(file: str) -> str:
    """Where a clip's features go, relative to the folder.

    >>> target_name("test/000001.mp4"), target_name("a/v1.5 b")
    ('test/000001.npy', 'a/v1.npy')
    """
    return str(PurePosixPath(file).with_suffix(ENDING))


def plan_export(
    store: FeatureStore, extractor: str, out: Path, *, dtype: str = "float32", overwrite: bool = False
) -> Export:
    """Look at all that is to be written; nothing is written yet.

    Args:
        store: the store.
        extractor: a name in it.
        out: the folder.
        dtype: of the values, `float32` or `float16`; a store's are float16.
        overwrite: take a folder that holds something else, and write files again that are there.

    Raises:
        AvlocError: if two clips would become one file, a name leads out of the folder, or the folder holds something else.
    """
    if dtype not in DTYPES:
        raise AvlocError(f"values can be exported as {' or '.join(DTYPES)}, got {dtype}")
    if out.is_file():
        raise AvlocError(f"{out}: is a file, want a folder")
    about = _survey(store, extractor, out)
    about = {"format_version": ABOUT_VERSION, "dtype": dtype, **about}
    if not overwrite:
        _check_folder(store, extractor, out, about)
    return Export(store, extractor, out, about)


def run_export(
    plan: Export, *, overwrite: bool = False, progress: Callable[[int], object] = lambda clips: None
) -> ExportReport:
    """Write the files; those that are there as a whole are kept, unless `overwrite`.

    Args:
        plan: what to write.
        overwrite: write all of them.
        progress: called with 1 for each clip.
    """
    write_json(plan.out / ABOUT, plan.about)
    dtype = np.dtype(plan.about["dtype"]).newbyteorder("<")
    written = kept = 0
    cleaned: set[Path] = set()
    for clip in _clips(plan.store, plan.extractor):
        path = plan.out / target_name(clip.file)
        if path.parent not in cleaned:
            cleaned.add(path.parent)
            remove_stale(path.parent)
        if not overwrite and _is_whole(path, (clip.end - clip.begin, clip.values.shape[1]), dtype):
            kept += 1
        else:
            with replacing(path) as temporary:
                np.save(temporary, clip.values[clip.begin : clip.end].astype(dtype), allow_pickle=False)
            written += 1
        progress(1)
    return ExportReport(written, kept)


class _Clip(NamedTuple):
    file: str
    begin: int
    end: int
    values: Any


def _clips(store: FeatureStore, extractor: str) -> Iterator[_Clip]:
    """The clips that have features, with the values of their shard, which is open until the next one's."""
    import h5py

    for path in store.shards(extractor):
        rows = checked_rows(path)
        with h5py.File(path, "r") as shard:
            for k, (file, state) in enumerate(zip(rows.files, rows.status, strict=True)):
                if state == OK:
                    begin, end = rows.offsets[k : k + 2].tolist()
                    yield _Clip(file, begin, end, shard["values"])


def _is_whole(path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> bool:
    """Whether a file holds an array of this shape and type, from its header and size."""
    try:
        there = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return False
    return there.shape == shape and there.dtype == dtype and not (there.flags.f_contiguous and shape[0] > 1 < shape[1])


@dataclass(slots=True)
class _Names:
    """Hashes of the files that clips become, and of the clips."""

    targets: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    clips: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])

    def add(self, files: list[str]) -> None:
        self.targets.append(name_keys(map(target_name, files)))
        self.clips.append(name_keys(files))

    def colliding(self) -> int | None:
        """The hash of a file that two clips would become."""
        targets, clips = np.concatenate(self.targets), np.concatenate(self.clips)
        order = np.lexsort((clips, targets))
        targets, clips = targets[order], clips[order]
        bad = np.flatnonzero((targets[1:] == targets[:-1]) & (clips[1:] != clips[:-1]))
        return int(targets[bad[0]]) if len(bad) else None


def _survey(store: FeatureStore, extractor: str, out: Path) -> dict[str, Any]:
    """What `export.json` says; only what is not as for most clips is listed by name."""
    description = store.describe(extractor)
    description.pop("format_version")
    names, suffix = _Names(), None
    others: dict[str, str] = {}
    starts: dict[str, float] = {}
    for path in store.shards(extractor):
        rows = checked_rows(path)
        there = [k for k, state in enumerate(rows.status) if state == OK]
        names.add([rows.files[k] for k in there])
        for k in there:
            file = rows.files[k]
            resolve_inside(out, target_name(file))
            ending = PurePosixPath(file).suffix
            suffix = ending if suffix is None else suffix
            if target_name(file).removesuffix(ENDING) + suffix != file:
                others[target_name(file)] = file
            if rows.starts[k] != 0:
                starts[file] = float(rows.starts[k])
    key = names.colliding()
    if key is not None:
        first, second = _two_with(store, extractor, key)
        raise AvlocError(f"{first} and {second} would both become {out / target_name(first)}; rename one of them")
    clips = len(np.unique(np.concatenate(names.targets)))
    return {
        "extractor": description, "clips": clips, "suffix": suffix or "", "hop_s": description["hop_s"],
        "starts_s": starts, "names": others, "failures": store.failures(extractor),
        "actionformer": actionformer(description),
    }  # fmt: skip


def _two_with(store: FeatureStore, extractor: str, key: int) -> list[str]:
    found: dict[str, None] = {}
    for path in store.shards(extractor):
        files = checked_rows(path).files
        hits = np.flatnonzero(name_keys(map(target_name, files)) == key)
        found.update(dict.fromkeys(files[k] for k in hits))
    return list(found)[:2]


def actionformer(description: dict[str, Any]) -> dict[str, Any]:
    """What a configuration in the manner of ActionFormer's is to say, so that its clock is ours.

    There the middle of row k is `(k · feat_stride + num_frames / 2) / fps`; here it is `start + (k + ½) · hop`. So `num_frames`
    follows from the two. It is the receptive field where that begins with the stream, as in features of unpadded windows.
    """
    hop_s, start_s = float(description["hop_s"]), float(description.get("start_offset_s", 0.0))
    field_s = float(description.get("receptive_field_s", hop_s))
    return {
        "default_fps": DEFAULT_FPS, "feat_stride": round(hop_s * DEFAULT_FPS, 9),
        "num_frames": round((2 * start_s + hop_s) * DEFAULT_FPS, 9), "receptive_field_frames": round(field_s * DEFAULT_FPS, 9),
        "input_dim": int(description["dim"]), "file_prefix": "", "file_ext": ENDING,
    }  # fmt: skip


def _check_folder(store: FeatureStore, extractor: str, out: Path, about: dict[str, Any]) -> None:
    """Raise unless the folder holds nothing of another kind under our names."""
    if (out / ABOUT).exists():
        there = read_json(out / ABOUT, "description of an export")
        for key in ("format_version", "dtype", "extractor"):
            if not isinstance(there, dict) or there.get(key) != about[key]:
                raise AvlocError(f"{out}: holds another export, its {key} is not this one's; name another folder")
        return
    if not out.exists():
        return
    for path in store.shards(extractor):
        for file in checked_rows(path).files:
            if (out / target_name(file)).exists():
                raise AvlocError(
                    f"{out}: holds {target_name(file)}, but no {ABOUT} that says what it is; name another folder, or "
                    "write over it with --overwrite"
                )

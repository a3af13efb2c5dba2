"""The file of raw rows: parts of a split in groups of an HDF5 file > clips with their candidates, one part at a time.

```
attributes  schema, settings (JSON: network, decoding, keep, dataset, split, …)
00000/      names (JSON as bytes), windows [V], shares [V]        of each clip; a clip that failed has no windows
            end_s [W], inner_s [W, 2], step_score [W], counts [W, G]    of each window
            segments [R, 2], modality_scores [R, M], end_probabilities [R, 2]    of each row
```

Legend: V clips, W windows, G branches of points, R rows of all windows, M modalities.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from avloc.errors import AvlocError, one_line
from avloc.heads.candidates import ClipCandidates, PointCandidates, PointDecoding
from avloc.inference.raw.windows import RawClip, RawWindow
from avloc.io.files import check_schema

if TYPE_CHECKING:
    import numpy.typing as npt

SCHEMA = "avloc.raw/1"
VALIDATION_NAMES = ("val", "valid", "validation", "dev")
TEST_NAMES = ("test", "eval")  # first letters of the names of test splits
ROW_ARRAYS = ("segments", "modality_scores", "end_probabilities")
ARRAYS = ("names", "windows", "shares", "end_s", "inner_s", "step_score", "counts", *ROW_ARRAYS)
Arrays = Mapping[str, "npt.NDArray[Any]"]
Value = TypeVar("Value")


class NamedClip(NamedTuple):
    """A clip of the file.

    Attributes:
        file: its name in prediction files.
        clip: its candidates; None if it failed.
    """

    file: str
    clip: RawClip | None


@dataclass(frozen=True, slots=True)
class RawSettings:
    """The run that made raw rows.

    Attributes:
        decoding: the checkpoint's own settings.
        keep: number of rows per 40 s that the run would have kept.
        network: hash of the network's weights.
        dataset: the dataset's layout.
        split: the split.
        validation: the dataset's validation split; empty if it has none.
    """

    decoding: PointDecoding
    keep: int
    network: str
    dataset: str
    split: str
    validation: str

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON."""
        return dataclasses.asdict(self)


def is_validation(split: str, validation: str) -> bool:
    """Tell whether settings may be tuned on a split: the dataset's validation split, or one that is named so, but no test split.

    >>> is_validation("dev", "val"), is_validation("testA", "val"), is_validation("test", "test")
    (True, False, False)
    """
    name = split.lower()
    return name != "" and not name.startswith(TEST_NAMES) and (split == validation or name in VALIDATION_NAMES)


def pack_clips(clips: Sequence[NamedClip]) -> bytes:
    """Pack a part's clips into the bytes that `RawWriter.add` takes."""
    windows = [window for each in clips if each.clip is not None for window in each.clip.windows]
    branches = [branch for window in windows for branch in window.candidates.branches]
    groups = len(windows[0].candidates.branches) if windows else 1
    arrays: dict[str, npt.NDArray[Any]] = {
        "names": np.frombuffer(json.dumps([each.file for each in clips]).encode(), dtype=np.uint8),
        "windows": np.array([0 if each.clip is None else len(each.clip.windows) for each in clips], dtype=np.int64),
        "shares": np.array([1 if each.clip is None else each.clip.shares for each in clips], dtype=np.int64),
        "end_s": np.array([window.end_s for window in windows], dtype=np.float64),
        "inner_s": np.array([window.inner_s for window in windows], dtype=np.float64).reshape(-1, 2),
        "step_score": np.array([window.candidates.step_score for window in windows], dtype=np.float64),
        "counts": np.array([len(branch) for branch in branches], dtype=np.int64).reshape(-1, groups),
    }
    for name in ROW_ARRAYS:
        columns = [getattr(branch, name) for branch in branches]
        arrays[name] = np.concatenate(columns) if columns else np.zeros((0, 2))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def write_raw(path: Path, parts: Iterable[IO[bytes]], settings: RawSettings) -> None:
    """Write the file from packed parts, one at a time.

    Args:
        path: the file.
        parts: each positioned at the first byte of `pack_clips`'s output.
        settings: of the run.

    Raises:
        OSError: if the disk does not accept it.
    """
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["settings"] = json.dumps(settings.to_dict())
        for number, part in enumerate(parts):
            with np.load(io.BytesIO(part.read())) as arrays:
                group = file.create_group(_group_name(number))
                for name in ARRAYS:
                    options = (
                        {"compression": "gzip", "compression_opts": 1, "shuffle": True} if arrays[name].size else {}
                    )
                    group.create_dataset(name, data=arrays[name], **options)


class RawFile:
    """A file of raw rows. Clips are read one part at a time, so memory does not grow with the split.

    Args:
        path: the file; `~` is expanded.

    Attributes:
        path: the file.
        settings: of the run that made it.
        parts: number of parts.

    Raises:
        AvlocError: if the file is missing, damaged, or holds no raw rows.
    """

    def __init__(self, path: str | Path) -> None:
        import h5py

        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise AvlocError(f"{self.path}: no such file of raw rows; avloc predict --raw writes one")
        try:
            with h5py.File(self.path, "r") as file:
                schema, text, self.parts = file.attrs.get("schema"), file.attrs.get("settings"), len(file)
        except OSError as error:
            raise AvlocError(f"{self.path}: not a file of raw rows, as avloc predict --raw writes it") from error
        check_schema({"schema": schema}, self.path, SCHEMA, "raw rows", "run avloc predict --raw again")
        self.settings = _read_settings(self.path, text)

    def __iter__(self) -> Iterator[NamedClip]:
        """Yield the clips in the split's order.

        Raises:
            AvlocError: if the file is damaged.
        """
        for number in range(self.parts):
            yield from self.part(number)

    def part(self, number: int) -> list[NamedClip]:
        """Read the clips of a part.

        Raises:
            AvlocError: if the file is damaged.
        """
        return self._read(number, ARRAYS, lambda arrays: list(_unpack(arrays)))

    def files(self) -> list[str]:
        """Read the names of the clips.

        Raises:
            AvlocError: if the file is damaged.
        """
        return [name for number in range(self.parts) for name in self._read(number, ("names",), _unpack_names)]

    def _read(self, number: int, names: Sequence[str], unpack: Callable[[Arrays], list[Value]]) -> list[Value]:
        """Read the named arrays of a part."""
        import h5py

        try:
            with h5py.File(self.path, "r") as file:
                group = file[_group_name(number)]
                return unpack({name: group[name][()] for name in names})
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise AvlocError(
                f"{self.path}: damaged raw rows ({one_line(error)}); run avloc predict --raw again"
            ) from error


def _group_name(part: int) -> str:
    return f"{part:05d}"


def _unpack_names(arrays: Arrays) -> list[str]:
    return [str(name) for name in json.loads(arrays["names"].tobytes())]


def _read_settings(path: Path, text: object) -> RawSettings:
    try:
        values = json.loads(cast(str, text))
        values["decoding"] = PointDecoding.from_dict(values["decoding"])
        return RawSettings(**values)
    except (ValueError, TypeError, KeyError, AvlocError) as error:
        raise AvlocError(
            f"{path}: damaged settings of raw rows ({one_line(error)}); run avloc predict --raw again"
        ) from error


def _unpack(arrays: Arrays) -> Iterator[NamedClip]:
    """Yield the clips of a part."""
    offsets = np.concatenate([[0], np.cumsum(arrays["counts"])])
    groups = arrays["counts"].shape[1]

    def window_at(w: int) -> RawWindow:
        branches = []
        for row in range(w * groups, (w + 1) * groups):
            part = slice(offsets[row], offsets[row + 1])
            branches.append(PointCandidates(*(arrays[name][part] for name in ROW_ARRAYS)))
        candidates = ClipCandidates(tuple(branches), float(arrays["step_score"][w]))
        low, high = arrays["inner_s"][w].tolist()
        return RawWindow(candidates, float(arrays["end_s"][w]), (low, high))

    first = 0
    names = _unpack_names(arrays)
    for file, count, shares in zip(names, arrays["windows"].tolist(), arrays["shares"].tolist(), strict=True):
        windows = tuple(window_at(w) for w in range(first, first + count))
        yield NamedClip(file, RawClip(windows, shares) if windows else None)
        first += count

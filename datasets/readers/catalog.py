"""A dataset's name > its reader > records. The command line lists the names of `DATASETS`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np

from avloc.core.records import MODALITIES, VideoRecord, split_names
from avloc.core.suggestions import did_you_mean
from avloc.datasets.readers import tabular
from avloc.datasets.readers.avdeepfake1m import ONE_M, PLUS_PLUS, AVDeepfake1M
from avloc.datasets.readers.lavdf import LAVDF
from avloc.datasets.readers.partialspoof import PartialSpoof
from avloc.datasets.readers.reader import DatasetReader, build_reader
from avloc.datasets.readers.rttm import Rttm
from avloc.datasets.readers.table import RecordTable
from avloc.datasets.readers.text_labels import HalfTruth, LlamaPartialSpoof
from avloc.errors import AvlocError, one_line
from avloc.io.imports import import_dotted

PLUGIN_GROUP = "avloc.datasets"
"""The entry-point group whose names are datasets too; a built-in name comes first."""

DATASETS: dict[str, DatasetReader] = {
    "lavdf": LAVDF(),
    "avdeepfake1m": AVDeepfake1M(ONE_M),
    "avdeepfake1m++": AVDeepfake1M(PLUS_PLUS),
    "partialspoof": PartialSpoof(),
    "halftruth": HalfTruth(),
    "llamapartialspoof": LlamaPartialSpoof(),
    "rttm": Rttm(),
    "folder": tabular.MediaFolder(),
    "csv": tabular.MetadataFile("metadata.csv"),
    "json": tabular.MetadataFile("metadata.json"),
}


def get_reader(dataset: str | DatasetReader | type[DatasetReader]) -> DatasetReader:
    """Return a dataset's reader.

    Args:
        dataset: a name of `DATASETS`, the name of an installed plug-in (entry-point group `avloc.datasets`), or the
            dotted path of a reader's class or instance, like `my_package.MyDataset`. A module of the current folder
            can be named too. Or a reader's class or instance itself.

    Raises:
        AvlocError: if the name is unknown, the import fails, or the object does not fulfil `DatasetReader`.

    >>> get_reader("lavdf").validation
    'dev'
    """
    if isinstance(dataset, type):
        return _build_class(dataset)
    if not isinstance(dataset, str):
        return build_reader(dataset, type(dataset).__qualname__)
    return DATASETS[dataset] if dataset in DATASETS else _load_reader(dataset)


@cache  # `public_name` asks once per clip
def _build_class(dataset: type[DatasetReader]) -> DatasetReader:
    return build_reader(dataset, dataset.__qualname__)


@cache  # `public_name` asks once per clip
def _load_reader(dataset: str) -> DatasetReader:
    plugins = {plugin.name: plugin for plugin in entry_points(group=PLUGIN_GROUP)}
    if dataset in plugins:
        return build_reader(_load_plugin(plugins[dataset]), dataset)
    if "." in dataset:
        return build_reader(import_dotted(dataset, "a dataset reader"), dataset)
    names = [*DATASETS, *(name for name in plugins if name not in DATASETS)]
    raise AvlocError(
        f"unknown dataset {dataset!r}{did_you_mean(dataset, names)}, there are: {', '.join(names)}; or name a class, like "
        "my_package.MyDataset"
    )


def _load_plugin(plugin: EntryPoint) -> object:
    try:
        return plugin.load()
    except Exception as error:  # the plug-in is the user's code, which may raise anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise AvlocError(
            f"the installed dataset {plugin.name!r} ({plugin.value}) cannot be loaded ({reason})"
        ) from error


def read_records(
    dataset: str | DatasetReader | type[DatasetReader], root: str | Path, split: str | None = None
) -> RecordTable:
    r"""Read the records of a dataset's split, or of all splits.

    Args:
        dataset: as in `get_reader`.
        root: the dataset's folder; `~` is expanded.
        split: a split's name; None reads all splits. `val` and `dev` are one, and so are `test` and `eval`.

    Raises:
        AvlocError: if the dataset, the folder or the split does not exist, or the metadata are malformed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     _ = Path(root, "metadata.csv").write_text("file,start,end,modality\na.mp4,1.0,1.5,audio\nb.mp4,,,\n")
    ...     [(record.file, record.modality) for record in read_records("csv", root)]
    [('a.mp4', 'audio'), ('b.mp4', 'real')]
    """
    root = Path(root).expanduser()
    if not root.is_dir():  # checked first: importing a reader's class may take seconds
        raise AvlocError(f"{root}: no such folder")
    reader = get_reader(dataset)
    name = dataset if isinstance(dataset, str) else getattr(dataset, "__qualname__", type(dataset).__qualname__)
    if split == reader.validation == "":
        raise AvlocError(
            f"{name} has no validation split; name the split: --data.val_split in training, --split elsewhere"
        )
    table = reader.records(root, split and _known_split(split, reader.splits, name))
    if not isinstance(table, RecordTable):
        raise AvlocError(
            f"{name}: records() must return a RecordTable, got {type(table).__name__}; collect with TableBuilder"
        )
    if not len(table):
        place = f"the split {split!r}" if split else "any split"
        hint = f"; want files that end with {', '.join(sorted(tabular.SUFFIXES))}" if name == "folder" else ""
        raise AvlocError(f"{root}: no clips in {place}, read as {name}{hint}")
    _check_unique(table, root)
    return table


def _known_split(split: str, splits: Sequence[str], dataset: str) -> str:
    """Return the reader's own name of a split; `test` may be `eval` there.

    Raises:
        AvlocError: if the reader lists its splits, and this is none of them.
    """
    if not splits or split in splits:
        return split
    for name in (*split_names(split), *(("eval",) if split == "test" else ())):
        if name in splits:
            return name
    raise AvlocError(f"{dataset} has the splits {', '.join(splits)}, got {split!r}{did_you_mean(split, splits)}")


def _check_unique(table: RecordTable, root: Path) -> None:
    hashes = np.fromiter((hash(file) for file in table.files), dtype=np.int64, count=len(table))
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    for k in same.tolist():
        first, second = table.files[int(order[k])], table.files[int(order[k + 1])]
        if first == second:
            raise AvlocError(f"{root}: the clip {first} is in the metadata twice")


def public_name(dataset: str | DatasetReader | type[DatasetReader], record: VideoRecord) -> str:
    """Return the clip's name in the dataset's metadata and in predictions: AV-Deepfake1M's leave out the split.

    >>> public_name("avdeepfake1m", VideoRecord("val/id1/real.mp4", "val"))
    'id1/real.mp4'
    """
    return get_reader(dataset).public_name(record)


def dataset_modalities(dataset: str | DatasetReader | type[DatasetReader]) -> tuple[str, ...]:
    """Return the modalities that the clips of a dataset have: a reader's `modalities`, both by default.

    >>> dataset_modalities("partialspoof"), dataset_modalities("lavdf")
    (('audio',), ('audio', 'visual'))
    """
    return tuple(getattr(get_reader(dataset), "modalities", MODALITIES))

"""Results of other machines: runs and predictions of the same corpus, kept in a small folder, from which all tables are drawn.

A comparison takes more hours than one machine may have. The corpus comes out the same everywhere, so its runs can be trained
here and there. The folder is laid out as that of a benchmark, without its media, features and weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from avloc.errors import AvlocError
from avloc.io.files import copy_file, read_json, write_json

MARKER = Path("clips", "corpus.json")
LABELS = (MARKER, Path("clips", "val_metadata.json"), Path("clips", "truth", "test_metadata.json"))
DETAILS = Path("clips", "details.json")
SPLITS = ("val", "test")
RESULTS = ("runs/*/*.json", "predictions/*/*/*.npz")
"""The files that a table is drawn from, of which each name tells the settings of its run."""


def exchange(folder: Path, kept: Path) -> tuple[int, int]:
    """Give two folders of a corpus the results of each other; existing files stay.

    Args:
        folder: of the benchmark, with its corpus.
        kept: folder of the kept results; it is made, if it does not exist.

    Returns:
        The number of results that `folder` got, and that `kept` got.

    Raises:
        AvlocError: if the kept results are those of another corpus.
    """
    if (kept / MARKER).is_file():
        ours, theirs = (read_json(each / MARKER, "marker of the set") for each in (folder, kept))
        if ours != theirs:
            different = ", ".join(sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)))
            raise AvlocError(
                f"{kept}: want results of the corpus in {folder}, got those of one with another {different}; take another folder"
            )
    got = _copy(_results(kept), kept, folder)
    gave = _copy(_results(folder), folder, kept)
    _copy(LABELS, folder, kept)
    if not (kept / DETAILS).exists():
        details = read_json(folder / DETAILS, "details of the benchmark's set")
        write_json(kept / DETAILS, {file: each for file, each in details.items() if file.partition("/")[0] in SPLITS})
    return got, gave


def _results(folder: Path) -> list[Path]:
    """List the results of a folder, the predictions of a run before the file that says that it is finished."""
    return [path.relative_to(folder) for pattern in reversed(RESULTS) for path in sorted(folder.glob(pattern))]


def _copy(names: Iterable[Path], source: Path, target: Path) -> int:
    count = 0
    for name in names:
        if not (target / name).exists():
            copy_file(source / name, target / name)
            count += 1
    return count

"""Several sets of the benchmark > one set in AV-Deepfake1M's layout, by hard links: the clips take no room twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError
from avloc.io.files import copy_file, read_json, write_json, write_text

MARKER, DETAILS = "corpus.json", "details.json"
METADATA = ("train_metadata.json", "val_metadata.json", "truth/test_metadata.json")
TEST_FILES = "test_files.txt"


def join(sets: Sequence[Path], out: Path) -> Path:
    """Join sets whose clips have different names; what exists is kept.

    The marker of the joined set is that of the first one, with those of the others.

    Args:
        sets: their folders, complete.
        out: folder of the joined set.

    Raises:
        AvlocError: if a set is not complete, two have a clip of the same name, or `out` holds another set.
    """
    markers = [read_json(root / MARKER, "marker of the benchmark's set") for root in sets]
    marker = {**markers[0], "joined": markers[1:]}
    if (out / MARKER).is_file() and read_json(out / MARKER, "marker of the joined set") != marker:
        raise AvlocError(f"{out}: joins other sets; remove the folder")
    details: dict[str, Any] = {}
    for root in sets:
        added = read_json(root / DETAILS, "details of the benchmark's set")
        if twice := details.keys() & added.keys():
            raise AvlocError(f"{root}: a set before it has the clip {min(twice)} too")
        details |= added
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_file() and name not in (MARKER, DETAILS, TEST_FILES, *METADATA):
                link(path, out / name)
    for name in METADATA:
        write_json(out / name, [entry for root in sets for entry in read_json(root / name, "metadata file")])
    write_text(out / TEST_FILES, "".join((root / TEST_FILES).read_text(encoding="utf-8") for root in sets))
    write_json(out / DETAILS, details)
    write_json(out / MARKER, marker)
    return out


def read_details(root: Path) -> dict[str, dict[str, Any]]:
    """By clip, the details that a set of the benchmark has beside its metadata; none for another set."""
    return dict(read_json(root / DETAILS, "details of the clips")) if (root / DETAILS).is_file() else {}


def link(path: Path, target: Path) -> None:
    """Link a file, or copy it to another disk; an existing target is kept."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        copy_file(path, target)

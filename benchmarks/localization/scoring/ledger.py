"""Looks at the test split > lines of a file in the repository, so that nobody chooses by test scores unseen."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from avloc.errors import AvlocError

LEDGER = Path(__file__).parents[1] / "ledger.csv"
COLUMNS = ("date", "commit", "corpus", "clips", "system", "seed", "budget", "shift_ms")


class Look(NamedTuple):
    """One test of one trained network.

    Attributes:
        corpus: version of the corpus.
        clips: number of clips of the whole corpus, or of the footage.
        system: name of the system.
        seed: of its training; None: unknown.
        budget: name of its budget; empty: unknown.
        shift_ms: shift of media and labels.
    """

    corpus: int
    clips: int
    system: str
    seed: int | None
    budget: str
    shift_ms: float = 0.0


def commit_name(ledger: Path = LEDGER, *, allow_dirty: bool = False, outputs: Iterable[Path] = ()) -> str:
    """Name the commit that tests run at, for the ledger; `…-dirty` if the code beside it differs from that commit.

    Args:
        ledger: a file in the repository; it may have changes itself.
        allow_dirty: name the commit although tracked files have changes, or Python files are untracked.
        outputs: other files that may have changes, because the caller writes them.

    Raises:
        AvlocError: if the code differs and `allow_dirty` is not set, or the ledger does not lie in a git repository.
    """
    commit = _git(ledger.parent, "rev-parse", "--short=12", "HEAD").strip()
    root = Path(_git(ledger.parent, "rev-parse", "--show-toplevel").strip())
    changed = _git(root, "diff", "--name-only", "--no-renames", "-z", "HEAD")
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py")
    allowed = {path.resolve() for path in (ledger, *outputs)}
    files = [name for name in (changed + untracked).split("\0") if name and (root / name).resolve() not in allowed]
    if not files:
        return commit
    if not allow_dirty:
        raise AvlocError(
            f"a test needs a commit to name, and {len(files)} files have uncommitted changes or are untracked Python files, the "
            f"first is {files[0]}; commit them, or let the ledger say so with --allow-dirty"
        )
    return f"{commit}-dirty"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        text = getattr(error, "stderr", "") or str(error)
        raise AvlocError(f"{folder}: want a git repository for the ledger of tests ({text.strip()})") from error


def append(look: Look, commit: str, ledger: Path = LEDGER) -> None:
    """Add a line, before the test runs; processes may do so at the same time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not ledger.exists() or not ledger.stat().st_size:
        writer.writerow(COLUMNS)
    values = {"date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "commit": commit, **look._asdict()}
    writer.writerow([f"{values[name]:g}" if name == "shift_ms" else values[name] for name in COLUMNS])
    # One write of a short line to a file opened for appending is not torn.
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, text.getvalue().encode())
    finally:
        os.close(file)


def read(ledger: Path = LEDGER) -> list[dict[str, str]]:
    """Read all lines; none if the file does not exist."""
    if not ledger.is_file():
        return []
    with ledger.open(newline="") as lines:
        return list(csv.DictReader(lines))

"""The folder of a server's uploads: removed when the server stops, and by the next server if this one was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "avloc-serve-"
LOCK_NAME = "avloc-serve.lock"
UPLOADS_NAME = "uploads"


@contextlib.contextmanager
def server_folder(root: Path | None = None) -> Iterator[Path]:
    """Yield a new folder that only this user can read; it is removed at the end of the block.

    A lock that ends with the process marks it as in use. The folders of servers that were killed are removed first.

    Args:
        root: its parent; None: the system's folder for temporary files.
    """
    root = Path(tempfile.gettempdir()) if root is None else root
    remove_abandoned(root)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    try:
        # Locked before it has its name: no other server ever sees it unlocked.
        temporary = folder / f".{LOCK_NAME}"
        with temporary.open("x") as lock:
            with contextlib.suppress(OSError):  # without locks nobody removes the folder of a killed server
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.rename(folder / LOCK_NAME)
            yield folder / UPLOADS_NAME
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(root: Path) -> list[Path]:
    """Remove the folders of servers that have ended without removing them; return them.

    A folder counts as abandoned only if it is this user's, holds nothing but uploads and the lock, and the lock is free.
    """
    removed = []
    for folder in sorted(root.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            if _is_abandoned(folder):
                shutil.rmtree(folder)
                removed.append(folder)
    return removed


def _is_abandoned(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
        return False
    if not {path.name for path in folder.iterdir()} <= {LOCK_NAME, UPLOADS_NAME}:
        return False
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
    return True

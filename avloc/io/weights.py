"""Weights files > tensors and plain values, without running code from the file; written whole or not at all."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

from avloc.errors import CheckpointError, one_line
from avloc.io.files import replacing

LIGHTNING_DICTIONARIES = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
)
"""Subclasses of dict in checkpoints of Lightning, which are read as plain dictionaries."""
NOT_OF_TORCH = (ValueError, EOFError)  # of the reader of pickles, for another format
MAX_PICKLE_BYTES = 4 << 20
"""Largest pickle within a file: it describes the tensors, some hundred bytes each."""
MAX_INSTRUCTIONS = 1_000_000
"""Most instructions of the pickles of torch's older format, in which their sizes cannot be known from outside."""
OLD_PICKLES = 5  # magic number, version, system, content, keys of the tensors; then the tensors


def load_file(path: str | Path, *, mapped: bool = False, expected: str = "a file that torch.save wrote") -> Any:
    """Load a file that `torch.save` wrote, on the CPU; tensors and plain values only, no code is run.

    Args:
        path: the file.
        mapped: leave the tensors in the file until they are used.
        expected: noun for the file that is wanted, for the error.

    Raises:
        CheckpointError: if the file is missing, was not written by torch, holds more than tensors and plain values, or claims
            more than it holds.
    """
    import torch

    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        is_archive = zipfile.is_zipfile(path)
        if not is_archive and _begins_like_archive(path):
            raise CheckpointError(f"{path}: a damaged checkpoint, it was cut off")
        problem = _oversized_part(path) if is_archive else _long_pickle(path)
        if problem is not None:
            raise CheckpointError(f"{path}: not a checkpoint ({problem}); want {expected}")
        with torch.serialization.safe_globals([(dict, name) for name in LIGHTNING_DICTIONARIES]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_archive)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint (torch did not write it, or it holds more than tensors); want {expected}"
        ) from error
    except Exception as error:  # torch raises many types for a file of another format
        reason = (
            "torch did not write it" if isinstance(error, NOT_OF_TORCH) else one_line(error) or type(error).__name__
        )
        raise CheckpointError(f"{path}: not a checkpoint ({reason}); want {expected}") from error
    return content


def _begins_like_archive(path: Path) -> bool:
    """Tell whether a file begins like a zip archive, whose directory is at its end."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _oversized_part(path: Path) -> str | None:
    """Find a part of a zip archive that would fill the memory: torch never compresses, so nothing is larger than the file."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.file_size > size:
                return f"its part {part.filename} claims to be larger than the file"
            if part.filename.endswith(".pkl") and part.file_size > MAX_PICKLE_BYTES:
                return f"its part {part.filename} has {part.file_size} bytes, want at most {MAX_PICKLE_BYTES}"
    return None


def _long_pickle(path: Path) -> str | None:
    """Find a pickle, at the beginning of a file of torch's older format, that would keep the reader busy for minutes."""
    count = 0
    with path.open("rb") as file:
        for _ in range(OLD_PICKLES):
            for _ in pickletools.genops(file):
                count += 1
                if count > MAX_INSTRUCTIONS:
                    return f"its pickle has more than {MAX_INSTRUCTIONS} instructions"
    return None


def damaged_part(path: str | Path) -> str | None:
    """Find a part of a file of `torch.save` whose content does not have its checksum; None if all have, or it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except Exception:  # zipfile raises many types for a damaged archive, which `load_file` reports
        return None


def save_file(content: Any, path: str | Path) -> None:
    """Save tensors and plain values with `torch.save`, so that `path` is whole or as it was, also after a loss of power.

    Raises:
        OSError: if the file cannot be written; on a full disk the message says how much is needed.
    """
    import torch

    # Through the memory: torch's own writer hides the number of the system's error, and the size must be known.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path, buffer.tell(), sync=True) as temporary:
        temporary.write_bytes(buffer.getbuffer())

"""Weights files > tensors and plain values, without running code from the file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from avloc.errors import CheckpointError, one_line

LIGHTNING_DICTIONARIES = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
)
"""Subclasses of dict in checkpoints of Lightning, which are read as plain dictionaries."""


def load_file(path: str | Path) -> Any:
    """Load a file that `torch.save` wrote, on the CPU; tensors and plain values only, no code is run.

    Raises:
        CheckpointError: if the file is missing, was not written by torch, or holds more than tensors and plain values.
    """
    import torch

    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with torch.serialization.safe_globals([(dict, name) for name in LIGHTNING_DICTIONARIES]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint (torch did not write it, or it holds more than tensors)"
        ) from error
    except Exception as error:  # torch raises many types for a file of another format
        raise CheckpointError(f"{path}: not a checkpoint ({one_line(error) or type(error).__name__})") from error
    return content

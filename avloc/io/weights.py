"""Files of tensors, read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from avloc.errors import CheckpointError, first_line

# Lightning's own dictionaries, read as plain ones.
DICTIONARIES = ("pytorch_lightning.utilities.parsing.AttributeDict", "lightning_fabric.utilities.data.AttributeDict")


def load_file(path: str | Path) -> Any:
    """What torch saved in a file: tensors and plain values only, no code is run.

    Raises:
        CheckpointError: if the file is missing, or is none of torch's.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with torch.serialization.safe_globals([(dict, name) for name in DICTIONARIES]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint (it is none of torch's, or holds more than tensors)"
        ) from error
    except Exception as error:  # torch raises many kinds for a file that is not what it should be
        raise CheckpointError(f"{path}: not a checkpoint ({first_line(error) or type(error).__name__})") from error
    return content

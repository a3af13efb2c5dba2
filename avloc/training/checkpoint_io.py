"""Checkpoints of a training run, each whole or as it was before."""

from __future__ import annotations

from typing import Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from avloc.io.weights import save_file


class WholeCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place, put it on the disk, and rename it.

    Lightning's own writer goes through the folder for temporary files: where that is another file system, the last step is a
    copy, and a kill leaves half a checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint.

        Raises:
            OSError: if it cannot be written; on a full disk the message says how much is needed.
        """
        save_file(checkpoint, path)

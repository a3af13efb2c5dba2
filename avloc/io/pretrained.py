"""Weights in a folder as transformers saves it > a network; quietly, without code of the file, without the internet."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, one_line


def read_pretrained(
    model: Any, folder: Path, network_name: str, *, unused: Collection[str] = (), **options: Any
) -> Any:
    """Read a network with all of its weights.

    Args:
        model: its class in transformers.
        folder: as transformers saves it.
        network_name: for error messages.
        unused: names of tensors that the folder may lack.
        options: further arguments of `from_pretrained`.

    Raises:
        AvlocError: if the weights are not those of such a network.
    """
    from_tensors = any(file.suffix == ".safetensors" for file in weight_files(folder))
    try:
        with quiet_transformers():
            network, report = model.from_pretrained(
                str(folder),
                local_files_only=True,
                output_loading_info=True,
                use_safetensors=from_tensors,
                weights_only=True,  # a pickle runs no code
                **options,
            )
    except Exception as error:  # transformers raises errors of many types for damaged files
        raise AvlocError(f"{folder}: not weights of {network_name} ({one_line(error, 200)})") from error
    missing = sorted(key for key in report["missing_keys"] if key not in unused)  # transformers would leave them random
    if missing:
        raise AvlocError(f"{folder}: not weights of {network_name}, they lack {', '.join(missing[:3])}")
    return network


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers: no progress bars, and no table of the tensors that a part of a network does not use."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # partly typed
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads weights from: safetensors if present, else pickles."""
    for ending in ("safetensors", "bin"):
        stems = ("model", "pytorch_model")
        files = sorted(f for f in folder.glob(f"*.{ending}") if f.name.startswith(stems))
        if files:
            return files
    return []

"""Networks of the transformers library: a folder, or a name in the Hugging Face cache > files; nothing is downloaded."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError
from avloc.io.files import file_sha256

SETTINGS = ("config.json", "preprocessor_config.json")


def model_folder(weights: str, extractor: str) -> Path:
    """Find the folder of a pretrained network.

    Args:
        weights: a folder, or a name such as `owner/model` that is in the local cache.
        extractor: the extractor's name, for error messages.

    Raises:
        AvlocError: if `weights` is neither, or holds no weights.
    """
    folder = Path(weights) if Path(weights).is_dir() else _cached(weights)
    if folder is None:
        raise AvlocError(
            f"{weights}: no such folder, and no model of this name in the Hugging Face cache; {extractor} needs one of them "
            "(`hf download NAME` fills the cache)"
        )
    if not (folder / "config.json").is_file() or not weight_files(folder):
        raise AvlocError(f"{folder}: {extractor} needs a folder with config.json and model.safetensors")
    return folder


def _cached(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # the path of a missing folder
        return None
    return Path(config).parent if isinstance(config, str) else None


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


def folder_sha256(folder: Path) -> str:
    """The SHA-256 over the names and hashes of all files of a pretrained network that change its numbers."""
    files = [folder / name for name in SETTINGS if (folder / name).is_file()] + weight_files(folder)
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()

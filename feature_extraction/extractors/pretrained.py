"""Networks of the transformers library: a folder, or a name in the user's Hugging Face cache > files; nothing is downloaded."""

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
    """Where the files of a pretrained network lie.

    Args:
        weights: a folder, or a name such as `owner/model` that the user has downloaded before.
        extractor: it is called so in errors.

    Raises:
        AvlocError: if it is neither, or holds no weights.
    """
    folder = Path(weights) if Path(weights).is_dir() else _cached(weights)
    if folder is None:
        raise AvlocError(
            f"{weights}: no such folder, nor a model of that name in the Hugging Face cache, which {extractor} wants "
            "(`hf download NAME` puts it there)"
        )
    if not (folder / "config.json").is_file() or not weight_files(folder):
        raise AvlocError(f"{folder}: {extractor} wants a folder with config.json and model.safetensors in it")
    return folder


def _cached(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # a path that is not there
        return None
    return Path(found).parent if isinstance(found, str) else None


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without progress bars, and without its table of tensors that a part of a network has no use for."""
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
    """The files that transformers reads weights from: safetensors if there are any, else pickles."""
    for ending in ("safetensors", "bin"):
        stems = ("model", "pytorch_model")
        found = sorted(f for f in folder.glob(f"*.{ending}") if f.name.startswith(stems))
        if found:
            return found
    return []


def folder_sha256(folder: Path) -> str:
    """The SHA-256 of the names and hashes of all files of a pretrained network that change its numbers."""
    files = [folder / name for name in SETTINGS if (folder / name).is_file()] + weight_files(folder)
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()

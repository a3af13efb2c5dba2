"""Networks of the transformers library: a folder, or a name in the Hugging Face cache > files; nothing is downloaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

from avloc.errors import AvlocError
from avloc.io.files import file_sha256
from avloc.io.pretrained import weight_files

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


def folder_sha256(folder: Path) -> str:
    """The SHA-256 over the names and hashes of all files of a pretrained network that change its numbers."""
    files = [folder / name for name in SETTINGS if (folder / name).is_file()] + weight_files(folder)
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()

"""What a checkpoint of `avloc train` carries beside Lightning's own: its network, its arguments, its extractors.

Reading one runs no code: tensors and plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import CheckpointError, first_line
from avloc.io.files import replacing
from avloc.io.weights import load_file

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "avloc"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint, checked.

    Attributes:
        path: the file.
        model: name of the network, as in `avloc.models.MODELS`.
        arguments: its constructor's.
        hop_s: seconds per step.
        extractors: descriptions of the extractors it was trained on.
        weights: state dict of the network.
        clips: how clips become its inputs (`frames`, `fit`), if it takes pixels and log-mels and no features.
        calibration: by what is told (`clip`, `audio`, `visual`), how a best score becomes a probability; empty: unknown.
    """

    path: Path
    model: str
    arguments: dict[str, Any]
    hop_s: float
    extractors: list[dict[str, Any]]
    weights: Mapping[str, Tensor]
    clips: dict[str, Any] | None = None
    calibration: dict[str, tuple[float, float]] = field(default_factory=dict)


def checkpoint_metadata(model: nn.Module, context: Mapping[str, Any]) -> dict[str, Any]:
    """What `avloc train` adds to a checkpoint; `context` holds `hop_s`, `extractors` and maybe `clips`, `calibration`."""
    return {
        "version": VERSION,
        "model": type(model).__name__,
        "arguments": dict(getattr(model, "arguments", {})),
        **context,
    }


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint that `avloc train` wrote.

    Raises:
        CheckpointError: if the file is missing, or is no checkpoint of ours.
    """
    return parse_checkpoint(Path(path), load_file(path))


def parse_checkpoint(path: Path, content: Any) -> Checkpoint:
    """What `load_file` read from a file, as a checkpoint of `avloc train`.

    Raises:
        CheckpointError: if it is none.
    """
    about = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: not a checkpoint of `avloc train` (it lacks what avloc notes in it); a released one of BA-TFD or BA-TFD+ "
            "wants `avloc convert` first"
        )
    kinds: dict[str, type | tuple[type, ...]] = {
        "model": str, "arguments": dict, "hop_s": (int, float), "extractors": list,
    }  # fmt: skip
    for name, kind in kinds.items():
        if not isinstance(about.get(name), kind):
            raise CheckpointError(f"{path}: a damaged checkpoint, its note {name!r} is {about.get(name)!r}")
    if not isinstance(content.get("state_dict"), Mapping):
        raise CheckpointError(f"{path}: a damaged checkpoint, it holds no weights")
    for extractor in about["extractors"]:
        if not isinstance(extractor, dict) or not {"name", "parameters", "modality"} <= set(extractor):
            raise CheckpointError(f"{path}: a damaged checkpoint, an extractor in it is {extractor!r}")
    clips = about.get("clips")
    if clips is not None and not (isinstance(clips, dict) and {"frames", "fit"} <= set(clips)):
        raise CheckpointError(f"{path}: a damaged checkpoint, its note 'clips' is {clips!r}")
    calibration = about.get("calibration") or {}
    if not isinstance(calibration, dict) or not all(_is_fit(fit) for fit in calibration.values()):
        raise CheckpointError(f"{path}: a damaged checkpoint, its note 'calibration' is {calibration!r}")
    calibration = {str(what): (float(fit[0]), float(fit[1])) for what, fit in calibration.items()}
    weights = {k.removeprefix("model."): v for k, v in content["state_dict"].items()}
    hop_s = float(about["hop_s"])
    return Checkpoint(path, about["model"], about["arguments"], hop_s, about["extractors"], weights, clips, calibration)


def _is_fit(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, int | float) for v in value)


def write_checkpoint(path: Path, model: nn.Module, context: Mapping[str, Any]) -> None:
    """Write a network so that `read_checkpoint` reads it; `context` as of `checkpoint_metadata`."""
    import torch

    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    with replacing(path) as temporary:
        torch.save({"state_dict": weights, KEY: checkpoint_metadata(model, context)}, temporary)


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a network; a CheckpointError if they do not fit."""
    try:
        model.load_state_dict(dict(checkpoint.weights))
    except RuntimeError as error:
        name = type(model).__name__
        raise CheckpointError(f"{checkpoint.path}: the weights do not fit this {name}: {first_line(error)}") from error

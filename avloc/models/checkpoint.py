"""The part of a checkpoint that is avloc's own, beside Lightning's: the network, its arguments, the data it was trained on.

Reading one runs no code: tensors and plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from avloc.core.descriptions import ClipInputFormat, ExtractorDescription, Fit, TrainingContext
from avloc.errors import CheckpointError, one_line
from avloc.io.files import replacing
from avloc.io.weights import load_file
from avloc.models.network import Network, as_module

if TYPE_CHECKING:
    from torch import Tensor

KEY = "avloc"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose contents were checked.

    Attributes:
        path: the file.
        model: name of the network's class.
        arguments: the constructor's.
        context: the data that the network was trained on.
        weights: state dict of the network.

    >>> Checkpoint(Path("best.ckpt"), "BATFD", {"frames": 100}, TrainingContext(hop_s=0.04), {})
    Checkpoint('best.ckpt': BATFD, 0 tensors)
    """

    path: Path
    model: str
    arguments: Mapping[str, Any]
    context: TrainingContext
    weights: Mapping[str, Tensor]

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}: {self.model}, {len(self.weights)} tensors)"


def checkpoint_metadata(model: Network, context: TrainingContext) -> dict[str, object]:
    """The entry that `avloc train` adds to a checkpoint."""
    return {
        "version": VERSION,
        "model": type(model).__name__,
        "arguments": dict(model.arguments),
        **context.to_dict(),
    }


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint that `avloc train` or `avloc convert` wrote.

    Raises:
        CheckpointError: if the file is missing, or is no checkpoint of avloc.
    """
    path = Path(path).expanduser()
    return parse_checkpoint(path, load_file(path))


def parse_checkpoint(path: Path, content: Any) -> Checkpoint:
    """Check the content of a file, as `load_file` returned it, and return it as a checkpoint.

    Raises:
        CheckpointError: if it is no checkpoint of avloc, or a damaged one; the message names the entry.
    """
    values = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(values, dict) or values.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: not a checkpoint of `avloc train` (it has no entry {KEY!r} of version {VERSION}); a released one of BA-TFD "
            "or BA-TFD+ needs `avloc convert` first"
        )
    types: dict[str, type | tuple[type, ...]] = {
        "model": str,
        "arguments": dict,
        "hop_s": (int, float),
        "extractors": list,
    }
    for name, kind in types.items():
        if not isinstance(values.get(name), kind):
            raise _damaged(path, name, values.get(name))
    if not isinstance(content.get("state_dict"), Mapping):
        raise CheckpointError(f"{path}: a damaged checkpoint, it holds no weights")
    weights = {k.removeprefix("model."): v for k, v in content["state_dict"].items()}
    return Checkpoint(path, values["model"], values["arguments"], _context(path, values), weights)


def _context(path: Path, values: Mapping[str, Any]) -> TrainingContext:
    extractors = []
    for description in values["extractors"]:
        if not isinstance(description, dict) or "parameters" not in description:
            raise _damaged(path, "extractors", description)
        try:
            extractors.append(ExtractorDescription.from_dict(description))
        except ValueError as error:
            raise CheckpointError(f"{path}: a damaged checkpoint, {error}") from error
    clips = values.get("clips")
    if clips is not None and not _is_clip_format(clips, values["arguments"]):
        raise _damaged(path, "clips", clips)
    calibration = values.get("calibration") or {}
    if not isinstance(calibration, dict) or not all(_is_fit(fit) for fit in calibration.values()):
        raise _damaged(path, "calibration", calibration)
    return TrainingContext(
        hop_s=float(values["hop_s"]),
        extractors=tuple(extractors),
        clips=None if clips is None else ClipInputFormat(int(clips["frames"]), clips["fit"]),
        calibration={str(name): (float(fit[0]), float(fit[1])) for name, fit in calibration.items()},
    )


def _damaged(path: Path, name: str, value: object) -> CheckpointError:
    return CheckpointError(f"{path}: a damaged checkpoint, its entry {name!r} is {value!r}")


def _is_clip_format(value: Any, arguments: Mapping[str, Any]) -> bool:
    return (
        isinstance(value, dict)
        and value.get("fit") in get_args(Fit)
        and isinstance(value.get("frames"), int)
        and value["frames"] == arguments.get("frames")
    )


def _is_fit(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, int | float) for v in value)


def write_checkpoint(path: str | Path, model: Network, context: TrainingContext) -> None:
    """Write a network so that `read_checkpoint` reads it.

    Args:
        path: the file.
        model: the network.
        context: the data that it was trained on.
    """
    import torch

    weights = {f"model.{name}": value for name, value in as_module(model).state_dict().items()}
    with replacing(Path(path)) as temporary:
        torch.save({"state_dict": weights, KEY: checkpoint_metadata(model, context)}, temporary)


def load_weights(model: Network, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a network.

    Raises:
        CheckpointError: if they do not fit.
    """
    try:
        as_module(model).load_state_dict(dict(checkpoint.weights))
    except RuntimeError as error:
        name = type(model).__name__
        raise CheckpointError(f"{checkpoint.path}: the weights do not fit this {name}: {one_line(error)}") from error

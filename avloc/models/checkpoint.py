"""The part of a checkpoint that is avloc's own, beside Lightning's: the network, its arguments, the data it was trained on.

Reading one runs no code: tensors and plain values only.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from avloc.core.calibration import PlattFit
from avloc.core.descriptions import (
    ClipInputFormat,
    ExtractorDescription,
    Fit,
    NetworkDescription,
    TrainingContext,
    is_hop,
)
from avloc.core.records import MODALITIES
from avloc.errors import AvlocError, CheckpointError, one_line
from avloc.io.weights import damaged_part, load_file, save_file
from avloc.models.network import Network, as_module, check_inputs

if TYPE_CHECKING:
    from torch import Tensor

EXPECTED = "one that `avloc train` or `avloc convert` wrote"
KEY = "avloc"
VERSION = 1
FRONT_END_OPTIONS = tuple(f"{modality}_front_end_options" for modality in MODALITIES)
PATH_OPTION = "weights"  # of a front end, which its network's arguments do not keep
RUN_CHECKPOINTS = ("best.ckpt", "last.ckpt")  # as `avloc train` names those of a run


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose contents were checked.

    Attributes:
        path: the file.
        model: name of the network's class.
        arguments: the constructor's.
        context: the data that the network was trained on.
        weights: state dict of the network.
        description: the identity of the network; `read_checkpoint` always gives one.

    >>> Checkpoint(Path("best.ckpt"), "BATFD", {"frames": 100}, TrainingContext(hop_s=0.04), {})
    Checkpoint('best.ckpt': BATFD, 0 tensors)
    """

    path: Path
    model: str
    arguments: Mapping[str, Any]
    context: TrainingContext
    weights: Mapping[str, Tensor]
    description: NetworkDescription | None = None

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}: {self.model}, {len(self.weights)} tensors)"


def checkpoint_metadata(
    model: Network,
    context: TrainingContext,
    state_dict: Mapping[str, Tensor],
    description: NetworkDescription | None = None,
) -> dict[str, object]:
    """The entry that `avloc train` adds to a checkpoint with these weights; a release also has a description."""
    identity = {} if description is None else {"network": replace(description, sha256="").to_dict()}
    return {
        "version": VERSION,
        "model": type(model).__name__,
        "arguments": dict(model.arguments),
        "weights_sha256": weights_sha256(state_dict),
        **context.to_dict(),
        **identity,
    }


def weights_sha256(state_dict: Mapping[str, Tensor]) -> str:
    """Hash weights: their names, types, shapes and values, in the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state_dict):
        value = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_finite(model: Network, weights: Mapping[str, Tensor], place: str) -> None:
    """Check that weights are numbers: parameters must be finite, and buffers must not be NaN.

    Args:
        model: the network that they belong to.
        weights: its state dict.
        place: the file or moment for the message.

    Raises:
        CheckpointError: naming the first tensor with another value.
    """
    parameters = {name for name, _ in as_module(model).named_parameters()}
    for name, value in weights.items():
        if not value.is_floating_point():
            continue
        if not bool((value.isfinite() if name in parameters else ~value.isnan()).all()):
            raise CheckpointError(
                f"{place}: the weights {name} are not finite numbers; train again with a smaller rate"
            )


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint that `avloc train` or `avloc convert` wrote.

    Raises:
        CheckpointError: if the file is missing, damaged, or no checkpoint of avloc; the message names a whole one beside it.
    """
    path = Path(path).expanduser()
    try:
        return _read_whole(path)
    except CheckpointError as error:
        whole = _whole_sibling(path) if path.is_file() else None
        if whole is None:
            raise
        raise CheckpointError(f"{error}; {whole} beside it is whole, name that one") from error


def read_outline(path: str | Path) -> Checkpoint:
    """Read a checkpoint without its weights, which are neither read nor checked.

    Raises:
        CheckpointError: if the file is missing or no checkpoint of avloc, or its entries beside the weights are damaged.
    """
    path = Path(path).expanduser()
    values = _entries(path, load_file(path, mapped=True, expected=EXPECTED))
    description = _description(path, values.get("network", {"name": values["model"]}))
    return Checkpoint(path, values["model"], values["arguments"], _context(path, values), {}, description)


def _read_whole(path: Path) -> Checkpoint:
    if path.is_file() and (part := damaged_part(path)) is not None:
        raise CheckpointError(f"{path}: a damaged checkpoint, its part {part} was changed")
    return parse_checkpoint(path, load_file(path, expected=EXPECTED))


def _whole_sibling(path: Path) -> Path | None:
    """The best or the last checkpoint of the same run, if it can be read."""
    for sibling in (path.with_name(name) for name in RUN_CHECKPOINTS):
        if sibling != path and sibling.is_file():
            with contextlib.suppress(CheckpointError):
                return _read_whole(sibling).path
    return None


def parse_checkpoint(path: Path, content: Any) -> Checkpoint:
    """Check the content of a file, as `load_file` returned it, and return it as a checkpoint.

    Raises:
        CheckpointError: if it is no checkpoint of avloc, or a damaged one; the message names the entry.
    """
    values = _entries(path, content)
    context = _context(path, values)
    state_dict = _state_dict(path, content.get("state_dict"))
    sha256 = weights_sha256(state_dict)
    # Checkpoints of earlier releases have no hash.
    if values.get("weights_sha256") not in (None, sha256):
        raise CheckpointError(f"{path}: a damaged checkpoint, its weights do not have their sha256: they were changed")
    weights = {k.removeprefix("model."): v for k, v in state_dict.items()}
    description = _description(path, values.get("network", {"name": values["model"]}))
    return Checkpoint(path, values["model"], values["arguments"], context, weights, replace(description, sha256=sha256))


def _entries(path: Path, content: Any) -> dict[str, Any]:
    """Return the entries of avloc in the content of a file, whose types are checked."""
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
    if not all(isinstance(name, str) for name in values["arguments"]):
        raise _damaged(path, "arguments", values["arguments"])
    _check_paths(path, values["arguments"])
    return values


def _check_paths(path: Path, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that would open another file: a checkpoint holds the weights itself."""
    for name in FRONT_END_OPTIONS:
        options = arguments.get(name)
        if not isinstance(options, Mapping | None):
            raise _damaged(path, name, options)
        if options and PATH_OPTION in options:
            raise CheckpointError(
                f"{path}: a damaged checkpoint, its {name} name a file of {PATH_OPTION}: a checkpoint keeps them itself"
            )


def _description(path: Path, values: Any) -> NetworkDescription:
    try:
        return NetworkDescription.from_dict(values)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: a damaged checkpoint, {one_line(error)}") from error


def _state_dict(path: Path, state_dict: Any) -> dict[str, Tensor]:
    """Check the weights: named tensors, none of which claims more than the file can hold."""
    import torch

    if not isinstance(state_dict, Mapping):
        raise CheckpointError(f"{path}: a damaged checkpoint, it holds no weights")
    size = path.stat().st_size
    for name, value in state_dict.items():
        is_dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not (isinstance(name, str) and is_dense and not value.is_quantized):
            raise CheckpointError(f"{path}: a damaged checkpoint, its weights {one_line(repr(name), 80)} are no tensor")
        if value.numel() * value.element_size() > size:
            raise CheckpointError(f"{path}: a damaged checkpoint, its weights {name} claim to be larger than the file")
    return dict(state_dict)


def _context(path: Path, values: Mapping[str, Any]) -> TrainingContext:
    if not is_hop(values["hop_s"]):
        raise _damaged(path, "hop_s", values["hop_s"])
    extractors = []
    for description in values["extractors"]:
        if not isinstance(description, dict) or "parameters" not in description:
            raise _damaged(path, "extractors", description)
        try:
            extractors.append(ExtractorDescription.from_dict(description))
        except ValueError as error:
            raise CheckpointError(f"{path}: a damaged checkpoint, {error}") from error
    clips = values.get("clips")
    if not extractors and clips is None:
        raise CheckpointError(
            f"{path}: a damaged checkpoint, it names no extractors and no format of clips as its input"
        )
    if clips is not None and not _is_clip_format(clips, values["arguments"]):
        raise _damaged(path, "clips", clips)
    calibration = values.get("calibration") or {}
    if not isinstance(calibration, dict) or not all(_is_fit(fit) for fit in calibration.values()):
        raise _damaged(path, "calibration", calibration)
    native_rate, modality = _stream_options(path, values)
    if modality is not None and modality not in (extractor.modality for extractor in extractors):
        raise _damaged(path, "modality", modality)
    context = TrainingContext(
        hop_s=float(values["hop_s"]),
        extractors=tuple(extractors),
        clips=None if clips is None else ClipInputFormat(int(clips["frames"]), clips["fit"]),
        calibration={str(name): _fit(fit) for name, fit in calibration.items()},
        native_rate=native_rate,
        modality=modality,
    )
    try:
        check_inputs(values["arguments"], context)
    except AvlocError as error:
        raise CheckpointError(f"{path}: a damaged checkpoint, {error}") from error
    return context


def _stream_options(path: Path, values: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Check the options of a network's streams: whether they keep their rate, and the only one that it was given."""
    native_rate, modality = values.get("native_rate", False), values.get("modality")
    if not isinstance(native_rate, bool):
        raise _damaged(path, "native_rate", native_rate)
    if modality is not None and (modality not in MODALITIES or values.get("clips") is not None):
        raise _damaged(path, "modality", modality)
    return native_rate, modality


def _damaged(path: Path, name: str, value: object) -> CheckpointError:
    return CheckpointError(f"{path}: a damaged checkpoint, its entry {name!r} is {one_line(repr(value), 80)}")


def _is_clip_format(value: Any, arguments: Mapping[str, Any]) -> bool:
    return (
        isinstance(value, dict)
        and value.get("fit") in get_args(Fit)
        and isinstance(value.get("frames"), int)
        and value["frames"] >= 1
        and value["frames"] == arguments.get("frames")
    )


def _is_fit(value: Any) -> bool:
    """Tell whether a value is a slope and an offset, in checkpoints of today followed by the numbers of both classes."""
    if not isinstance(value, tuple | list) or len(value) not in (2, 4):
        return False
    return all(isinstance(v, int | float) and math.isfinite(v) for v in value) and all(
        type(count) is int and count > 0 for count in value[2:]
    )


def _fit(value: Sequence[Any]) -> PlattFit:
    return PlattFit(float(value[0]), float(value[1]), *value[2:])


def write_checkpoint(
    path: str | Path,
    model: Network,
    context: TrainingContext,
    description: NetworkDescription | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a network so that `read_checkpoint` reads it.

    Args:
        path: the file.
        model: the network.
        context: the data that it was trained on.
        description: its identity, for a release; the hash is added.
        half: keep the parameters in half precision; the network that is loaded from them has full precision again.

    Raises:
        CheckpointError: if the weights are not finite numbers.
    """
    weights = as_module(model).state_dict()
    if half:
        # Buffers are small, and a batch norm's variances may lie below the smallest number of half precision.
        parameters = {name for name, _ in as_module(model).named_parameters()}
        weights = {name: _compact(value.half()) if name in parameters else value for name, value in weights.items()}
    check_finite(model, weights, str(path))
    state_dict = {f"model.{name}": value for name, value in weights.items()}
    save_file({"state_dict": state_dict, KEY: checkpoint_metadata(model, context, state_dict, description)}, path)


def _compact(value: Tensor) -> Tensor:
    """The same tensor; one whose elements are equal takes the room of one of them in a file."""
    first = value.detach().flatten()[:1].clone()
    return first.expand(value.numel()).view(value.shape) if len(first) and bool((value == first).all()) else value


def load_weights(model: Network, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a network.

    Raises:
        CheckpointError: if they do not fit, or are not finite numbers.
    """
    try:
        as_module(model).load_state_dict(dict(checkpoint.weights))
    except RuntimeError as error:
        name = type(model).__name__
        raise CheckpointError(f"{checkpoint.path}: the weights do not fit this {name}: {one_line(error)}") from error
    check_finite(model, checkpoint.weights, str(checkpoint.path))

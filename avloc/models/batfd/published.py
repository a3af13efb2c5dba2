"""Released checkpoints of BA-TFD and BA-TFD+ > avloc's networks: names, settings, and nothing left over.

The released files are checkpoints of Lightning 1.7: a `state_dict`, and `hyper_parameters` of plain values. The names in the
`state_dict` tell the two systems apart. Reading a file runs no code: tensors and plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat, cast

from avloc.errors import CheckpointError, one_line
from avloc.heads.maps import MapDecoding
from avloc.io.weights import load_file
from avloc.models.batfd.published_names import DEFAULTS, HYPER_PARAMETERS, TRAINING_ONLY, parameter_name
from avloc.models.catalog import build_model
from avloc.models.checkpoint import KEY, load_weights, parse_checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

    from avloc.core.descriptions import Fit


@dataclass(slots=True)
class ConvertedCheckpoint:
    """A released checkpoint in the names of avloc's networks.

    Attributes:
        model: name of the network.
        arguments: the constructor's keyword arguments.
        weights: state dict of the network.
        left_out: by name in the file, the reason why the network does not need the tensor.
        missing: names of the network that the file has no tensor for.
        unexpected: unknown names in the file.

    >>> ConvertedCheckpoint("BATFD", {}, {}, missing=["fusion.video.from_map.bias"]).report()
    'BATFD: 0 tensors, 1 missing (fusion.video.from_map.bias)'
    """

    model: str
    arguments: dict[str, object]
    weights: dict[str, Tensor]
    left_out: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Summarize in one line the tensors that were converted, left out, missing and unexpected."""
        parts = [f"{self.model}: {len(self.weights)} tensors"]
        for reason in dict.fromkeys(self.left_out.values()):
            count = sum(r == reason for r in self.left_out.values())
            parts.append(f"{count} left out ({reason})")
        for label, names in (("missing", self.missing), ("unexpected", self.unexpected)):
            if names:
                parts.append(f"{len(names)} {label} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})")
        return ", ".join(parts)


def convert_state(
    state: Mapping[str, Tensor], hyper_parameters: Mapping[str, object], *, decoding: MapDecoding = "aligned"
) -> tuple[Any, ConvertedCheckpoint]:
    """Build the network of a released state dict, in eval mode.

    Args:
        state: published names → tensors.
        hyper_parameters: under their published names; missing ones have their published defaults.
        decoding: of the network; its sampling is `published`, as in the training of the weights.

    Returns:
        The network, and the conversion of each name.

    Raises:
        CheckpointError: if the state is of neither system, a tensor has the wrong shape, or a setting is not supported.
    """
    is_plus = any(".proposal_block." in name for name in state)
    if not is_plus and "video_boundary_module.block1.2.conv.weight" not in state:
        raise CheckpointError("neither BA-TFD's nor BA-TFD+'s: it has no boundary module under its published name")
    model = "BATFDPlus" if is_plus else "BATFD"
    arguments = _arguments(model, hyper_parameters, decoding)
    network = cast(Any, build_model(model, arguments))
    expected = network.state_dict()
    converted = ConvertedCheckpoint(model, arguments, {})
    for published, tensor in state.items():
        name = parameter_name(published)
        if name is not None and name in expected:
            shape = expected[name].shape
            if not _same_shape(tensor.shape, shape):
                raise CheckpointError(f"{published} is {tuple(tensor.shape)}, want {tuple(shape)}")
            converted.weights[name] = tensor.reshape(shape)
        elif name is not None and name.startswith("generators."):
            converted.left_out[published] = "the boundary generator, which cbg_feature_weight 0 leaves unused"
        else:
            converted.unexpected.append(published)
    converted.missing = [name for name in expected if name not in converted.weights]
    network.load_state_dict(converted.weights, strict=False)
    return network.eval(), converted


def load_published(path: str | Path, *, decoding: MapDecoding = "aligned", strict: bool = True) -> nn.Module:
    """Load a released checkpoint as one of avloc's networks, in eval mode.

    Args:
        path: a Lightning checkpoint with `state_dict` and `hyper_parameters`.
        decoding: see `avloc.heads.maps.decode_map`.
        strict: raise an error if names are missing or unexpected.

    Raises:
        CheckpointError: if the file is missing, is not a released checkpoint, or does not fit.
    """
    return read_published(path, decoding=decoding, strict=strict)[0]


def load_network(path: str | Path) -> tuple[Any, Fit]:
    """Load the network of a released checkpoint, or of one that `avloc train` or `avloc convert` wrote, in eval mode.

    Returns:
        The network, and how clips are fitted to its length: `pad` for released checkpoints, which do not record it.

    Raises:
        CheckpointError: if the file is missing, is no such checkpoint, or does not fit.
    """
    content = load_file(path)
    if isinstance(content, dict) and KEY in content:
        checkpoint = parse_checkpoint(Path(path), content)
        network = cast(Any, build_model(checkpoint.model, checkpoint.arguments))
        load_weights(network, checkpoint)
        clips = checkpoint.context.clips
        return network.eval(), "pad" if clips is None else clips.fit
    return _convert(path, content, decoding="aligned", strict=True)[0], "pad"


def read_published(
    path: str | Path, *, decoding: MapDecoding = "aligned", strict: bool = True
) -> tuple[Any, ConvertedCheckpoint]:
    """Load a released checkpoint like `load_published`, and return the conversion of each name beside the network."""
    return _convert(path, load_file(path), decoding=decoding, strict=strict)


def _convert(
    path: str | Path, content: object, *, decoding: MapDecoding, strict: bool
) -> tuple[Any, ConvertedCheckpoint]:
    """Convert the content of the file at `path`."""
    state = content.get("state_dict") if isinstance(content, dict) else None
    settings = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not isinstance(settings, Mapping):
        is_converted = isinstance(content, dict) and KEY in content
        problem = "is one of avloc already, not a released one" if is_converted else "not a released checkpoint"
        raise CheckpointError(f"{path}: {problem}; want a Lightning checkpoint with state_dict and hyper_parameters")
    try:
        network, converted = convert_state(state, settings, decoding=decoding)
    except (CheckpointError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: {one_line(error)}") from error
    if strict and (converted.missing or converted.unexpected):
        raise CheckpointError(f"{path}: does not fit, {converted.report()}")
    return network, converted


def _arguments(model: str, hyper_parameters: Mapping[str, object], decoding: MapDecoding) -> dict[str, object]:
    """Translate published hyper-parameters to the network's arguments."""
    settings = {**DEFAULTS[model], **hyper_parameters}
    widths = settings.get("v_cla_feature_in", 256), settings.get("a_cla_feature_in", 256)
    if widths[0] != widths[1]:
        raise CheckpointError(f"v_cla_feature_in and a_cla_feature_in must be equal, got {widths[0]} and {widths[1]}")
    if settings.get("frame_classifier", "lr") != "lr":
        raise CheckpointError(f"the frame classifier must be lr, got {settings['frame_classifier']!r}")
    unknown = sorted(set(settings) - {*HYPER_PARAMETERS, *TRAINING_ONLY, "a_cla_feature_in", "cbg_feature_weight"})
    if unknown:
        raise CheckpointError(f"unknown hyper-parameters: {', '.join(unknown)}")
    arguments = {HYPER_PARAMETERS[k]: _plain(v) for k, v in settings.items() if k in HYPER_PARAMETERS}
    arguments |= {"sampling": "published", "decoding": decoding}
    if model == "BATFDPlus":
        weight = float(cast(SupportsFloat, settings["cbg_feature_weight"]))
        arguments |= {
            "channel_layout": "published",
            "boundary_generator": weight > 0,
            "generator_loss_weight": weight,
        }
    return arguments


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (tuple, list)) else value


def _same_shape(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Compare two shapes without their axes of size 1: some published convolutions are matrix products in avloc."""
    return [n for n in shape if n != 1] == [n for n in other if n != 1]

"""Released checkpoints of BA-TFD and BA-TFD+ > networks of ours: names, settings, and nothing left over.

They are checkpoints of Lightning 1.7: a `state_dict`, and `hyper_parameters` of plain values. Which of the two systems one is of
is told by its names. No code in a file is run: tensors and plain values only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import CheckpointError, first_line
from avloc.heads.maps import MapDecoding
from avloc.io.weights import load_file
from avloc.models import build_model
from avloc.models.checkpoint import KEY, load_weights, parse_checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

# Their name → our argument.
HYPER_PARAMETERS = {
    "v_encoder": "video_encoder",
    "a_encoder": "audio_encoder",
    "ve_features": "video_widths",
    "ae_features": "audio_widths",
    "v_cla_feature_in": "width",
    "boundary_features": "map_widths",
    "boundary_samples": "samples",
    "temporal_dim": "frames",
    "max_duration": "durations",
    "weight_frame_loss": "frame_loss_weight",
    "weight_modal_bm_loss": "modal_loss_weight",
    "weight_contrastive_loss": "contrast_loss_weight",
    "contrast_loss_margin": "contrast_margin",
}
# What their training had, and what a network of ours does not.
OF_THE_TRAINING = {"weight_decay", "learning_rate", "distributed", "prb_weight_forward", "frame_classifier"}
# Published defaults where ours differ.
DEFAULTS = {"BATFD": {}, "BATFDPlus": {"v_encoder": "c3d", "a_encoder": "cnn", "cbg_feature_weight": 0.01}}

_SIDE = r"(?P<side>video|audio)"
_RULES = [(re.compile(pattern), ours) for pattern, ours in (
    (r"video_encoder\.block0\.([01])\.conv\.(.*)", r"video_encoder.convs.\1.\2"),
    (r"video_encoder\.block1\.0\.conv\.(.*)", r"video_encoder.convs.2.\1"),
    (r"video_encoder\.block1\.1\.conv\.(.*)", r"video_encoder.convs.3.\1"),
    (r"video_encoder\.block2\.0\.conv\.(.*)", r"video_encoder.convs.4.\1"),
    (r"video_encoder\.block2\.1\.conv\.(.*)", r"video_encoder.convs.5.\1"),
    (r"video_encoder\.block3\.0\.conv\.(.*)", r"video_encoder.convs.6.\1"),
    (r"video_encoder\.block3\.2\.conv\.(.*)", r"video_encoder.convs.7.\1"),
    (r"video_encoder\.block3\.5\.conv\.(.*)", r"video_encoder.project.\1"),
    (r"video_encoder\.mvit\.(.*)", r"video_encoder.mvit.\1"),
    (r"audio_encoder\.block0\.1\.conv\.(.*)", r"audio_encoder.convs.0.\1"),
    (r"audio_encoder\.block1\.0\.conv\.(.*)", r"audio_encoder.convs.1.\1"),
    (r"audio_encoder\.block1\.1\.conv\.(.*)", r"audio_encoder.convs.2.\1"),
    (r"audio_encoder\.block2\.0\.conv\.(.*)", r"audio_encoder.convs.3.\1"),
    (r"audio_encoder\.block2\.2\.conv\.(.*)", r"audio_encoder.convs.4.\1"),
    (r"audio_encoder\.block\.(.*)", r"audio_encoder.encoder.\1"),
    (r"audio_encoder\.input_proj\.conv\.(.*)", r"audio_encoder.patch.\1"),
    (r"audio_encoder\.output_proj\.(.*)", r"audio_encoder.project.\1"),
    (_SIDE + r"_frame_classifier\.lr_layer\.conv\.(.*)", r"\g<side>_classifier.\2"),
    (_SIDE + r"_boundary_module\.block0\.0\.conv\.(.*)", r"\g<side>_boundaries.trunk.fold.\2"),
    (_SIDE + r"_boundary_module\.block1\.0\.conv\.(.*)", r"\g<side>_boundaries.trunk.squeeze.\2"),
    (_SIDE + r"_boundary_module\.block1\.1\.conv\.(.*)", r"\g<side>_boundaries.trunk.context.\2"),
    (_SIDE + r"_boundary_module\.block1\.2\.conv\.(.*)", r"\g<side>_boundaries.out.\2"),
    (_SIDE + r"_boundary_module\.proposal_block\.(.*)", r"\g<side>_boundaries.relation.\2"),
    (_SIDE + r"_comp_boundary_generator\.final\.(.*)", r"generators.\g<side>.out.\2"),
    (_SIDE + r"_comp_boundary_generator\.conv(\d)_(\d)\.conv\.(.*)", r"generators.\g<side>.node_\2\3.\4"),
    (r"cbg_fusion_(start|end)\.(.*)", r"boundary_fusions.\1.\2"),
    (r"prb_fusion_p\.(.*)", r"fusions.0.\1"),
    (r"prb_fusion_c\.(.*)", r"fusions.1.\1"),
    (r"prb_fusion_p_c\.(.*)", r"fusions.2.\1"),
    (r"fusion\.(.*)", r"fusion.\1"),
)]  # fmt: skip
# Within those, wherever they stand.
_PARTS = [(re.compile(pattern), ours) for pattern, ours in (
    (r"\.relation\.conv0_0\.", ".relation.position_in."),
    (r"\.relation\.conv0_1\.", ".relation.channel_in."),
    (r"\.relation\.conv1\.", ".relation.position_mid."),
    (r"\.relation\.conv4\.", ".relation.channel_mid."),
    (r"\.relation\.conv2\.0\.", ".relation.position_out."),
    (r"\.relation\.conv5\.0\.", ".relation.channel_out."),
    (r"\.relation\.conv3\.0\.", ".relation.both_out."),
    (r"\.relation\.p_net\.g\.0\.", ".relation.position.value."),
    (r"\.relation\.p_net\.phi\.0\.", ".relation.position.key."),
    (r"\.relation\.p_net\.theta\.", ".relation.position.query."),
    (r"\.relation\.p_net\.W\.", ".relation.position.out."),
    (r"\.relation\.c_net\.g\.", ".relation.channel.value."),
    (r"\.relation\.c_net\.phi\.", ".relation.channel.key."),
    (r"\.relation\.c_net\.theta\.", ".relation.channel.query."),
    (r"\.relation\.c_net\.W\.", ".relation.channel.out."),
    (r"\.v_attn_block\.", ".video."),
    (r"\.a_attn_block\.", ".audio."),
    (r"\.attn_from_self_features\.conv\.", ".from_own."),
    (r"\.attn_from_another_features\.conv\.", ".from_other."),
    (r"\.attn_from_bm\.conv\.", ".from_map."),
)]  # fmt: skip


@dataclass(slots=True)
class Converted:
    """A released checkpoint in our terms.

    Attributes:
        model: name of the network.
        arguments: its constructor's.
        weights: its state dict.
        left_out: names in the file that the network has no use for, and why.
        missing: our names that the file gives nothing for.
        unexpected: names in the file that are not known.
    """

    model: str
    arguments: dict[str, Any]
    weights: dict[str, Tensor]
    left_out: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def report(self) -> str:
        """One line: what was taken, left out, missing and unexpected."""
        parts = [f"{self.model}: {len(self.weights)} tensors"]
        for reason in dict.fromkeys(self.left_out.values()):
            count = sum(r == reason for r in self.left_out.values())
            parts.append(f"{count} left out ({reason})")
        for what, names in (("missing", self.missing), ("unexpected", self.unexpected)):
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})")
        return ", ".join(parts)


def our_name(name: str) -> str | None:
    """Our name of a published tensor; None if it is not known.

    >>> our_name("prb_fusion_p_c.a_attn_block.attn_from_bm.conv.weight")
    'fusions.2.audio.from_map.weight'
    """
    for pattern, ours in _RULES:
        if pattern.fullmatch(name):
            name = pattern.sub(ours, name)
            for part, replacement in _PARTS:
                name = part.sub(replacement, name)
            return name
    return None


def convert_state(
    state: Mapping[str, Tensor], hyper_parameters: Mapping[str, Any], *, decoding: MapDecoding = "aligned"
) -> tuple[Any, Converted]:
    """A network with the published weights, in eval mode, and what became of each name.

    Args:
        state: published names → tensors.
        hyper_parameters: under their published names; what is absent has its published default.
        decoding: of the network; its sampling is the published one, which the weights were trained with.

    Raises:
        CheckpointError: if the state is of neither system, or the settings cannot be used.
    """
    plus = any(".proposal_block." in name for name in state)
    if not plus and "video_boundary_module.block1.2.conv.weight" not in state:
        raise CheckpointError("neither BA-TFD's nor BA-TFD+'s: it has no boundary module under its published name")
    model = "BATFDPlus" if plus else "BATFD"
    arguments = _arguments(model, hyper_parameters, decoding)
    network = build_model(model, arguments)
    wanted = network.state_dict()
    found = Converted(model, arguments, {})
    for name, tensor in state.items():
        ours = our_name(name)
        if ours in wanted:
            shape = wanted[ours].shape
            if not _same_shape(tensor.shape, shape):
                raise CheckpointError(f"{name} is {tuple(tensor.shape)}, want {tuple(shape)}")
            found.weights[ours] = tensor.reshape(shape)
        elif ours is not None and ours.startswith("generators."):
            found.left_out[name] = "the boundary generator, which cbg_feature_weight 0 leaves unused"
        else:
            found.unexpected.append(name)
    found.missing = [name for name in wanted if name not in found.weights]
    network.load_state_dict(found.weights, strict=False)
    return network.eval(), found


def load_published(path: str | Path, *, decoding: MapDecoding = "aligned", strict: bool = True) -> nn.Module:
    """A released checkpoint as a network of ours, in eval mode.

    Args:
        path: a Lightning checkpoint with `state_dict` and `hyper_parameters`.
        decoding: see `avloc.heads.maps.decode_map`.
        strict: whether missing and unexpected names are an error.

    Raises:
        CheckpointError: if the file is missing, is none, or does not fit.
    """
    return read_published(path, decoding=decoding, strict=strict)[0]


def load_network(path: str | Path) -> tuple[Any, str]:
    """The network of a released checkpoint, or of one that `avloc train` or `avloc convert` wrote, in eval mode.

    Returns:
        The network, and how clips are fitted to its length (`pad` for released ones, which do not say).

    Raises:
        CheckpointError: if the file is missing, is none, or does not fit.
    """
    content = load_file(path)
    if isinstance(content, dict) and KEY in content:
        checkpoint = parse_checkpoint(Path(path), content)
        network = build_model(checkpoint.model, checkpoint.arguments)
        load_weights(network, checkpoint)
        return network.eval(), str((checkpoint.clips or {"fit": "pad"})["fit"])
    return _converted(path, content, decoding="aligned", strict=True)[0], "pad"


def read_published(
    path: str | Path, *, decoding: MapDecoding = "aligned", strict: bool = True
) -> tuple[Any, Converted]:
    """As `load_published`, with what became of each name."""
    return _converted(path, load_file(path), decoding=decoding, strict=strict)


def _converted(path: str | Path, content: Any, *, decoding: MapDecoding, strict: bool) -> tuple[Any, Converted]:
    """As `read_published`, of what was read from the file."""
    state = content.get("state_dict") if isinstance(content, dict) else None
    settings = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not isinstance(settings, Mapping):
        ours = isinstance(content, dict) and KEY in content
        what = "is one of ours already, not a released one" if ours else "not a released checkpoint"
        raise CheckpointError(f"{path}: {what}; want a Lightning checkpoint with state_dict and hyper_parameters")
    try:
        network, found = convert_state(state, settings, decoding=decoding)
    except (CheckpointError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from error
    if strict and (found.missing or found.unexpected):
        raise CheckpointError(f"{path}: does not fit, {found.report()}")
    return network, found


def _arguments(model: str, hyper_parameters: Mapping[str, Any], decoding: MapDecoding) -> dict[str, Any]:
    given = {**DEFAULTS[model], **hyper_parameters}
    widths = given.get("v_cla_feature_in", 256), given.get("a_cla_feature_in", 256)
    if widths[0] != widths[1]:
        raise CheckpointError(f"v_cla_feature_in and a_cla_feature_in must be equal, got {widths[0]} and {widths[1]}")
    if given.get("frame_classifier", "lr") != "lr":
        raise CheckpointError(f"the frame classifier must be lr, got {given['frame_classifier']!r}")
    known = {*HYPER_PARAMETERS, *OF_THE_TRAINING, "a_cla_feature_in", "cbg_feature_weight"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise CheckpointError(f"unknown hyper-parameters: {', '.join(unknown)}")
    arguments = {HYPER_PARAMETERS[k]: _plain(v) for k, v in given.items() if k in HYPER_PARAMETERS}
    arguments |= {"sampling": "published", "decoding": decoding}
    if model == "BATFDPlus":
        weight = float(given["cbg_feature_weight"])
        arguments |= {
            "channel_layout": "published", "boundary_generator": weight > 0, "generator_loss_weight": weight,
        }  # fmt: skip
    return arguments


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


def _same_shape(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Equal, but for axes of size 1: some of their convolutions are products here."""
    return [n for n in theirs if n != 1] == [n for n in ours if n != 1]

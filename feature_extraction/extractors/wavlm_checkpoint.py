"""Microsoft's WavLM files: `{"cfg": …, "model": …}` > configuration, renamed tensors > transformers' WavLMModel.

Chen et al., "WavLM: large-scale self-supervised pre-training for full stack speech processing", JSTSP 2022. Reading one runs no
code: the text that describes the convolutions, which is a Python expression, is taken apart here and not evaluated.

Deviation: Microsoft's code normalizes a stream with 1e-5 in the root, transformers with 1e-7, and so do we.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from avloc.errors import AvlocError, first_line
from avloc.io.weights import load_file

_TRIPLE = r"\([0-9]{1,4},[0-9]{1,4},[0-9]{1,4}\)"
_TERM = rf"\[{_TRIPLE}(?:,{_TRIPLE})*,?\](?:\*[0-9]{{1,2}})?"
_EXPRESSION = re.compile(rf"{_TERM}(?:\+{_TERM})*")
_LONGEST = 1000  # characters of an expression

NORMS = {"default": "group", "layer_norm": "layer"}

# The original's settings: name in the file, default there, name in transformers.
SETTINGS = (
    ("encoder_layers", 12, "num_hidden_layers"),
    ("encoder_embed_dim", 768, "hidden_size"),
    ("encoder_ffn_embed_dim", 3072, "intermediate_size"),
    ("encoder_attention_heads", 12, "num_attention_heads"),
    ("conv_pos", 128, "num_conv_pos_embeddings"),
    ("conv_pos_groups", 16, "num_conv_pos_embedding_groups"),
    ("num_buckets", 320, "num_buckets"),
    ("max_distance", 1280, "max_bucket_distance"),
    ("layer_norm_first", False, "do_stable_layer_norm"),
    ("conv_bias", False, "conv_bias"),
)

# Parts of the tensors' names: in transformers, and in the file.
NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"masked_spec_embed", "mask_emb"),
        (r"feature_projection\.layer_norm\b", "layer_norm"),
        (r"feature_projection\.projection\b", "post_extract_proj"),
        (r"(feature_extractor\.conv_layers\.\d+)\.conv\b", r"\1.0"),
        (r"(feature_extractor\.conv_layers\.\d+)\.layer_norm\b", r"\1.2"),
        (r"encoder\.pos_conv_embed\.conv\.bias", "encoder.pos_conv.0.bias"),
        (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0", "encoder.pos_conv.0.weight_g"),
        (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1", "encoder.pos_conv.0.weight_v"),
        (r"(encoder\.layers\.\d+)\.attention\.gru_rel_pos_linear\b", r"\1.self_attn.grep_linear"),
        (r"(encoder\.layers\.\d+)\.attention\.gru_rel_pos_const", r"\1.self_attn.grep_a"),
        (r"(encoder\.layers\.\d+)\.attention\.rel_attn_embed\b", r"\1.self_attn.relative_attention_bias"),
        (r"(encoder\.layers\.\d+)\.attention\b", r"\1.self_attn"),
        (r"(encoder\.layers\.\d+)\.layer_norm\b", r"\1.self_attn_layer_norm"),
        (r"(encoder\.layers\.\d+)\.feed_forward\.intermediate_dense\b", r"\1.fc1"),
        (r"(encoder\.layers\.\d+)\.feed_forward\.output_dense\b", r"\1.fc2"),
    )
)


class WavLMCheckpoint(NamedTuple):
    """transformers' WavLMModel with the file's weights, and whether it wants streams of zero mean and unit variance."""

    network: Any
    normalize: bool


def read_wavlm(path: Path) -> WavLMCheckpoint:
    """Read a file as Microsoft published it.

    Raises:
        AvlocError: if it is none, or if a tensor is missing, unexpected, or of another shape than its settings say.
    """
    content = load_file(path)
    if not (
        isinstance(content, dict) and isinstance(content.get("cfg"), dict) and isinstance(content.get("model"), Mapping)
    ):
        raise AvlocError(f"{path}: not a WavLM file of Microsoft's (want a dictionary with `cfg` and `model`)")
    transformers = import_module("transformers")
    try:
        network = transformers.WavLMModel(transformers.WavLMConfig(**settings(content["cfg"])))
    except Exception as error:  # transformers raises many kinds for settings that cannot be
        raise AvlocError(f"{path}: its `cfg` is of no WavLM ({first_line(error)})") from error
    _fill(path, network, content["model"])
    return WavLMCheckpoint(network, bool(content["cfg"].get("normalize", False)))


def settings(said: Mapping[str, Any]) -> dict[str, Any]:
    """The original's `cfg` as arguments of transformers' WavLMConfig.

    Raises:
        AvlocError: if transformers' WavLM cannot be like that.
    """
    for name in ("relative_position_embedding", "gru_rel_pos"):
        if not said.get(name, False):
            raise AvlocError(f"want gated relative positions, got {name} {said.get(name)!r}")
    norm, activation = said.get("extractor_mode", "default"), said.get("activation_fn", "gelu")
    if norm not in NORMS:
        raise AvlocError(f"extractor_mode must be one of {', '.join(NORMS)}, got {norm!r}")
    if activation not in ("gelu", "relu"):
        raise AvlocError(f"activation_fn must be gelu or relu, got {activation!r}")
    convolutions = convolutions_of(said.get("conv_feature_layers", "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"))
    widths, kernels, strides = zip(*convolutions, strict=True)
    numbers = {ours: type(default)(said.get(theirs, default)) for theirs, default, ours in SETTINGS}
    return {
        **numbers, "feat_extract_norm": NORMS[norm], "hidden_act": activation,
        "conv_dim": widths, "conv_kernel": kernels, "conv_stride": strides,
    }  # fmt: skip


def convolutions_of(text: Any) -> list[tuple[int, int, int]]:
    """Width, kernel and stride of each convolution, of the original's expression.

    >>> convolutions_of("[(8,10,5)] + [(8,3,2)] * 2")
    [(8, 10, 5), (8, 3, 2), (8, 3, 2)]

    Raises:
        AvlocError: if it is anything else than lists of triples, added and repeated.
    """
    tight = re.sub(r"\s", "", text) if isinstance(text, str) and len(text) <= _LONGEST else ""
    if not _EXPRESSION.fullmatch(tight):
        raise AvlocError(f"conv_feature_layers must be like [(512,10,5)] + [(512,3,2)] * 4, got {str(text)[:80]!r}")
    found: list[tuple[int, int, int]] = []
    for term in tight.split("+"):
        triples, _, times = term.partition("*")
        numbers = [int(number) for number in re.findall("[0-9]+", triples)]
        found.extend(list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)) * int(times or 1))
    if not found or 0 in (number for convolution in found for number in convolution):
        raise AvlocError(f"conv_feature_layers must name convolutions of at least 1, got {text!r}")
    return found


def original_name(name: str, norm: str) -> str:
    """The name in the file of a tensor of transformers' WavLMModel; some are the same.

    >>> original_name("encoder.layers.3.feed_forward.intermediate_dense.bias", "group")
    'encoder.layers.3.fc1.bias'
    """
    for pattern, original in NAMES:
        if match := pattern.match(name):
            name = match.expand(original) + name[match.end() :]
            break
    if norm == "layer":  # the original's layer norm lies between two transpositions
        name = re.sub(r"(feature_extractor\.conv_layers\.\d+\.2)\b", r"\1.1", name)
    return name


def _fill(path: Path, network: Any, tensors: Mapping[str, Any]) -> None:
    """Put the file's tensors into the network, all of them and into all of it."""
    import torch

    wanted = network.state_dict()
    names = {original_name(name, network.config.feat_extract_norm): name for name in wanted}
    for problem, found in (
        ("lacks", names.keys() - tensors.keys()),
        ("has no place for", tensors.keys() - names.keys()),
    ):
        if found:
            raise AvlocError(f"{path}: a WavLM of its `cfg` {problem} {', '.join(sorted(map(str, found))[:3])}")
    for original, name in names.items():
        shape, tensor = tuple(wanted[name].shape), tensors[original]
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
            got = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise AvlocError(f"{path}: {original} must be of shape {shape}, got {got}")
    network.load_state_dict({name: tensors[original] for original, name in names.items()})

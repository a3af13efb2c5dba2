"""Microsoft's WavLM files: `{"cfg": …, "model": …}` > configuration, renamed tensors > transformers' WavLMModel.

Chen et al., "WavLM: large-scale self-supervised pre-training for full stack speech processing", JSTSP 2022. Reading a file runs
no code: the Python expression that describes the convolutions is parsed, not evaluated.

Deviation: Microsoft's code normalizes a stream with 1e-5 in the root; here it is 1e-7, as in transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from avloc.errors import AvlocError, one_line
from avloc.io.weights import load_file

_TRIPLE = r"\([0-9]{1,4},[0-9]{1,4},[0-9]{1,4}\)"
_TERM = rf"\[{_TRIPLE}(?:,{_TRIPLE})*,?\](?:\*[0-9]{{1,2}})?"
_EXPRESSION = re.compile(rf"{_TERM}(?:\+{_TERM})*")
_MAX_EXPRESSION = 1000  # characters

USUAL_CONVOLUTIONS = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
NORMS = {"default": "group", "layer_norm": "layer"}


class Setting(NamedTuple):
    """A setting of the original: its name in the file, its default there, and its name in transformers."""

    original: str
    default: int | bool
    name: str

    def convert(self, value: Any) -> int | bool:
        """Convert the file's value to the type of the default."""
        return type(self.default)(value)


SETTINGS = (
    Setting("encoder_layers", 12, "num_hidden_layers"),
    Setting("encoder_embed_dim", 768, "hidden_size"),
    Setting("encoder_ffn_embed_dim", 3072, "intermediate_size"),
    Setting("encoder_attention_heads", 12, "num_attention_heads"),
    Setting("conv_pos", 128, "num_conv_pos_embeddings"),
    Setting("conv_pos_groups", 16, "num_conv_pos_embedding_groups"),
    Setting("num_buckets", 320, "num_buckets"),
    Setting("max_distance", 1280, "max_bucket_distance"),
    Setting("layer_norm_first", False, "do_stable_layer_norm"),
    Setting("conv_bias", False, "conv_bias"),
)

# Parts of tensors' names: in transformers (a pattern), and in the file.
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
    """The content of one of Microsoft's files.

    Attributes:
        network: transformers' WavLMModel with the file's weights.
        normalize: true if the network takes streams of zero mean and unit variance.
    """

    network: Any
    normalize: bool


def read_wavlm(path: Path) -> WavLMCheckpoint:
    """Read a file as Microsoft published it.

    Raises:
        AvlocError: if the file is of another kind, or a tensor is missing, unexpected, or of another shape than in its `cfg`.
    """
    content = load_file(path)
    if not (
        isinstance(content, dict) and isinstance(content.get("cfg"), dict) and isinstance(content.get("model"), Mapping)
    ):
        raise AvlocError(f"{path}: not a WavLM file of Microsoft's (expected a dictionary with `cfg` and `model`)")
    transformers = import_module("transformers")
    try:
        network = transformers.WavLMModel(transformers.WavLMConfig(**transformers_settings(content["cfg"])))
    except Exception as error:  # transformers raises errors of many types for invalid settings
        raise AvlocError(f"{path}: its `cfg` is of no WavLM ({one_line(error)})") from error
    _fill(path, network, content["model"])
    return WavLMCheckpoint(network, bool(content["cfg"].get("normalize", False)))


def transformers_settings(cfg: Mapping[str, object]) -> dict[str, object]:
    """Convert the original's `cfg` to arguments of transformers' WavLMConfig.

    Raises:
        AvlocError: if transformers' WavLM does not support a setting.
    """
    for name in ("relative_position_embedding", "gru_rel_pos"):
        if not cfg.get(name, False):
            raise AvlocError(f"expected gated relative positions, got {name} {cfg.get(name)!r}")
    norm, activation = str(cfg.get("extractor_mode", "default")), cfg.get("activation_fn", "gelu")
    if norm not in NORMS:
        raise AvlocError(f"extractor_mode must be one of {', '.join(NORMS)}, got {norm!r}")
    if activation not in ("gelu", "relu"):
        raise AvlocError(f"activation_fn must be gelu or relu, got {activation!r}")
    convolutions = parse_convolutions(cfg.get("conv_feature_layers", USUAL_CONVOLUTIONS))
    widths, kernels, strides = zip(*convolutions, strict=True)
    numbers = {s.name: s.convert(cfg.get(s.original, s.default)) for s in SETTINGS}
    return {
        **numbers,
        "feat_extract_norm": NORMS[norm],
        "hidden_act": activation,
        "conv_dim": widths,
        "conv_kernel": kernels,
        "conv_stride": strides,
    }


def parse_convolutions(text: object) -> list[tuple[int, int, int]]:
    """Parse the original's expression into width, kernel and stride of each convolution.

    >>> parse_convolutions("[(8,10,5)] + [(8,3,2)] * 2")
    [(8, 10, 5), (8, 3, 2), (8, 3, 2)]

    Raises:
        AvlocError: if the text is anything else than lists of triples, added and repeated.
    """
    tight = re.sub(r"\s", "", text) if isinstance(text, str) and len(text) <= _MAX_EXPRESSION else ""
    if not _EXPRESSION.fullmatch(tight):
        raise AvlocError(f"conv_feature_layers must be like [(512,10,5)] + [(512,3,2)] * 4, got {str(text)[:80]!r}")
    convolutions: list[tuple[int, int, int]] = []
    for term in tight.split("+"):
        triples, _, times = term.partition("*")
        numbers = [int(number) for number in re.findall("[0-9]+", triples)]
        convolutions.extend(list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)) * int(times or 1))
    if not convolutions or 0 in (number for convolution in convolutions for number in convolution):
        raise AvlocError(f"conv_feature_layers must name convolutions of at least 1, got {text!r}")
    return convolutions


def original_name(name: str, norm: str) -> str:
    """Translate the name of a tensor of transformers' WavLMModel into its name in the file; some are the same.

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


def _fill(path: Path, network: Any, tensors: Mapping[str, object]) -> None:
    """Load the file's tensors into the network.

    Raises:
        AvlocError: unless they are exactly the network's tensors.
    """
    import torch

    expected = network.state_dict()
    names = {original_name(name, network.config.feat_extract_norm): name for name in expected}
    missing, unexpected = names.keys() - tensors.keys(), tensors.keys() - names.keys()
    for problem, keys in (("lacks", missing), ("has no place for", unexpected)):
        if keys:
            raise AvlocError(f"{path}: a WavLM of its `cfg` {problem} {', '.join(sorted(map(str, keys))[:3])}")
    for original, name in names.items():
        shape, tensor = tuple(expected[name].shape), tensors[original]
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
            got = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise AvlocError(f"{path}: {original} must be of shape {shape}, got {got}")
    network.load_state_dict({name: tensors[original] for original, name in names.items()})

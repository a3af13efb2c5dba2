"""Speech networks of the transformers library, as modules that train: from local weights, or from their settings alone.

WavLM (Chen et al., JSTSP 2022), wav2vec 2.0 (Baevski et al., NeurIPS 2020), XLS-R (Babu et al., 2021) and HuBERT (Hsu et al.,
TASLP 2021). Nothing is downloaded. A checkpoint keeps the settings, so that it can be read without the folder of the weights.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError, one_line
from avloc.io.files import read_json
from avloc.io.pretrained import quiet_transformers, read_pretrained

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {"wavlm": "WavLM", "wav2vec2": "Wav2Vec2", "hubert": "Hubert"}
"""`model_type` of a configuration → prefix of the names of transformers' classes."""
SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    "hidden_size": int,
    "num_hidden_layers": int,
    "num_attention_heads": int,
    "intermediate_size": int,
    "hidden_act": str,
    "feat_extract_norm": str,
    "feat_extract_activation": str,
    "conv_dim": (list, tuple),
    "conv_stride": (list, tuple),
    "conv_kernel": (list, tuple),
    "conv_bias": bool,
    "num_conv_pos_embeddings": int,
    "num_conv_pos_embedding_groups": int,
    "do_stable_layer_norm": bool,
    "layer_norm_eps": float,
    "hidden_dropout": (int, float),
    "activation_dropout": (int, float),
    "attention_dropout": (int, float),
    "feat_proj_dropout": (int, float),
    "feat_proj_layer_norm": bool,
    "conv_pos_batch_norm": bool,
    "num_buckets": int,
    "max_bucket_distance": int,
}
"""Settings that change such a network, and their types; no other setting of a file is used."""
MOST_WEIGHTS = 2_500_000_000  # XLS-R of the largest size has 2.2 billion
LARGEST_SETTING, MOST_LAYERS, MOST_CONVOLUTIONS = 1 << 13, 64, 16
UNUSED_WEIGHTS = ("masked_spec_embed",)
"""The vector of masked frames, which older folders lack and nothing here uses."""


class Timing(NamedTuple):
    """The clock of a stack of convolutions.

    Attributes:
        hop: samples from row to row.
        reach: samples that a row sees.

    >>> Timing(hop=320, reach=400).rows(16_000)
    49
    """

    hop: int
    reach: int

    def rows(self, samples: int) -> int:
        """The number of rows of a stream of `samples`."""
        return max(0, (samples - self.reach) // self.hop + 1)


def conv_timing(kernels: Sequence[int], strides: Sequence[int]) -> Timing:
    """The timing of a stack of convolutions without padding.

    >>> conv_timing((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    Timing(hop=320, reach=400)
    """
    hop, reach = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        reach += (kernel - 1) * hop
        hop *= stride
    return Timing(hop, reach)


class SpeechEncoder(NamedTuple):
    """A speech network, and all that rebuilds it without its weights.

    Attributes:
        network: of transformers.
        settings: its configuration as plain values, with `model_type`.
        normalize: scale each clip's samples to mean 0 and deviation 1.
    """

    network: Any
    settings: dict[str, Any]
    normalize: bool


def read_encoder(folder: str | Path) -> SpeechEncoder:
    """Read a network from a folder as transformers saves it.

    Raises:
        AvlocError: if the folder is missing, or its weights are not those of such a network.
    """
    folder = Path(folder).expanduser()
    if not (folder / "config.json").is_file():
        raise AvlocError(f"{folder}: want a folder of a speech network, with config.json and model.safetensors")
    settings = check_settings(read_json(folder / "config.json", "configuration"), str(folder / "config.json"))
    normalize = normalizes(folder / "preprocessor_config.json", _normalizes(settings))
    model = _class(settings, "Model")
    network = read_pretrained(model, folder, "a speech network", unused=UNUSED_WEIGHTS, config=_config(settings))
    return SpeechEncoder(network.float(), settings, normalize)


def normalizes(file: Path, default: bool) -> bool:
    """Tell whether a network takes streams of zero mean and unit variance.

    Args:
        file: a folder's `preprocessor_config.json`.
        default: the answer without this file.

    Raises:
        AvlocError: if the file is unreadable, or of a network for another sample rate.
    """
    if not file.is_file():
        return default
    values = read_json(file, "configuration")
    if not isinstance(values, dict) or values.get("sampling_rate", DEFAULT_SAMPLE_RATE) != DEFAULT_SAMPLE_RATE:
        raise AvlocError(f"{file}: expected the settings of a network for {DEFAULT_SAMPLE_RATE} samples/s")
    return bool(values.get("do_normalize", True))


def random_encoder(settings: Mapping[str, Any], normalize: bool | None = None) -> SpeechEncoder:
    """Make a network with random weights.

    Args:
        settings: `model_type`, and those of `SETTINGS` that differ from transformers' defaults.
        normalize: scale each clip's samples; None: as networks of such settings were trained.

    Raises:
        AvlocError: if a setting is unknown, of a wrong type, or too large.
    """
    checked = check_settings(settings, "the settings of a speech network")
    try:
        config = _config(checked)
        _check_size(config)
        with quiet_transformers():
            network = _class(checked, "Model")(config)
    except AvlocError:  # of its size
        raise
    except Exception as error:  # of many types, for sizes that do not go together
        raise AvlocError(f"not settings of a speech network ({one_line(error)})") from error
    return SpeechEncoder(network, checked, _normalizes(checked) if normalize is None else normalize)


def check_settings(values: object, source: str) -> dict[str, Any]:
    """Keep the settings that change a network, and check each: a file may claim sizes that take all memory.

    Raises:
        AvlocError: if the kind is unknown, or a setting is of a wrong type or too large.
    """
    kind = values.get("model_type") if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping) or kind not in KINDS:
        raise AvlocError(f"{source}: want model_type of {', '.join(KINDS)}, got {kind!r}")
    settings: dict[str, Any] = {"model_type": kind}
    for name, expected in SETTINGS.items():
        if name in values:
            if not _fits(name, values[name], expected):
                raise AvlocError(f"{source}: {name} cannot be {values[name]!r}")
            settings[name] = list(values[name]) if isinstance(values[name], tuple) else values[name]
    return settings


def _check_size(config: Any) -> None:
    """Count the weights of a network before it is made: of its convolutions, positions, attention and feed-forward layers.

    Raises:
        AvlocError: if they would take all memory.
    """
    widths = [1, *config.conv_dim]
    convolutions = sum(a * b * k for a, b, k in zip(widths, config.conv_dim, config.conv_kernel, strict=False))
    width = config.hidden_size
    positions = width * width * config.num_conv_pos_embeddings // max(1, config.num_conv_pos_embedding_groups)
    layer = 4 * width * width + 2 * width * config.intermediate_size
    count = convolutions + widths[-1] * width + positions + config.num_hidden_layers * layer
    if count > MOST_WEIGHTS:
        raise AvlocError(f"a speech network of these settings has {count:.1e} weights, want at most {MOST_WEIGHTS:.1e}")


def _fits(name: str, value: object, expected: type | tuple[type, ...]) -> bool:
    """Tell whether a setting is of its type, and no number of it too large: a bool is no number, a list is of whole numbers."""
    if expected in (bool, str):
        return isinstance(value, expected)
    largest = MOST_LAYERS if name == "num_hidden_layers" else LARGEST_SETTING
    if expected == (list, tuple):
        if not isinstance(value, list | tuple) or len(value) > MOST_CONVOLUTIONS:
            return False
        return all(type(v) is int and 1 <= v <= largest for v in value)
    return isinstance(value, expected) and not isinstance(value, bool) and 0 <= value <= largest  # type: ignore[operator]


def _normalizes(settings: Mapping[str, Any]) -> bool:
    """WavLM of the base sizes alone was trained on samples as they are."""
    return settings["model_type"] != "wavlm" or settings.get("feat_extract_norm") == "layer"


def _class(settings: Mapping[str, Any], suffix: str) -> Any:
    return getattr(import_module("transformers"), f"{KINDS[settings['model_type']]}{suffix}")


def _config(settings: Mapping[str, Any]) -> Any:
    config = _class(settings, "Config")(**{k: v for k, v in settings.items() if k != "model_type"})
    # Frames are never masked and layers never dropped: every parameter has a part in every step, as several processes need it.
    config.mask_time_prob = config.mask_feature_prob = config.layerdrop = 0.0
    config.apply_spec_augment = config.add_adapter = False
    return config


def checkpoint_activations(network: Any) -> None:
    """Have a network compute its layers' activations again in the backward pass instead of keeping them."""
    # Newer releases warn of the older name.
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable({"use_reentrant": False, "context_fn": lambda: (contextlib.nullcontext(), quiet_masks())})


@contextlib.contextmanager
def quiet_masks() -> Iterator[None]:
    """Silence torch's warning about WavLM's attention: a boolean mask beside a float bias, which torch accepts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")
        yield


def hidden_states(network: Any, samples: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Run a network: (B, N) samples → its hidden states (B, R, H) each, the transformer's input first.

    Args:
        network: of transformers.
        samples: (B, N).
        mask: (B, N), 1 for samples and 0 for padding; None without padding.
    """
    with quiet_masks():
        output = network(samples, attention_mask=mask, output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]

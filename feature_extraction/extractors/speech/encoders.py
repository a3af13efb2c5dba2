"""Speech networks of the transformers library: samples > convolutions > transformer > the chosen layers, a row per 20 ms.

WavLM (Chen et al., "WavLM: large-scale self-supervised pre-training for full stack speech processing", JSTSP 2022), wav2vec 2.0
(Baevski et al., NeurIPS 2020), XLS-R (Babu et al., arXiv 2111.09296, 2021) and HuBERT (Hsu et al., TASLP 2021), from local
weights: nothing is ever downloaded. `network` explains the timing of a row.

Legend: B batch, N samples, T rows, C width, L hidden states (the transformer's input, then one per layer).
"""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avloc.errors import AvlocError, one_line
from avloc.feature_extraction.extractors.base import Parameters, Stream
from avloc.feature_extraction.extractors.pretrained import folder_sha256, model_folder
from avloc.feature_extraction.extractors.speech.network import SpeechNetwork
from avloc.io.files import file_sha256, read_json
from avloc.io.pretrained import read_pretrained
from avloc.models.front_ends.speech_encoder import UNUSED_WEIGHTS, Timing, conv_timing, hidden_states, normalizes

if TYPE_CHECKING:
    import torch

    from avloc.feature_extraction.extractors.speech.wavlm_checkpoint import WavLMCheckpoint


class NetworkSize(NamedTuple):
    """The settings in which two sizes of these networks differ, by their names in transformers' configurations."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    feat_extract_norm: str
    do_stable_layer_norm: bool
    conv_bias: bool


BASE = NetworkSize(768, 12, 12, 3072, "group", False, False)
LARGE = NetworkSize(1024, 24, 16, 4096, "layer", True, True)


class TransformersSpeech(SpeechNetwork):
    """A speech network of the transformers library, of the size in its configuration.

    Args:
        weights: a folder as transformers saves it (`config.json`, `preprocessor_config.json`, weights), or the name of a model
            in the local Hugging Face cache; by default `hub`. For WavLM also Microsoft's `.pt` file.
        layers: see `SpeechNetwork`.
        mean: see `SpeechNetwork`.
        batch_s: see `SpeechNetwork`.
        random: use random weights (of a fixed seed) in the standard size, for benchmarks and tests of the pipeline.

    Attributes:
        kind: the configuration's `model_type`.
        classes: the prefix of the names of transformers' classes.
        hub: the default model's name in the Hugging Face cache.
        size: the standard size.
        normalize: if streams are normalized without a `preprocessor_config.json` that says so.

    Raises:
        AvlocError: if the weights are missing, or given together with `random`.
    """

    kind: str
    classes: str
    hub: str
    size: NetworkSize
    normalize: bool

    def __init__(
        self,
        *,
        weights: str | None = None,
        layers: str = "last",
        mean: bool = False,
        batch_s: int = 60,
        random: bool = False,
    ) -> None:
        super().__init__(layers, mean, batch_s)
        if random and weights is not None:
            raise AvlocError(f"extractor {self.name}: give weights, or random=true for random ones, not both")
        self.random = random
        self.source = None if random else self._locate(weights)

    def parameters(self) -> Parameters:
        return {**super().parameters(), "random": self.random}

    def weights_sha256(self) -> str | None:
        return self._sha256

    @cached_property
    def _sha256(self) -> str | None:
        if self.source is None:
            return None
        return file_sha256(self.source) if self.source.is_file() else folder_sha256(self.source)

    def _locate(self, weights: str | None) -> Path:
        """The folder of the weights, or their file.

        Raises:
            AvlocError: if it is missing.
        """
        return model_folder(weights or self.hub, self.name)

    @cached_property
    def settings(self) -> tuple[Any, bool]:
        """The configuration, and true if streams are normalized.

        Raises:
            AvlocError: if the configuration is unreadable, or that of another model.
        """
        if self.source is None:
            return self._configuration(self.size._asdict()), self.normalize
        values = read_json(self.source / "config.json", "configuration")
        kind = values.get("model_type") if isinstance(values, dict) else None
        if kind != self.kind:
            raise AvlocError(f"{self.source / 'config.json'}: {self.name} needs a {self.kind} model, got {kind}")
        try:
            config = self._configuration(values)
        except Exception as error:  # transformers raises errors of many types for invalid settings
            raise AvlocError(f"{self.source / 'config.json'}: not a configuration ({one_line(error)})") from error
        return config, normalizes(self.source / "preprocessor_config.json", self.normalize)

    def _configuration(self, values: dict[str, object]) -> Any:
        config = getattr(import_module("transformers"), f"{self.classes}Config").from_dict(values)
        # Masks are for training only; and rows come from the transformer itself, not from an adapter behind it.
        config.mask_time_prob = config.mask_feature_prob = 0.0
        config.add_adapter = False
        return config

    @property
    def timing(self) -> Timing:
        config = self.settings[0]
        return conv_timing(config.conv_kernel, config.conv_stride)

    @property
    def shape(self) -> tuple[int, int]:
        config = self.settings[0]
        return config.num_hidden_layers + 1, config.hidden_size

    @property
    def pads(self) -> bool:
        """False with a group norm: its statistics span the whole stream and would include the padding."""
        return bool(self.settings[0].feat_extract_norm == "layer")

    def signal(self, samples: Stream) -> Stream:
        return super().signal(normalized(samples) if self.settings[1] else samples)

    def _load(self) -> torch.nn.Module:
        network = (self._random if self.source is None else self._read)().float()
        self._shorten(network)
        return network

    def _random(self) -> torch.nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network: torch.nn.Module = self._model(self.settings[0])
        return network

    @property
    def _model(self) -> Any:
        return getattr(import_module("transformers"), f"{self.classes}Model")

    def _read(self) -> torch.nn.Module:
        assert self.source is not None
        network: torch.nn.Module = read_pretrained(
            self._model, self.source, self.name, unused=UNUSED_WEIGHTS, config=self.settings[0]
        )
        return network

    def _shorten(self, network: Any) -> None:
        """Drop the layers above the highest chosen one."""
        import torch

        highest = max(*self.numbers, 1)
        if highest < len(network.encoder.layers):
            network.encoder.layers = network.encoder.layers[:highest]
            if network.config.do_stable_layer_norm:  # it follows the last layer only
                network.encoder.layer_norm = torch.nn.Identity()

    def states(self, data: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        """The last state is the network's output, behind its last norm if it has one, in every version of transformers."""
        states = hidden_states(self.network, data, mask)
        return [states[k] for k in self.numbers]


def normalized(samples: Stream) -> Stream:
    """Scale samples to zero mean and unit variance as transformers' Wav2Vec2FeatureExtractor does."""
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


class WavLM(TransformersSpeech):
    """WavLM, from a folder or from a `.pt` file that Microsoft published."""

    kind, classes = "wavlm", "WavLM"
    normalize = False

    def _locate(self, weights: str | None) -> Path:
        return Path(weights) if weights and Path(weights).is_file() else super()._locate(weights)

    @cached_property
    def _original(self) -> WavLMCheckpoint | None:
        """The content of Microsoft's file; None for a folder."""
        from avloc.feature_extraction.extractors.speech.wavlm_checkpoint import read_wavlm

        return read_wavlm(self.source) if self.source is not None and self.source.is_file() else None

    @cached_property
    def settings(self) -> tuple[Any, bool]:
        if self._original is None:
            return super().settings
        return self._original.network.config, self._original.normalize

    def _read(self) -> torch.nn.Module:
        return super()._read() if self._original is None else self._original.network


class WavLMBase(WavLM):
    """WavLM Base: 12 layers of 768."""

    name = "wavlm_base"
    hub = "microsoft/wavlm-base"
    size = BASE


class WavLMBasePlus(WavLM):
    """WavLM Base+: 12 layers of 768, trained on 94 000 hours."""

    name = "wavlm_base_plus"
    hub = "microsoft/wavlm-base-plus"
    size = BASE


class WavLMLarge(WavLM):
    """WavLM Large: 24 layers of 1024."""

    name = "wavlm_large"
    hub = "microsoft/wavlm-large"
    size = LARGE._replace(conv_bias=False)
    normalize = True


class Wav2Vec2Base(TransformersSpeech):
    """wav2vec 2.0 Base: 12 layers of 768."""

    name = "wav2vec2_base"
    kind, classes = "wav2vec2", "Wav2Vec2"
    hub = "facebook/wav2vec2-base"
    size = BASE
    normalize = True


class Wav2Vec2Large(Wav2Vec2Base):
    """wav2vec 2.0 Large: 24 layers of 1024; the one trained on 60 000 hours is `weights=facebook/wav2vec2-large-lv60`."""

    name = "wav2vec2_large"
    hub = "facebook/wav2vec2-large"
    size = LARGE._replace(feat_extract_norm="group", do_stable_layer_norm=False, conv_bias=False)


class XLSR300M(Wav2Vec2Base):
    """XLS-R 300M: wav2vec 2.0, 24 layers of 1024, trained on 128 languages."""

    name = "xls_r_300m"
    hub = "facebook/wav2vec2-xls-r-300m"
    size = LARGE


class HuBERTBase(TransformersSpeech):
    """HuBERT Base: 12 layers of 768."""

    name = "hubert_base"
    kind, classes = "hubert", "Hubert"
    hub = "facebook/hubert-base-ls960"
    size = BASE
    normalize = True


class HuBERTLarge(HuBERTBase):
    """HuBERT Large: 24 layers of 1024, trained on 60 000 hours."""

    name = "hubert_large"
    hub = "facebook/hubert-large-ll60k"
    size = LARGE

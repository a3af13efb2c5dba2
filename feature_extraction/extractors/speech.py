"""Networks of speech that transformers runs: samples > convolutions > transformer > the chosen layers, a row per 20 ms.

WavLM (Chen et al., "WavLM: large-scale self-supervised pre-training for full stack speech processing", JSTSP 2022), wav2vec 2.0
(Baevski et al., NeurIPS 2020), XLS-R (Babu et al., arXiv 2111.09296, 2021) and HuBERT (Hsu et al., TASLP 2021), from local
weights: nothing is ever downloaded. `speech_network` says which samples a row is of.

Legend: B batch, N samples, T rows, C width, L hidden states (the transformer's input, then one per layer).
"""

from __future__ import annotations

import warnings
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError, first_line
from avloc.feature_extraction.extractors.base import Stream
from avloc.feature_extraction.extractors.pretrained import folder_sha256, model_folder, quiet_transformers
from avloc.feature_extraction.extractors.speech_network import SpeechNetwork, Timing, timing_of
from avloc.io.files import file_sha256, read_json

if TYPE_CHECKING:
    import torch

    from avloc.feature_extraction.extractors.wavlm_checkpoint import WavLMCheckpoint


class Size(NamedTuple):
    """What tells two sizes of these networks apart, by the names of transformers' configurations."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    feat_extract_norm: str
    do_stable_layer_norm: bool
    conv_bias: bool


BASE = Size(768, 12, 12, 3072, "group", False, False)
LARGE = Size(1024, 24, 16, 4096, "layer", True, True)


class TransformersSpeech(SpeechNetwork):
    """A network of transformers, of whatever size its configuration says.

    Args:
        weights: a folder as transformers saves it (`config.json`, `preprocessor_config.json`, weights), or the name of one in
            the hub's cache on this machine; by default the class's own name there. For WavLM also Microsoft's `.pt` file.
        layers: see `SpeechNetwork`.
        mean: see `SpeechNetwork`.
        batch_s: see `SpeechNetwork`.
        random: use random weights (of a fixed seed) in the standard size, for benchmarks and tests of the pipeline.
    """

    kind: str  # the configuration's model_type
    classes: str  # what the names of transformers' classes begin with
    hub: str
    size: Size
    normalize: bool  # where no preprocessor_config.json tells

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
        self.source = None if random else self._found(weights)

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "random": self.random}

    def weights_sha256(self) -> str | None:
        return self._sha256

    @cached_property
    def _sha256(self) -> str | None:
        if self.source is None:
            return None
        return file_sha256(self.source) if self.source.is_file() else folder_sha256(self.source)

    def _found(self, weights: str | None) -> Path:
        """The folder of weights, or the file; an AvlocError unless it is there."""
        return model_folder(weights or self.hub, self.name)

    @cached_property
    def settings(self) -> tuple[Any, bool]:
        """The configuration, and whether streams are normalized."""
        if self.source is None:
            return self._configuration(self.size._asdict()), self.normalize
        said = read_json(self.source / "config.json", "configuration")
        kind = said.get("model_type") if isinstance(said, dict) else None
        if kind != self.kind:
            raise AvlocError(f"{self.source / 'config.json'}: {self.name} wants a {self.kind} model, got {kind}")
        try:
            config = self._configuration(said)
        except Exception as error:  # transformers raises many kinds for settings that cannot be
            raise AvlocError(f"{self.source / 'config.json'}: not a configuration ({first_line(error)})") from error
        return config, _normalizes(self.source / "preprocessor_config.json", self.normalize)

    def _configuration(self, said: dict[str, Any]) -> Any:
        config = getattr(import_module("transformers"), f"{self.classes}Config").from_dict(said)
        # Only training masks; and rows are the transformer's own, not those of an adapter behind it.
        config.mask_time_prob = config.mask_feature_prob = 0.0
        config.add_adapter = False
        return config

    @property
    def timing(self) -> Timing:
        config = self.settings[0]
        return timing_of(config.conv_kernel, config.conv_stride)

    @property
    def shape(self) -> tuple[int, int]:
        config = self.settings[0]
        return config.num_hidden_layers + 1, config.hidden_size

    @property
    def pads(self) -> bool:
        """A group norm is over the whole of a stream, so it would see the padding."""
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
        try:
            with quiet_transformers():
                network, report = self._model.from_pretrained(
                    self.source, config=self.settings[0], local_files_only=True, output_loading_info=True
                )
        except Exception as error:  # transformers raises many kinds for files that are not what they should be
            raise AvlocError(f"{self.source}: not weights of {self.name} ({first_line(error)})") from error
        if report["missing_keys"]:
            missing = ", ".join(sorted(report["missing_keys"])[:3])
            raise AvlocError(f"{self.source}: not weights of {self.name}, they lack {missing}")
        return network  # type: ignore[no-any-return]

    def _shorten(self, network: Any) -> None:
        """Leave out the layers above the highest that is chosen."""
        import torch

        wanted = max(*self.numbers, 1)
        if wanted < len(network.encoder.layers):
            network.encoder.layers = network.encoder.layers[:wanted]
            if network.config.do_stable_layer_norm:  # it follows the last layer only
                network.encoder.layer_norm = torch.nn.Identity()

    def states(self, data: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        """The last hidden state is what leaves the network, behind its last norm if it has one, in every transformers."""
        output = self.network(data, attention_mask=mask, output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        return [states[k] for k in self.numbers]


def normalized(samples: Stream) -> Stream:
    """Zero mean and unit variance, as transformers' Wav2Vec2FeatureExtractor makes them."""
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def _normalizes(file: Path, default: bool) -> bool:
    if not file.is_file():
        return default
    said = read_json(file, "configuration")
    if not isinstance(said, dict) or said.get("sampling_rate", DEFAULT_SAMPLE_RATE) != DEFAULT_SAMPLE_RATE:
        raise AvlocError(f"{file}: want the settings of a network for {DEFAULT_SAMPLE_RATE} samples/s")
    return bool(said.get("do_normalize", True))


class WavLM(TransformersSpeech):
    """WavLM, also from the `.pt` files that Microsoft published."""

    kind, classes = "wavlm", "WavLM"
    normalize = False

    def _found(self, weights: str | None) -> Path:
        return Path(weights) if weights and Path(weights).is_file() else super()._found(weights)

    @cached_property
    def _original(self) -> WavLMCheckpoint | None:
        """Microsoft's file, read; None if it is a folder."""
        from avloc.feature_extraction.extractors.wavlm_checkpoint import read_wavlm

        return read_wavlm(self.source) if self.source is not None and self.source.is_file() else None

    @cached_property
    def settings(self) -> tuple[Any, bool]:
        if self._original is None:
            return super().settings
        return self._original.network.config, self._original.normalize

    def _read(self) -> torch.nn.Module:
        return super()._read() if self._original is None else self._original.network

    def states(self, data: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        """Its attention hands torch a mask of truths beside a bias of numbers, which torch takes but warns of."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")
            return super().states(data, mask)


class WavLMBase(WavLM):
    """WavLM Base: 12 layers of 768."""

    name = "wavlm_base"
    hub = "microsoft/wavlm-base"
    size = BASE


class WavLMBasePlus(WavLM):
    """WavLM Base+: 12 layers of 768, of 94 000 hours."""

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
    """wav2vec 2.0 Large: 24 layers of 1024; `weights=facebook/wav2vec2-large-lv60` names the one of 60 000 hours."""

    name = "wav2vec2_large"
    hub = "facebook/wav2vec2-large"
    size = LARGE._replace(feat_extract_norm="group", do_stable_layer_norm=False, conv_bias=False)


class XLSR300M(Wav2Vec2Base):
    """XLS-R 300M: wav2vec 2.0, 24 layers of 1024, of 128 languages."""

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
    """HuBERT Large: 24 layers of 1024, of 60 000 hours."""

    name = "hubert_large"
    hub = "facebook/hubert-large-ll60k"
    size = LARGE

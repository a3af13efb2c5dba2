"""Whisper's encoder: samples > log mel of 30 s > two convolutions > transformer > the chosen layers, a row per 20 ms.

Radford et al., "Robust speech recognition via large-scale weak supervision", ICML 2023, from local weights: nothing is ever
downloaded. Its features tell forged speech (Kawa et al., "Improved deepfake detection using Whisper features", Interspeech 2023).

Legend: B batch, N samples, M mel bins, T rows, C width, L hidden states (the transformer's input, then one per layer).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import FeatureArray, Stream
from avloc.feature_extraction.extractors.speech.encoders import TransformersSpeech
from avloc.io.pretrained import read_pretrained
from avloc.models.front_ends.speech_encoder import Timing

if TYPE_CHECKING:
    import torch

WINDOW_S = 30
HOP = 320  # samples: a mel frame each 160, and a convolution with a stride of 2
ROWS = WINDOW_S * DEFAULT_SAMPLE_RATE // HOP


class WhisperSize(NamedTuple):
    """The settings in which the sizes of Whisper differ, by their names in transformers' configurations."""

    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    num_mel_bins: int = 80


class CentredTiming(Timing):
    """The clock of convolutions that pad their input by half of what they see: row k is centred on sample k · hop."""

    def rows(self, samples: int) -> int:
        """The number of rows of a stream of `samples`."""
        return -(-samples // self.hop)


class WhisperBase(TransformersSpeech):
    """The encoder of Whisper Base: 6 layers of 512.

    Each stream is padded with silence to the 30 s that Whisper was trained on; a longer one is extracted in windows of 30 s.
    """

    name = "whisper_base"
    kind, classes = "whisper", "Whisper"
    hub = "openai/whisper-base"
    size = WhisperSize(512, 6, 8, 2048)  # type: ignore[assignment]
    normalize = False
    # A mel frame sees 400 samples; the convolutions see five frames.
    timing = CentredTiming(HOP, 4 * 160 + 400)  # type: ignore[assignment]
    start_offset_s = -HOP / 2 / DEFAULT_SAMPLE_RATE  # row k is centred on sample k · HOP
    pads = True  # type: ignore[assignment]

    def _configuration(self, values: dict[str, object]) -> Any:
        config = import_module("transformers").WhisperConfig.from_dict(values)
        if config.max_source_positions != ROWS:
            raise AvlocError(
                f"want a network for windows of {WINDOW_S} s, {ROWS} rows, got {config.max_source_positions}"
            )
        return config

    @property
    def shape(self) -> tuple[int, int]:
        config = self.settings[0]
        return config.encoder_layers + 1, config.d_model

    @property
    def _model(self) -> Any:
        return import_module("transformers.models.whisper.modeling_whisper").WhisperEncoder

    def _read(self) -> torch.nn.Module:
        assert self.source is not None
        model = import_module("transformers").WhisperModel
        network: torch.nn.Module = read_pretrained(model, self.source, self.name, config=self.settings[0]).encoder
        return network

    def _shorten(self, network: Any) -> None:
        import torch

        highest = max(*self.numbers, 1)
        if highest < len(network.layers):
            network.layers = network.layers[:highest]
            network.layer_norm = torch.nn.Identity()  # it follows the last layer only

    @cached_property
    def _log_mel(self) -> Any:
        return import_module("transformers").WhisperFeatureExtractor(feature_size=self.settings[0].num_mel_bins)

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        per_pass = max(1, self.batch_s // WINDOW_S)
        passes = [streams[k : k + per_pass] for k in range(0, len(streams), per_pass)]
        return [rows for group in passes for rows in self._run_pass(group)]

    def _run_pass(self, signals: Sequence[Stream]) -> list[FeatureArray]:
        log_mel = self._log_mel(list(signals), sampling_rate=DEFAULT_SAMPLE_RATE, return_tensors="pt").input_features
        with self.running():
            values = self.merge(self.states(self.on_device(log_mel), None)).cpu().numpy()
        return [v[: self.timing.rows(len(signal))] for v, signal in zip(values, signals, strict=True)]

    def states(self, data: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        """Run the network.

        Args:
            data: log mel of whole windows (B, M, 2 · ROWS).
            mask: None, as silence is no padding to Whisper.

        Returns:
            Each chosen hidden state (B, ROWS, C).
        """
        output = self.network(data, output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        return [states[k] for k in self.numbers]


class WhisperSmall(WhisperBase):
    """The encoder of Whisper Small: 12 layers of 768."""

    name = "whisper_small"
    hub = "openai/whisper-small"
    size = WhisperSize(768, 12, 12, 3072)  # type: ignore[assignment]


class WhisperLargeV3(WhisperBase):
    """The encoder of Whisper Large v3: 32 layers of 1280."""

    name = "whisper_large_v3"
    hub = "openai/whisper-large-v3"
    size = WhisperSize(1280, 32, 20, 5120, 128)  # type: ignore[assignment]

"""Speech networks of s3prl as extractors: `s3prl:NAME,weights=FILE` > the upstream's hidden states, a row per 20 ms.

Yang et al., "SUPERB: speech processing universal performance benchmark", Interspeech 2021. Only its entries that load a local
file are used; nothing is ever downloaded. Of s3prl only the upstream's own package is imported: its `hub` imports all of them,
and some need functions that torchaudio 2.9 removed.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError, one_line
from avloc.feature_extraction.extractors.base import Parameters
from avloc.feature_extraction.extractors.pretrained import SETTINGS, folder_sha256
from avloc.feature_extraction.extractors.speech.network import SpeechNetwork
from avloc.feature_extraction.extractors.speech.wavlm_checkpoint import parse_convolutions
from avloc.io.files import file_sha256
from avloc.io.pretrained import quiet_transformers, weight_files
from avloc.io.weights import load_file
from avloc.models.front_ends.speech_encoder import Timing, conv_timing

if TYPE_CHECKING:
    import torch

# Prefix of an upstream's name → its package in s3prl.upstream, and the entry that loads a local file or folder.
UPSTREAMS = {
    "wavlm": ("wavlm", "wavlm_local"),
    "unispeech_sat": ("unispeech_sat", "unispeech_sat_local"),
    "wav2vec2": ("wav2vec2", "wav2vec2_local"),
    "xlsr": ("wav2vec2", "wav2vec2_local"),
    "xls_r": ("wav2vec2", "wav2vec2_local"),
    "hubert": ("hubert", "hubert_local"),
    "mhubert": ("hubert", "hubert_local"),
    "contentvec": ("hubert", "hubert_local"),
    "data2vec": ("data2vec", "data2vec_local"),
    "hf_wav2vec2": ("hf_wav2vec2", "hf_wav2vec2_custom"),
    "hf_hubert": ("hf_hubert", "hf_hubert_custom"),
}


class S3PRL(SpeechNetwork):
    """A speech network of s3prl, from a local file.

    Streams of unequal length never share a pass: s3prl's masks are a frame off, so padding would change the rows.

    Args:
        upstream: an entry of s3prl's hub that loads a local file (`wavlm_local`, `wav2vec2_local`, `hubert_local`, …), or the
            name of such a network there, like `wavlm_base_plus`.
        weights: its file, as converted by s3prl; for `hf_wav2vec2_custom` and `hf_hubert_custom` a folder of transformers.
        layers: see `SpeechNetwork`.
        mean: see `SpeechNetwork`.
        batch_s: see `SpeechNetwork`.

    Raises:
        AvlocError: if the upstream is unknown, or its weights are missing.
    """

    pads = False

    def __init__(
        self,
        upstream: str,
        *,
        weights: str | None = None,
        layers: str = "last",
        mean: bool = False,
        batch_s: int = 60,
    ) -> None:
        self.name = f"s3prl_{upstream}"  # a store can hold several upstreams
        super().__init__(layers, mean, batch_s)
        self.upstream = upstream
        self._package, self._entry = _entry_of(upstream)
        if weights is None:
            raise AvlocError(f"s3prl:{upstream} needs a local weights file (weights=PATH); nothing is downloaded")
        self.source = Path(weights)
        if self._entry.endswith("_custom"):
            missing = [name for name in SETTINGS if not (self.source / name).is_file()]
            if not missing and not weight_files(self.source):
                missing = ["model.safetensors or pytorch_model.bin"]
            if missing:
                raise AvlocError(
                    f"{weights}: s3prl:{upstream} needs a folder as transformers saves it, this one lacks {', '.join(missing)}"
                )
        elif not self.source.is_file():
            raise AvlocError(f"{weights}: no such weights file for s3prl:{upstream}")

    def parameters(self) -> Parameters:
        return {"upstream": self.upstream, **super().parameters()}

    def weights_sha256(self) -> str | None:
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return file_sha256(self.source) if self.source.is_file() else folder_sha256(self.source)

    def _load(self) -> torch.nn.Module:
        if self.source.is_file():
            _check_harmless(self.source, load_file(self.source))
        with _quiet():
            hub = import_module(f"s3prl.upstream.{self._package}.hubconf")
            if not callable(getattr(hub, self.upstream, None)):
                names = ", ".join(sorted(n for n in vars(hub) if n.startswith(tuple(UPSTREAMS)) and n != self._package))
                raise AvlocError(f"s3prl has no upstream {self.upstream!r}, similar ones: {names}")
            try:
                return getattr(hub, self._entry)(str(self.source)).float()  # type: ignore[no-any-return]
            except Exception as error:  # s3prl raises errors of many types for other files
                raise AvlocError(
                    f"{self.source}: not weights of s3prl's {self._package} ({one_line(error) or type(error).__name__})"
                ) from error

    @cached_property
    def timing(self) -> Timing:  # type: ignore[override]
        """The timing of the upstream's convolutions.

        Raises:
            AvlocError: if s3prl declares another hop.
        """
        import torch

        layers = self.network.model.feature_extractor.modules()
        convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv1d)]
        timing = conv_timing([c.kernel_size[0] for c in convolutions], [c.stride[0] for c in convolutions])
        rate = self.network.get_downsample_rates("hidden_states")
        if timing.hop != rate:
            raise AvlocError(
                f"{self.source}: its convolutions step by {timing.hop} samples, s3prl's upstream by {rate}"
            )
        return timing

    @cached_property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        """(L, C), measured on a second of silence."""
        import torch

        with self.running():
            states = self._forward(self.on_device(torch.zeros(1, 16000)))
        return len(states), states[0].shape[-1]

    def _forward(self, data: torch.Tensor) -> list[torch.Tensor]:
        with _quiet():
            return list(self.network(list(data))["hidden_states"])

    def states(self, data: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        states = self._forward(data)
        return [states[k] for k in self.numbers]


def _entry_of(upstream: str) -> tuple[str, str]:
    """Look up an upstream's package, and its entry that loads a local file."""
    for prefix, (package, entry) in UPSTREAMS.items():
        if upstream == prefix or upstream.startswith(f"{prefix}_"):
            return package, entry
    raise AvlocError(f"s3prl's upstream must be one of {', '.join(UPSTREAMS)} or begin like one, got {upstream!r}")


def _check_harmless(path: Path, content: Any) -> None:
    """Refuse code in the texts that s3prl evaluates: the convolutions' description, and xformers' settings.

    Raises:
        AvlocError: if one of them is anything else than the usual values, or the file is not s3prl's.
    """
    for name in ("cfg", "model_cfg"):
        settings = content.get(name, {}) if isinstance(content, dict) else None
        if not isinstance(settings, dict):
            raise AvlocError(f"{path}: not a file of s3prl's (expected a dictionary with `cfg` or `model_cfg`)")
        if "conv_feature_layers" in settings:
            try:
                parse_convolutions(settings["conv_feature_layers"])
            except AvlocError as error:
                raise AvlocError(f"{path}: {error}") from error
        if settings.get("xformers_att_config") is not None:
            raise AvlocError(f"{path}: s3prl cannot run a network with xformers_att_config")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's warnings about s3prl's old code, and transformers' messages about weights."""
    with warnings.catch_warnings(), quiet_transformers():
        warnings.filterwarnings("ignore", message="`torch.nn.utils.weight_norm` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask", category=UserWarning)
        yield

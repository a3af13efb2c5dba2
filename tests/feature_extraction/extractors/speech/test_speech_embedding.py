from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.speech.speech_embedding import EMBEDDING_FILE, MEL_FILE, SEEN, SpeechEmbedding


class _Session:
    """A network that `function` stands for; it keeps its inputs."""

    def __init__(self, name, function):
        self.name, self.function, self.inputs = name, function, []

    def get_inputs(self):
        return [SimpleNamespace(name=self.name)]

    def run(self, outputs, inputs):
        (values,) = inputs.values()
        assert (outputs, [*inputs]) == (None, [self.name])
        self.inputs.append(values)
        return [self.function(values)]


@pytest.fixture
def folder(tmp_path):
    for name in (MEL_FILE, EMBEDDING_FILE):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_a_row_is_the_embedding_of_the_samples_around_it(folder):
    extractor = SpeechEmbedding(weights=str(folder))
    mel = _Session("input", lambda x: np.full((1, 1, 76, 32), 10 * x.mean(), np.float32))
    embedding = _Session("input_1", lambda x: np.full((1, 1, 1, 96), x.mean(), np.float32))
    extractor.__dict__["_sessions"] = (mel, embedding)
    samples = np.arange(16001, dtype=np.float32) / 32767
    (rows,) = extractor.rows([samples])
    assert rows.shape == (13, 96)
    middle = np.arange(SEEN) + 6 * 1280 + 640 - SEEN // 2
    np.testing.assert_allclose(mel.inputs[6][0], middle, rtol=1e-4, atol=1e-2)  # centred on the seventh row, as 16 bits
    assert {x.shape for x in mel.inputs} == {(1, SEEN)}
    assert {x.shape for x in embedding.inputs} == {(1, 76, 32, 1)}
    np.testing.assert_allclose(rows[6], middle.mean() + 2, rtol=1e-4)
    assert not mel.inputs[0][0, : (SEEN - 1280) // 2].any()  # silence before the clip
    assert extractor.rows([samples[:0]])[0].shape == (0, 96)


def test_files_and_packages_that_are_missing(folder, monkeypatch):
    extractor = SpeechEmbedding(weights=str(folder))
    assert len(extractor.describe().weights_sha256) == 64
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AvlocError, match=r"needs onnxruntime, .*: pip install 'avloc\[pretrained\]'"):
        extractor.load()
    (folder / MEL_FILE).unlink()
    with pytest.raises(AvlocError, match=r"needs a folder with melspectrogram\.onnx and embedding_model\.onnx"):
        SpeechEmbedding(weights=str(folder))


def test_files_of_something_else_are_named(folder):
    pytest.importorskip("onnxruntime")
    with pytest.raises(AvlocError, match=r"melspectrogram\.onnx: not a network that onnxruntime reads"):
        SpeechEmbedding(weights=str(folder)).load()

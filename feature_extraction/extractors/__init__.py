"""The extractors by name: the one table that the command line lists.

A specification is a name, or a name with the constructor's arguments: `r3d_18:weights=/data/r3d_18.pth,stride=2`. The first
argument may go without its name: `r3d_18:/data/r3d_18.pth,stride=2`, `s3prl:wavlm_base_plus,weights=wavlm.pt`. Your own
extractor is named by where it can be imported from: `my_package.MyExtractor`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, Features

_HERE = "avloc.feature_extraction.extractors"

EXTRACTORS: dict[str, str] = {
    "logspec": f"{_HERE}.spectrogram.LogSpec",
    "logmel": f"{_HERE}.spectrogram.LogMel",
    "lfcc": f"{_HERE}.spectrogram.LFCC",
    "wavlm_base": f"{_HERE}.speech.WavLMBase",
    "wavlm_base_plus": f"{_HERE}.speech.WavLMBasePlus",
    "wavlm_large": f"{_HERE}.speech.WavLMLarge",
    "wav2vec2_base": f"{_HERE}.speech.Wav2Vec2Base",
    "wav2vec2_large": f"{_HERE}.speech.Wav2Vec2Large",
    "xls_r_300m": f"{_HERE}.speech.XLSR300M",
    "hubert_base": f"{_HERE}.speech.HuBERTBase",
    "hubert_large": f"{_HERE}.speech.HuBERTLarge",
    "s3prl": f"{_HERE}.s3prl_upstream.S3PRL",
    "residual_grid": f"{_HERE}.residual_grid.ResidualGrid",
    "r3d_18": f"{_HERE}.video.R3D18",
    "mc3_18": f"{_HERE}.video.MC318",
    "r2plus1d_18": f"{_HERE}.video.R2Plus1D18",
    "s3d": f"{_HERE}.video.S3D",
    "mvit_v1_b": f"{_HERE}.video.MViTV1B",
    "mvit_v2_s": f"{_HERE}.video.MViTV2S",
    "swin3d_t": f"{_HERE}.video.Swin3DT",
    "videomae": f"{_HERE}.videomae.VideoMAE",
    "batfd_c3d": f"{_HERE}.batfd.BATFDC3D",
    "batfd_mvit": f"{_HERE}.batfd.BATFDMViT",
    "batfd_audio": f"{_HERE}.batfd.BATFDAudio",
}

__all__ = ["EXTRACTORS", "Extractor", "Features", "build", "named", "parse", "takes"]


def parse_specification(specification: str) -> tuple[str, dict[str, str]]:
    """`name:key=value,…` → the name and its arguments, as written.

    >>> parse("r3d_18:random=true,stride=2")
    ('r3d_18', {'random': 'true', 'stride': '2'})
    >>> parse("s3prl:wavlm_base,weights=w.pt")  # an argument without a name is the constructor's first
    ('s3prl', {'': 'wavlm_base', 'weights': 'w.pt'})
    """
    name, _, rest = specification.partition(":")
    arguments = {}
    for k, part in enumerate(filter(None, rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals and k == 0:
            key, value = "", key
        elif not equals:
            raise AvlocError(f"extractor {specification!r}: want name:key=value,key=value, got {part!r}")
        arguments[key.strip()] = value.strip()
    return name.strip(), arguments


def build_extractor(name: str, arguments: Mapping[str, Any] | None = None) -> Extractor:
    """An extractor by name; arguments that come as text are turned into what the constructor takes.

    Raises:
        AvlocError: if there is no such extractor, or it has no such argument.
    """
    factory = _factory(name)
    signature = inspect.signature(factory).parameters
    typed = {}
    for key, value in with_default_key(name, arguments or {}).items():
        if key not in signature:
            raise AvlocError(f"extractor {name} has no argument {key!r}, it has: {', '.join(signature) or 'none'}")
        typed[key] = _typed(name, key, value, str(signature[key].annotation)) if isinstance(value, str) else value
    return factory(**typed)


def with_default_key(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An extractor's arguments, each with its name: that without one is the first."""
    first = next(iter(inspect.signature(_factory(name)).parameters), "")
    return {key or first: value for key, value in arguments.items()}


def accepts(name: str, argument: str) -> bool:
    """Whether an extractor has an argument."""
    return argument in inspect.signature(_factory(name)).parameters


def _factory(name: str) -> Callable[..., Extractor]:
    if name not in EXTRACTORS and "." not in name:
        raise AvlocError(f"unknown extractor {name!r}, there are: {', '.join(sorted(EXTRACTORS))}")
    module, _, attribute = EXTRACTORS.get(name, name).rpartition(".")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if name in EXTRACTORS:
            raise
        raise AvlocError(f"extractor {name!r} is no class that can be imported ({error})") from error
    if not (isinstance(factory, type) and issubclass(factory, Extractor)):
        raise AvlocError(f"extractor {name!r} is not a subclass of avloc.feature_extraction.extractors.Extractor")
    return factory


def _typed(name: str, key: str, value: str, annotation: str) -> Any:
    if annotation == "int":
        try:
            return int(value)
        except ValueError as error:
            raise AvlocError(f"extractor {name}: {key} must be a whole number, got {value!r}") from error
    if annotation == "bool":
        if value.lower() not in ("true", "false"):
            raise AvlocError(f"extractor {name}: {key} must be true or false, got {value!r}")
        return value.lower() == "true"
    return value

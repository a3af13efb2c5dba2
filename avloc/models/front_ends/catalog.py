"""Front ends by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from avloc.core.records import MODALITIES
from avloc.errors import AvlocError
from avloc.models.front_ends.front_end import FrontEnd

_HERE = "avloc.models.front_ends"
FRONT_ENDS = {
    "spectrogram": (f"{_HERE}.spectrogram", "SpectrogramFrontEnd", "audio"),
    "raw": (f"{_HERE}.raw", "RawFrontEnd", "audio"),
    "speech": (f"{_HERE}.speech", "SpeechFrontEnd", "audio"),
    "whisper": (f"{_HERE}.whisper", "WhisperFrontEnd", "audio"),
    "parallel": (f"{_HERE}.parallel", "ParallelFrontEnd", "audio"),
    "lips": (f"{_HERE}.lips", "LipFrontEnd", "visual"),
}
"""Name → module, class and modality."""
COMMON = ("self", "rows_per_step", "width", "layers", "dropout")


def build_front_end(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    modality: str,
    row_width: int,
    rows_per_step: float | None,
    width: int,
    layers: int,
    dropout: float,
) -> FrontEnd:
    """Make a front end.

    Args:
        name: one of `FRONT_ENDS`.
        options: arguments of its class beside those below.
        modality: of the stream, `audio` or `visual`.
        row_width: numbers per row of the stream.
        rows_per_step: rate of the stream.
        width: of the embeddings.
        layers: number of convolutions at the steps.
        dropout: probability of dropping a channel of such a convolution.

    Raises:
        AvlocError: if the name is unknown, an option is unknown or out of its range, or the stream is not one that it takes.

    >>> build_front_end(
    ...     "raw", {"filters": 6}, modality="audio", row_width=160, rows_per_step=4.0, width=8, layers=0, dropout=0.1
    ... ).options["filters"]
    6
    """
    if not isinstance(options, Mapping | None):
        raise AvlocError(f"front end {name}: its options must be named, got {options!r}")
    options = dict(options or {})
    if name not in FRONT_ENDS:
        raise AvlocError(f"unknown front end {name!r}, want one of {', '.join(FRONT_ENDS)}")
    module, class_name, its_modality = FRONT_ENDS[name]
    if modality != its_modality:
        raise AvlocError(f"front end {name} takes the {its_modality} stream, not the {modality} one")
    its_class = getattr(import_module(module), class_name)
    names = [key for key in inspect.signature(its_class.__init__).parameters if key not in COMMON]
    unknown = next((key for key in options if key not in names), None)
    if unknown is not None:
        raise AvlocError(f"front end {name} has no option {unknown!r}, it has: {', '.join(names)}")
    try:
        front_end = its_class(rows_per_step=rows_per_step, width=width, layers=layers, dropout=dropout, **options)
    except (TypeError, ValueError) as error:
        raise AvlocError(f"front end {name}: an option has a wrong value ({error})") from error
    if front_end.row_width != row_width:
        raise AvlocError(
            f"front end {name} takes rows of {front_end.row_width} numbers (extractor "
            f"{'waveform' if its_modality == 'audio' else 'mouth'}), the stream has {row_width}"
        )
    return cast(FrontEnd, front_end)


def check_front_end_options(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a network that would have no effect: a front end's without it, and a stem's beside a front end.

    Args:
        arguments: of the network; those that it does not have are not checked.

    Raises:
        AvlocError: with the argument, and the one that takes its effect.
    """
    stem_options: tuple[tuple[str, str, object], ...] = (
        ("audio", "spectral_channels", 0),
        ("audio", "spectral_differences", False),
        ("audio", "spectral_bins", None),
        ("audio", "layers", 1),
        ("visual", "grid_channels", 0),
        ("visual", "layers", 1),
    )
    for modality in MODALITIES:
        name = f"{modality}_front_end"
        if arguments[f"{name}_options"] not in (None, {}) and not arguments[name]:
            raise AvlocError(f"{name}_options have no effect without {name}; leave them out, or name the front end")
    for modality, option, unused in stem_options:
        argument, front_end = f"{modality}_{option}", arguments[f"{modality}_front_end"]
        if front_end and arguments.get(argument, unused) != unused:
            raise AvlocError(
                f"{argument}={arguments[argument]} is for cached features, and has no effect with "
                f"{modality}_front_end={front_end}; leave {argument} out"
            )


def find_front_end(model: object, modality: str) -> FrontEnd | None:
    """Find the front end of a modality in a network; None without one."""
    names = {class_name for _, class_name, its_modality in FRONT_ENDS.values() if its_modality == modality}
    modules = cast(Any, model).modules()
    return next((m for m in modules if isinstance(m, FrontEnd) and type(m).__name__ in names), None)

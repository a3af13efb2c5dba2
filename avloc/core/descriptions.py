"""Descriptions that travel with data: of an extractor in a store, of a network, and of the data that it was trained on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Literal

from avloc.core.calibration import PlattFit
from avloc.core.records import MODALITIES

SHORTEST_HOP_S, LONGEST_HOP_S = 1e-5, 60.0
"""Bounds on the seconds per row of features: anything else is damage, or an attempt to fill the memory."""
Fit = Literal["pad", "squeeze"]
"""How a clip is brought to a fixed number of frames: cut or padded (LAV-DF), or resampled (AV-Deepfake1M)."""
STORED_DTYPES = ("float16", "int16", "uint8")
"""Types of the numbers in a store: of features, of samples, of pixels."""
MAX_TEXT = 500
"""Most characters of a text in a network's description."""


def is_hop(value: object) -> bool:
    """Tell whether a value can be the seconds per row of features.

    >>> is_hop(0.04), is_hop(0.0), is_hop(float("nan")), is_hop(1e-9)
    (True, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and SHORTEST_HOP_S <= value <= LONGEST_HOP_S


def _is_name(value: object) -> bool:
    """A name that can be a folder."""
    return isinstance(value, str) and re.fullmatch(r"\w[^/\\\0]{0,199}", value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 1 <= value < 1 << 24


def _is_optional_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_optional_duration(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and 0 < value < math.inf)


_VALID: Mapping[str, Callable[[object], bool]] = {
    "name": _is_name,
    "modality": lambda value: value in MODALITIES,
    "hop_s": is_hop,
    "dim": _is_count,
    "layers": _is_count,
    "start_offset_s": lambda value: isinstance(value, int | float) and math.isfinite(value),
    "receptive_field_s": _is_optional_duration,
    "window_s": _is_optional_duration,
    "weights_sha256": _is_optional_text,
    "factory": _is_optional_text,
    "decoder": _is_optional_text,
    "precision": lambda value: isinstance(value, str),
    "dtype": lambda value: value in STORED_DTYPES,
    "augmentation": lambda value: value is None or isinstance(value, Mapping),
}


@dataclass(frozen=True, slots=True)
class ExtractorDescription:
    """Everything that tells two extractors apart: kept by a store beside its features, and by a checkpoint.

    Attributes:
        name: the name in the store, and on the command line.
        modality: `audio` or `visual`.
        hop_s: seconds per row.
        dim: numbers per row.
        version: raised when the numbers change.
        parameters: the constructor's arguments that change the numbers.
        weights_sha256: hash of the weights; None without weights.
        start_offset_s: start of the first row, relative to the stream's own start.
        layers: layers of a network that lie side by side in a row.
        receptive_field_s: seconds that a row sees; None if unknown.
        window_s: a longer stream is extracted in windows of this length; None if unknown.
        factory: the extractor's class where `name` does not say it: a name of the table, or a dotted path.
        precision: `32`, `bf16` or `16`.
        decoder: the backend that read the picture; None for the default one.
        dtype: type of the numbers in a store, one of `STORED_DTYPES`.
        augmentation: of an augmented copy, the hash of its recipe, its number and its seed; None for the clips themselves.

    >>> mel = ExtractorDescription("logmel", "audio", hop_s=0.01, dim=64)
    >>> ExtractorDescription.from_dict(mel.to_dict()) == mel
    True
    >>> mel.first_difference(ExtractorDescription("logmel", "audio", hop_s=0.02, dim=64))
    'hop_s'
    """

    name: str
    modality: str
    hop_s: float
    dim: int
    version: int = 1
    parameters: Mapping[str, object] = field(default_factory=dict)
    weights_sha256: str | None = None
    start_offset_s: float = 0.0
    layers: int = 1
    receptive_field_s: float | None = None
    window_s: float | None = None
    factory: str | None = None
    precision: str = "32"
    decoder: str | None = None
    dtype: str = "float16"
    augmentation: Mapping[str, object] | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the description as plain values; attributes that are unknown or have their usual value are left out."""
        usual = {
            "receptive_field_s": None,
            "window_s": None,
            "factory": None,
            "precision": "32",
            "decoder": None,
            "dtype": "float16",
            "augmentation": None,
        }
        values = {f.name: getattr(self, f.name) for f in fields(self)} | {"parameters": dict(self.parameters)}
        return {key: value for key, value in values.items() if key not in usual or value != usual[key]}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> ExtractorDescription:
        """Rebuild a description from the values of `to_dict`; keys that are no attribute are ignored.

        Raises:
            ValueError: if an attribute without a default is missing, or one is of the wrong type or out of its range.
        """
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
        missing = [name for name in missing if name not in values]
        if missing:
            raise ValueError(f"an extractor's description lacks {', '.join(missing)}")
        attributes = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        numbers = {"hop_s": float, "dim": int, "version": int, "start_offset_s": float, "layers": int}
        try:
            typed = {key: numbers[key](value) if key in numbers else value for key, value in attributes.items()}  # type: ignore[operator]
        except (TypeError, ValueError) as error:
            raise ValueError(f"an extractor's description has a wrong number ({error})") from error
        if not isinstance(typed.get("parameters", {}), Mapping):
            raise ValueError(f"an extractor's parameters must be named, got {typed['parameters']!r}")
        wrong = next((key for key, is_valid in _VALID.items() if key in typed and not is_valid(typed[key])), None)
        if wrong is not None:
            raise ValueError(f"an extractor's description cannot have {wrong} {typed[wrong]!r}")
        return cls(**typed)  # type: ignore[arg-type]

    def first_difference(self, other: ExtractorDescription) -> str | None:
        """Return the first attribute in which two descriptions differ; None if they are equal."""
        return next((f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)), None)


@dataclass(frozen=True, slots=True)
class NetworkDescription:
    """The identity of a trained network: kept by its checkpoint, and shown with every result of it.

    Attributes:
        name: a release's name; for another checkpoint the network's class.
        version: of the release; empty for another checkpoint.
        date: the day of the training, as 2026-11-26; empty if unknown.
        scope: the material that it was trained on, in a few words; empty if unknown.
        sha256: hash of the weights; empty if unknown.
        threshold: operating point, the lowest score that counts as a detection; None: none was chosen.
        modality_share: the lowest share of the stronger modality's score at which a segment is named after the other one too;
            None: none was chosen.

    >>> network = NetworkDescription("avloc-av", "1", scope="drawn faces", threshold=0.6)
    >>> NetworkDescription.from_dict(network.to_dict()) == network
    True
    """

    name: str
    version: str = ""
    date: str = ""
    scope: str = ""
    sha256: str = ""
    threshold: float | None = None
    modality_share: float | None = None

    def to_dict(self) -> dict[str, str | float | None]:
        """Return the description as plain values; a share that was not chosen is left out."""
        values = asdict(self)
        if self.modality_share is None:
            del values["modality_share"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> NetworkDescription:
        """Rebuild a description from the values of `to_dict`; keys that are no attribute are ignored.

        Raises:
            ValueError: if the name is missing, or an attribute is of the wrong type or out of its range.
        """
        attributes = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        for name, value in attributes.items():
            is_number = name in ("threshold", "modality_share")
            valid = _is_share(value) if is_number else isinstance(value, str) and len(value) <= MAX_TEXT
            if not valid:
                raise ValueError(f"a network's description cannot have {name} {str(value)[:80]!r}")
        if not attributes.get("name"):
            raise ValueError("a network's description lacks its name")
        return cls(**attributes)  # type: ignore[arg-type]


def _is_share(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1)


@dataclass(frozen=True, slots=True)
class ClipInputFormat:
    """Input format of a network that takes pixels and log-mels.

    Attributes:
        frames: T, the fixed number of frames.
        fit: `pad` (cut or padded to T frames) or `squeeze` (resampled to T frames).

    >>> ClipInputFormat(512, "pad")
    ClipInputFormat(frames=512, fit='pad')
    """

    frames: int
    fit: Fit


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """The data that a network was trained on, as its checkpoint remembers it to run on a clip alone.

    Attributes:
        hop_s: seconds per step.
        extractors: of the cached features; empty for a network that takes the clips themselves.
        clips: the input format of such a network; None for one on cached features.
        calibration: by `clip`, `audio`, `visual`, the fit that turns a best score into a log-likelihood ratio, and by
            `segment` the one of the segments' scores (`avloc.core.calibration`).
        native_rate: the network takes the rows of each stream of features; otherwise they are averaged to its steps.
        modality: the only stream that the network was given, `audio` or `visual`; None: both.

    >>> TrainingContext(0.04, clips=ClipInputFormat(512, "pad")).to_dict()
    {'hop_s': 0.04, 'extractors': [], 'clips': {'frames': 512, 'fit': 'pad'}}
    """

    hop_s: float
    extractors: tuple[ExtractorDescription, ...] = ()
    clips: ClipInputFormat | None = None
    calibration: Mapping[str, PlattFit] = field(default_factory=dict)
    native_rate: bool = False
    modality: str | None = None

    def rows_per_step(self) -> dict[str, float | None]:
        """Return the rows per step of each modality: of its shortest hop; None on the model's clock.

        >>> extractors = (ExtractorDescription("logmel", "audio", 0.01, 64), ExtractorDescription("mvit", "visual", 0.16, 9))
        >>> TrainingContext(0.04, extractors, native_rate=True).rows_per_step()
        {'audio': 4.0, 'visual': 0.25}
        """
        if not self.native_rate:
            return dict.fromkeys(MODALITIES, None)
        hops = {m: [e.hop_s for e in self.extractors if e.modality == m] for m in MODALITIES}
        return {m: self.hop_s / min(hops_s) if hops_s else None for m, hops_s in hops.items()}

    def to_dict(self) -> dict[str, object]:
        """Return the context as plain values, for a checkpoint."""
        values: dict[str, object] = {"hop_s": self.hop_s, "extractors": [e.to_dict() for e in self.extractors]}
        if self.clips is not None:
            values["clips"] = asdict(self.clips)
        if self.calibration:
            values["calibration"] = {name: tuple(fit) for name, fit in self.calibration.items()}
        if self.native_rate:
            values["native_rate"] = True
        if self.modality is not None:
            values["modality"] = self.modality
        return values

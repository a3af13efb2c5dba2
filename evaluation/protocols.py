"""Protocols: the thresholds and counts that a dataset's published table reports, by name or from a YAML file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avloc.core.suggestions import did_you_mean
from avloc.errors import AvlocError


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a dataset's published table.

    Attributes:
        name: name on the command line.
        segments_field: the metadata's field with the list of fake segments.
        ap_ious: IoU thresholds of AP, above 0 and at most 1.
        ar_counts: numbers of rows per clip of AR, at least 1.
        has_score: report a combined score, mean AP / 2 + mean AR / 2.
        has_ranges: report EER and F1 of frames of 20 to 640 ms and the range-based EER too, see `score_ranges`.

    Raises:
        AvlocError: if a threshold or a number is out of range, or one of the two lists is empty.

    >>> Protocol("mine", "fakes", (0.3, 0.5), (10,), has_score=False).ap_ious
    (0.3, 0.5)
    """

    name: str
    segments_field: str
    ap_ious: tuple[float, ...]
    ar_counts: tuple[int, ...]
    has_score: bool
    has_ranges: bool = False

    def __post_init__(self) -> None:
        for iou in self.ap_ious:
            if not 0 < iou <= 1:
                raise AvlocError(
                    f"protocol {self.name}: an IoU threshold of AP must be above 0 and at most 1, got {iou}"
                )
        for count in self.ar_counts:
            if count < 1:
                raise AvlocError(f"protocol {self.name}: a number of rows of AR must be at least 1, got {count}")
        if not self.ap_ious or not self.ar_counts:
            raise AvlocError(f"protocol {self.name}: want at least one threshold of AP and one number of rows of AR")


CHALLENGE_AP_IOUS = (0.5, 0.75, 0.9, 0.95)
CHALLENGE_AR_COUNTS = (50, 30, 20, 10, 5)
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("lavdf", "fake_periods", (0.5, 0.75, 0.95), (100, 50, 20, 10), has_score=False),
        Protocol("avdeepfake1m", "fake_segments", CHALLENGE_AP_IOUS, CHALLENGE_AR_COUNTS, has_score=True),
        Protocol("avdeepfake1m++", "fake_segments", CHALLENGE_AP_IOUS, CHALLENGE_AR_COUNTS, has_score=True),
        Protocol("speech", "fake_segments", CHALLENGE_AP_IOUS, CHALLENGE_AR_COUNTS, has_score=False, has_ranges=True),
    )
}
"""The protocols by name: the published ones, and `speech` for partly forged speech.

The error rates of `speech` are those that PartialSpoof reports; that set has no AP and AR, which are here at AV-Deepfake1M's
settings.
"""


def get_protocol(name: str) -> Protocol:
    """Look up a protocol by name, or read it from a YAML file.

    The file has the attributes of `Protocol`; missing ones are taken from the protocol named in `base` (by default
    avdeepfake1m), and its name is the file's.

    Raises:
        AvlocError: if the name is unknown (lists the known ones) or the file is malformed.

    >>> get_protocol("lavdf").ar_counts
    (100, 50, 20, 10)
    """
    if name.endswith((".yaml", ".yml")):
        return _read_yaml(Path(name).expanduser())
    if name not in PROTOCOLS:
        raise AvlocError(
            f"unknown protocol {name!r}{did_you_mean(name, PROTOCOLS)}, want one of {', '.join(PROTOCOLS)}, or a .yaml file"
        )
    return PROTOCOLS[name]


def _read_yaml(path: Path) -> Protocol:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such protocol file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AvlocError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    names = [f.name for f in dataclasses.fields(Protocol)]
    expected = f"a protocol has base, {', '.join(names)}"
    if not isinstance(document, dict):
        raise AvlocError(f"{path}: not a mapping; {expected}")
    if unknown := [str(key) for key in document if key not in (*names, "base")]:
        raise AvlocError(f"{path}: unknown {', '.join(unknown)}; {expected}")
    base = get_protocol(str(document.pop("base", "avdeepfake1m")))
    types = {"name": str, "segments_field": str, "has_score": bool, "has_ranges": bool}
    for name, value in document.items():
        if not isinstance(value, types.get(name, list)):
            raise AvlocError(f"{path}: {name} must be a {types.get(name, list).__name__}, got {value!r}")
    return replace_options(base, **{"name": path.stem, **document})


def replace_options(protocol: Protocol, **options: Any) -> Protocol:
    """Return a protocol with some attributes replaced; an option that is None changes nothing.

    Raises:
        AvlocError: if a threshold or a number has the wrong type or is out of range.

    >>> replace_options(PROTOCOLS["lavdf"], ap_ious=[0.3], ar_counts=None).ap_ious
    (0.3,)
    """
    changes = {name: value for name, value in options.items() if value is not None}
    for name, number_type in (("ap_ious", float), ("ar_counts", int)):
        if name in changes:
            if not all(type(x) in (int, number_type) for x in changes[name]):
                raise AvlocError(
                    f"protocol {protocol.name}: {name} must be {number_type.__name__}s, got {changes[name]!r}"
                )
            changes[name] = tuple(number_type(x) for x in changes[name])
    return dataclasses.replace(protocol, **changes)

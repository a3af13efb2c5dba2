"""A result json + its clip > the same result made again > a verdict: is it what avloc makes of this clip?"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avloc import __version__
from avloc.core.calibration import is_prior
from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance
from avloc.errors import AvlocError, CheckpointError, shown
from avloc.feature_extraction.media.types import LONGEST_S, Span
from avloc.inference.localizer import PRECISIONS
from avloc.inference.settings import LocalizerSettings
from avloc.io.files import check_schema, format_bytes, read_json
from avloc.localization.result import SCHEMA, Localization, result_errors
from avloc.localization.text import SHOWN_DIGITS
from avloc.localization.verification import Finding, check_document, compare_results
from avloc.models.packaged import STREAMS, packaged_description


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict on a result.

    Attributes:
        result: the file of the result.
        clip: the clip that it was compared with.
        findings: one per part.
    """

    result: Path
    clip: Path
    findings: tuple[Finding, ...]

    @property
    def is_verified(self) -> bool:
        """Tell whether all parts agree; another version of avloc that makes the same result is no difference."""
        return all(finding.agrees for finding in self.findings if finding.part != "version")

    def text(self, width: int | None = None) -> str:
        """Format the verdict, and a line for each part.

        Args:
            width: break lines that are longer; None: none is.
        """
        phrase = f"what avloc {__version__} makes of {shown(self.clip)}"
        head = f"verified: {shown(self.result)} is {phrase}"
        if not self.is_verified:
            differing = ", ".join(f.part for f in self.findings if not f.agrees and f.part != "version")
            head = f"NOT verified: {shown(self.result)} is not {phrase} (differs: {differing})"
        lines = [f"  {f.part:10}  {'same' if f.agrees else 'differs'}: {shown(f.text)}" for f in self.findings]
        if width is None:
            return "\n".join([head, *lines])
        indents = [2, *(14 for _ in lines)]
        broken = [
            textwrap.fill(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
            for line, indent in zip([head, *lines], indents, strict=True)
        ]
        return "\n".join(broken)


def verify_result(
    result: Path, clip: Path, settings: LocalizerSettings, *, longest_s: float = LONGEST_S
) -> Verification:
    """Localize a clip again by the checkpoint and with the settings that a result records, and compare.

    Args:
        result: the json of `avloc localize`.
        clip: the clip.
        settings: the device, and for a checkpoint of your own its file, if it lies elsewhere now, and your own classes.
        longest_s: refuse a clip that is longer, in seconds.

    Raises:
        AvlocError: if the result cannot be read or does not record what made it, the checkpoint is missing, or the clip cannot
            be decoded.
    """
    document, recorded, record, checkpoint = _read(result)
    assert record.clip is not None
    values = _RecordedSettings(result, record.settings)
    settings = replace(
        _locate(result, recorded, checkpoint, settings),
        precision=values.choice("precision", PRECISIONS),
        decoding=values.optional_text("decoding"),
    )
    if settings.checkpoint is None:
        settings = replace(settings, streams=values.optional_text("streams"))
    span, keep, prior = values.span(longest_s), values.count("keep"), values.prior()
    # A result from Python has its threshold from the options of its file, which are not recorded.
    is_recorded = "threshold" in record.settings
    threshold = values.optional_number("threshold") if is_recorded else document["threshold"]["value"]
    repeated = settings.load().localize(clip, keep=keep, span=span)
    made_again = repeated.provenance
    assert made_again is not None
    assert made_again.clip is not None
    assert made_again.checkpoint is not None
    findings = [
        _compare_files("clip", record.clip, made_again.clip),
        _compare_files("checkpoint", checkpoint.file, made_again.checkpoint.file),
        Finding("version", record.avloc == __version__, _version_text(record.avloc)),
    ]
    if record.avloc == __version__:  # another one may have other words
        findings.append(check_document(document, recorded))
    findings += compare_results(document, recorded, replace(repeated, prior=prior), threshold)
    return Verification(result, clip, tuple(findings))


def _read(path: Path) -> tuple[dict[str, Any], Localization, Provenance, CheckpointIdentity]:
    """Read a result that records what made it."""
    document = read_json(path, "result of avloc localize")
    cure = "earlier ones do not record what made them, so localize the clip again"
    document = check_schema(document, path, SCHEMA, "a result", cure)
    with result_errors(path):
        recorded = Localization.from_dict(document)
        float(document["threshold"]["value"])
    record = recorded.provenance
    if record is None or record.clip is None or record.checkpoint is None:
        raise AvlocError(
            f"{path}: does not record its clip and its checkpoint: it was made in memory, and cannot be repeated"
        )
    return document, recorded, record, record.checkpoint


def _locate(
    path: Path, recorded: Localization, checkpoint: CheckpointIdentity, settings: LocalizerSettings
) -> LocalizerSettings:
    """Find the checkpoint: the one that is named now, the package's own, or the recorded path.

    Raises:
        CheckpointError: if it is none of these.
    """
    if settings.checkpoint is not None:
        return settings
    network = recorded.network
    if network is not None and network.name in {packaged_description(streams).name for streams in STREAMS}:
        return settings
    file = checkpoint.file
    if Path(file.file).is_file():
        return replace(settings, checkpoint=file.file)
    raise CheckpointError(
        f"{path}: was made by {file.file} (sha256 {file.sha256[:SHOWN_DIGITS]}…), which is not here; name the file "
        "with --checkpoint"
    )


def _compare_files(part: str, recorded: FileIdentity, present: FileIdentity) -> Finding:
    if recorded.sha256 == present.sha256:
        text = f"{recorded.file}, {format_bytes(recorded.size_bytes)}, sha256 {recorded.sha256[:SHOWN_DIGITS]}…"
        return Finding(part, True, text)
    hashes = [f"{each.sha256[:SHOWN_DIGITS]}… ({format_bytes(each.size_bytes)})" for each in (recorded, present)]
    return Finding(part, False, f"recorded with sha256 {hashes[0]}, this one has {hashes[1]}")


def _version_text(version: str) -> str:
    return f"avloc {version}" if version == __version__ else f"made by avloc {version}, this is avloc {__version__}"


@dataclass(frozen=True, slots=True)
class _RecordedSettings:
    """The settings of a result, with checks of their types."""

    path: Path
    values: Mapping[str, object]

    def error(self, name: str) -> AvlocError:
        got = f"{name} {self.values[name]!r}" if name in self.values else f"no {name}"
        return AvlocError(f"{self.path}: its settings have {got}, so it cannot be repeated; localize the clip again")

    def span(self, longest_s: float) -> Span:
        end_s = self.optional_number("end")
        end_s = math.inf if end_s is None else end_s
        return Span(self.number("start"), end_s, self.optional_count("audio_track"), longest_s)

    def prior(self) -> float:
        if not is_prior(self.number("prior")):
            raise self.error("prior")
        return self.number("prior")

    def number(self, name: str) -> float:
        value = self.values.get(name)
        if type(value) not in (int, float):
            raise self.error(name)
        return float(value)  # type: ignore[arg-type]

    def optional_number(self, name: str) -> float | None:
        return None if self.values.get(name) is None else self.number(name)

    def count(self, name: str) -> int:
        value = self.values.get(name)
        if type(value) is not int or value < 0:
            raise self.error(name)
        return value

    def optional_count(self, name: str) -> int | None:
        return None if self.values.get(name) is None else self.count(name)

    def optional_text(self, name: str) -> str | None:
        value = self.values.get(name)
        if not isinstance(value, str | None):
            raise self.error(name)
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.values.get(name)
        if value not in choices:
            raise self.error(name)
        return str(value)

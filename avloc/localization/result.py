"""`Localization`: the scored fake segments of one clip; it converts to JSON, files, a figure and a notebook view."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import NetworkDescription
from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.localization.options import LIKELY_FORGED, THRESHOLD
from avloc.localization.segment import SCORE_STEP, LocalizedSegment, Verdict, verdict_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avloc.localization.options import OutputOptions
    from avloc.localization.preview import Preview

SCHEMA = "avloc.localization/5"
EARLIER_SCHEMAS = {
    "avloc.localization/4": "probability",
    "avloc.localization/3": "probability",
    "avloc.localization/2": "chance",
}
"""Documents without verdicts, options and reasons of what was not judged (before /4 without `network`), and the key of their
probabilities, which are 0 instead of null for a stream that was not judged; `from_dict` still reads them."""
UNDECODED_STREAM = "nothing of it was decoded"
"""The reason in documents of earlier schemas."""
DecodedSpan = tuple[float, float] | None


@dataclass(frozen=True, slots=True, repr=False)
class Localization:
    """The fake segments of one clip. All times are seconds on the file's own clock.

    Attributes:
        file: path or name of the clip.
        duration_s: end of the clip, or of the part that was localized.
        proposals: the scored segments, sorted by descending score.
        grid: the clock of `fakeness`.
        fakeness: (T, M) score per step and modality in [0, 1]; NaN where a stream was not judged.
        problems: messages about parts that could not be decoded, or whose scores were not finite.
        probabilities: the probability that the clip is forged at all (`clip`) and in each modality; None for what was not
            judged.
        calibrated: true if the probabilities were fitted on a validation split; otherwise they are the strongest scores.
        decoded_s: the decoded span of each modality; None if nothing was decoded.
        preview: thumbnails and loudness, if `Localizer.localize` was asked for them.
        network: the network that was asked; None if unknown.
        unjudged: by modality that was not judged, the reason.
        options: the options of the run that made it, as `avloc localize` records them.

    >>> proposals = Proposals(np.array([[0.5, 0.8]]), np.array([0.9]), np.array([[0.05, 0.91]]))
    >>> localization = Localization("clip.mp4", 2.0, proposals, TimeGrid(0.0, 0.5, 4), np.zeros((4, 2), np.float32))
    >>> localization
    Localization('clip.mp4', 2.00 s, 1 segment, strongest: visual 0.50–0.80 s, score 0.90)
    >>> localization.segments(threshold=0.95)
    []
    """

    file: str
    duration_s: float
    proposals: Proposals
    grid: TimeGrid
    fakeness: npt.NDArray[np.float32]
    problems: tuple[str, ...] = ()
    probabilities: Mapping[str, float | None] = field(default_factory=dict)
    calibrated: bool = False
    decoded_s: Mapping[str, DecodedSpan] = field(default_factory=dict)
    preview: Preview | None = None
    network: NetworkDescription | None = None
    unjudged: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        count = len(self.proposals)
        text = f"{self.file!r}, {self.duration_s:.2f} s, {count or 'no'} segment{'' if count == 1 else 's'}"
        if (strongest := self.strongest()) is not None:
            text += (
                f", strongest: {strongest.modality} {strongest.start_s:.2f}–{strongest.end_s:.2f} s, "
                f"score {strongest.score:.2f}"
            )
        return f"{type(self).__name__}({text})"

    def segments(self, threshold: float = 0.0) -> list[LocalizedSegment]:
        """List the segments with at least a score, by descending score.

        Args:
            threshold: the lowest score, in [0, 1]; scores are compared as they are shown, with four digits.
        """
        candidates = np.flatnonzero(self.proposals.scores >= threshold - SCORE_STEP)
        return [segment for segment in map(self._segment, candidates.tolist()) if segment.score >= threshold]

    def _segment(self, row: int) -> LocalizedSegment:
        proposals = self.proposals
        return LocalizedSegment.from_scores(
            proposals.segments[row],
            proposals.scores[row],
            proposals.modality_scores[row],
            operating_point=self.operating_point,
            unjudged=self.unjudged,
        )

    def strongest(self) -> LocalizedSegment | None:
        """Return the segment with the highest score; None without segments."""
        return self._segment(0) if len(self.proposals) else None

    @property
    def operating_point(self) -> float | None:
        """The network's operating point, the lowest score that counts as a detection; None if none was chosen."""
        return None if self.network is None else self.network.threshold

    @property
    def threshold(self) -> float:
        """The lowest score that is shown by default: the operating point, or else `THRESHOLD`."""
        return THRESHOLD if self.operating_point is None else self.operating_point

    @property
    def verdict(self) -> Verdict | None:
        """The decision on the clip; None if nothing decides.

        With an operating point it is that of the strongest segment; without one, a calibrated probability decides.
        """
        probability = self.probabilities.get("clip")
        if probability is None:
            return None
        if self.operating_point is not None:
            strongest = self.strongest()
            return verdict_of(False) if strongest is None else strongest.verdict
        return verdict_of(probability >= LIKELY_FORGED) if self.calibrated else None

    def lacks(self, modality: str) -> bool:
        """Return whether nothing of a modality was decoded. A modality that `decoded_s` does not mention counts as present."""
        return modality in self.decoded_s and self.decoded_s[modality] is None

    def to_dict(self) -> dict[str, object]:
        """Return all but the preview as plain JSON values (NaN as null); their schema is `localization.schema.json`."""
        curves = {
            modality: [None if math.isnan(value) else round(float(value), 4) for value in self.fakeness[:, k]]
            for k, modality in enumerate(MODALITIES)
        }
        return {
            "schema": SCHEMA,
            "file": self.file,
            "duration": round(self.duration_s, 3),
            "verdict": self.verdict,
            "probability": {k: None if p is None else round(float(p), 4) for k, p in self.probabilities.items()},
            "calibrated": self.calibrated,
            "segments": [segment.to_dict() for segment in self.segments()],
            "step": {"start": self.grid.start_s, "hop": self.grid.hop_s, **curves},
            "decoded": {modality: _rounded(self.decoded_s.get(modality)) for modality in MODALITIES},
            "unjudged": dict(self.unjudged),
            "problems": list(self.problems),
            "network": None if self.network is None else self.network.to_dict(),
            "options": dict(self.options),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Localization:
        """Read a document of `to_dict` back, up to its rounding; also one of the earlier schemas.

        Raises:
            AvlocError: if the document has another schema.
        """
        schema = document.get("schema")
        if schema not in (SCHEMA, *EARLIER_SCHEMAS):
            raise AvlocError(f"want a localization of schema {SCHEMA}, got {schema!r}")
        step, rows = document["step"], document["segments"]
        fakeness = np.array([step[m] for m in MODALITIES], dtype=np.float32).T  # None becomes NaN
        modality_scores = np.array([[row[f"{m}_score"] or 0.0 for m in MODALITIES] for row in rows], dtype=np.float64)
        proposals = Proposals(
            np.array([[row["start"], row["end"]] for row in rows], dtype=np.float64).reshape(-1, 2),
            np.array([row["score"] for row in rows], dtype=np.float64),
            modality_scores.reshape(-1, len(MODALITIES)),
        )
        decoded_s: dict[str, DecodedSpan] = {
            modality: None if span is None else (span[0], span[1]) for modality, span in document["decoded"].items()
        }
        unjudged = document.get("unjudged")
        if unjudged is None:
            unjudged = {modality: UNDECODED_STREAM for modality, span in decoded_s.items() if span is None}
        probabilities = dict(document[EARLIER_SCHEMAS.get(schema, "probability")]) | dict.fromkeys(unjudged)
        return cls(
            file=document["file"],
            duration_s=document["duration"],
            proposals=proposals,
            grid=TimeGrid(step["start"], step["hop"], len(fakeness)),
            fakeness=fakeness,
            problems=tuple(document["problems"]),
            probabilities=probabilities,
            calibrated=document["calibrated"],
            decoded_s=decoded_s,
            network=None if document.get("network") is None else NetworkDescription.from_dict(document["network"]),
            unjudged=unjudged,
            options=document.get("options", {}),
        )

    def plot(self) -> Figure:
        """Draw a matplotlib figure: one lane per modality, with its fakeness curve and its segments."""
        from avloc.localization.figure import timeline_figure

        return timeline_figure(self)

    def save(self, path: str | Path, options: OutputOptions | None = None) -> None:
        """Write a file in the format of its suffix (`avloc.localization.formats.FORMATS`: json, csv, vtt, png, html, …).

        Raises:
            AvlocError: if no format has this suffix.
        """
        from avloc.localization.formats import save

        save(self, Path(path).expanduser(), options)

    def _repr_html_(self) -> str:
        """Return the notebook view: the page of `avloc localize` without the clip."""
        from avloc.localization.page import as_iframe

        return as_iframe(self)


def _rounded(span: DecodedSpan) -> list[float] | None:
    return None if span is None else [round(float(time_s), 3) for time_s in span]

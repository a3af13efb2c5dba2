"""`Localization`: the scored fake segments of one clip; it converts to JSON, files, a figure and a notebook view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from avloc.core.calibration import PRIOR, SEGMENT_FIT, PlattFit, is_prior, probability_at, segment_probability
from avloc.core.descriptions import NetworkDescription
from avloc.core.proposals import MODALITY_SHARE, Proposals
from avloc.core.provenance import Provenance
from avloc.core.records import MODALITIES
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.io.files import schema_name
from avloc.localization.options import LIKELY_FORGED, NO_EVIDENCE_LLR, THRESHOLD
from avloc.localization.segment import LocalizedSegment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avloc.localization.options import OutputOptions
    from avloc.localization.preview import Preview

SCHEMA = "avloc.localization/7"
PRIORLESS_SCHEMAS = {
    "avloc.localization/5": "probability",
    "avloc.localization/4": "probability",
    "avloc.localization/3": "probability",
    "avloc.localization/2": "chance",
}
"""Documents without priors, and the key of their probabilities, whose prior is unknown (before /5 also without verdicts, options
and reasons of what was not judged; before /4 without `network`); `from_dict` still reads them."""
DAMAGE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""Errors of `Localization.from_dict` for a document that is damaged."""
EARLIER_SCHEMAS = ("avloc.localization/6", *PRIORLESS_SCHEMAS)
"""Documents without `provenance`: before /7, `options` had the settings alone."""
UNDECODED_STREAM = "nothing of it was decoded"
"""The reason in documents of earlier schemas."""
DecodedSpan = tuple[float, float] | None
Unit = Literal["probability", "score"]
ClipVerdict = Literal[
    "likely forged",
    "some evidence of forgery",
    "no evidence either way",
    "nothing suspicious found",
    "nothing reaches the threshold",
]
"""The words for a clip; the last one is for a network with an operating point and without a calibration."""
SCORE_DIGITS, LLR_DIGITS = 4, 3


@contextmanager
def result_errors(path: Path) -> Iterator[None]:
    """Name the file of a document in the errors of `Localization.from_dict`, also for a damaged document.

    Raises:
        AvlocError: in place of them.
    """
    try:
        yield
    except AvlocError as error:
        raise AvlocError(f"{path}: {error}") from error
    except DAMAGE as error:
        raise AvlocError(
            f"{path}: a damaged result ({type(error).__name__}: {error}); localize the clip again"
        ) from error


@dataclass(frozen=True, slots=True, repr=False)
class Localization:
    """The fake segments of one clip. All times are seconds on the file's own clock.

    Attributes:
        file: path or name of the clip.
        duration_s: end of the clip, or of the part that was localized.
        proposals: the scored segments, sorted by descending score.
        grid: the clock of `fakeness`.
        fakeness: (T, M) score per step and modality in [0, 1]; NaN at steps that were not judged.
        problems: messages about parts that could not be decoded, or whose scores were not finite.
        scores: the strongest score of the clip (`clip`) and of each modality; None if not judged.
        calibration: the fits of the checkpoint, by `clip`, `audio`, `visual` and `segment` (`avloc.core.calibration`).
        prior: the probability that a clip is forged, and that each modality is, before the network is asked.
        decoded_s: the decoded span of each modality; None if nothing was decoded.
        preview: thumbnails and loudness, if `Localizer.localize` was asked for them.
        network: the network that was asked; None if unknown.
        unjudged: by modality that was not judged, the reason.
        provenance: the record of its origin: version, checkpoint, clip, settings, date and command; None if unknown.

    >>> proposals = Proposals(np.array([[0.5, 0.8]]), np.array([0.9]), np.array([[0.05, 0.91]]))
    >>> localization = Localization("clip.mp4", 2.0, proposals, TimeGrid(0.0, 0.5, 4), np.zeros((4, 2), np.float32))
    >>> localization
    Localization('clip.mp4', 2.00 s, 1 proposal, strongest: visual 0.50–0.80 s, score 0.90)
    >>> localization.segments(threshold=0.95)
    []
    """

    file: str
    duration_s: float
    proposals: Proposals
    grid: TimeGrid
    fakeness: npt.NDArray[np.float32]
    problems: tuple[str, ...] = ()
    scores: Mapping[str, float | None] = field(default_factory=dict)
    calibration: Mapping[str, PlattFit] = field(default_factory=dict)
    prior: float = PRIOR
    decoded_s: Mapping[str, DecodedSpan] = field(default_factory=dict)
    preview: Preview | None = None
    network: NetworkDescription | None = None
    unjudged: Mapping[str, str] = field(default_factory=dict)
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        if not is_prior(self.prior):
            raise AvlocError(f"want a prior between 0 and 1, got {self.prior:g}")

    def __repr__(self) -> str:
        count = len(self.proposals)
        text = f"{self.file!r}, {self.duration_s:.2f} s, {count or 'no'} proposal{'' if count == 1 else 's'}"
        if (strongest := self.strongest()) is not None:
            text += (
                f", strongest: {strongest.modality} {strongest.start_s:.2f}–{strongest.end_s:.2f} s, "
                f"{strongest.strength_text}"
            )
        return f"{type(self).__name__}({text})"

    def segments(self, threshold: float | None = None) -> list[LocalizedSegment]:
        """List the segments that reach a threshold, by descending score.

        Args:
            threshold: the lowest probability, in [0, 1], or without a calibration of segments the lowest score; numbers are
                compared as they are written, with four digits. None: `threshold` of the localization; 0: all segments.
        """
        threshold = self.threshold if threshold is None else threshold
        segments = map(self._segment, range(len(self.proposals)))
        return [segment for segment in segments if segment.strength >= threshold]

    def _segment(self, row: int) -> LocalizedSegment:
        proposals = self.proposals
        score = round(float(proposals.scores[row]), SCORE_DIGITS)
        return LocalizedSegment.from_scores(
            proposals.segments[row],
            proposals.scores[row],
            proposals.modality_scores[row],
            probability=segment_probability(score, self.calibration, self.prior, self._score("clip")),
            threshold=self.threshold if self._decides else None,
            unjudged=self.unjudged,
            modality_share=self.modality_share,
        )

    @property
    def modality_share(self) -> float:
        """The lowest share of the stronger modality's score at which a segment is named after the other one too."""
        chosen = None if self.network is None else self.network.modality_share
        return MODALITY_SHARE if chosen is None else chosen

    def _score(self, key: str) -> float | None:
        """Return the strongest score as it is written, so that a result that is read back says the same."""
        score = self.scores.get(key)
        return None if score is None else round(float(score), SCORE_DIGITS)

    def strongest(self) -> LocalizedSegment | None:
        """Return the segment with the highest score; None without segments."""
        return self._segment(0) if len(self.proposals) else None

    @property
    def calibrated(self) -> bool:
        """True if the clip and each modality that was judged have a fit."""
        keys = ["clip", *(modality for modality in MODALITIES if modality not in self.unjudged)]
        return all(key in self.calibration for key in keys)

    @property
    def split_prior(self) -> float | None:
        """The share of forged clips on the split of the calibration; None if it is unknown or there is no calibration."""
        return self.calibration["clip"].prior if "clip" in self.calibration else None

    @property
    def llrs(self) -> dict[str, float | None]:
        """The natural-log likelihood ratio that the clip (`clip`) is forged, and each modality; None if unknown."""
        return {key: None if llr is None else round(llr, LLR_DIGITS) for key, llr in self._exact_llrs().items()}

    def _exact_llrs(self) -> dict[str, float | None]:
        fits, scores = self.calibration, {key: self._score(key) for key in self.scores}
        return {key: None if s is None or key not in fits else fits[key].llr(s) for key, s in scores.items()}

    @property
    def probabilities(self) -> dict[str, float | None]:
        """The probability that the clip (`clip`) is forged, and each modality, at the prior; None if unknown."""
        return {
            key: None if llr is None else probability_at(llr, self.prior) for key, llr in self._exact_llrs().items()
        }

    @property
    def unit(self) -> Unit:
        """The unit of thresholds: `probability`, or `score` for a checkpoint without a calibration of segments."""
        return "probability" if "clip" in self.calibration and SEGMENT_FIT in self.calibration else "score"

    @property
    def operating_point(self) -> float | None:
        """The network's operating point, the lowest score that counts as a detection; None if none was chosen."""
        return None if self.network is None else self.network.threshold

    @property
    def threshold(self) -> float:
        """The lowest probability of a segment that is shown by default, and called likely forged.

        It is the probability of the network's operating point at the default prior, and at least `LIKELY_FORGED`. Without a
        calibration of segments it is the operating point itself, a score, or else `THRESHOLD`.
        """
        if self.unit == "score":
            return THRESHOLD if self.operating_point is None else self.operating_point
        if self.operating_point is None:
            return LIKELY_FORGED
        return max(LIKELY_FORGED, segment_probability(self.operating_point, self.calibration, PRIOR) or 0.0)

    @property
    def _decides(self) -> bool:
        """Whether a segment can be called forged: not by the prior alone, nor by a score that nobody chose."""
        if self.unit == "score":
            return self.operating_point is not None
        return True

    @property
    def verdict(self) -> ClipVerdict | None:
        """The decision on the clip; None if nothing decides.

        It is likely forged if a segment reaches `threshold`. Otherwise its log-likelihood ratio tells whether there is
        evidence, from `NO_EVIDENCE_LLR` on in either direction.
        """
        if all(score is None for score in self.scores.values()):
            return None
        llr, strongest = self.llrs.get("clip"), self.strongest()
        has_evidence = llr is None or llr > 0
        if self._decides and has_evidence and strongest is not None and strongest.verdict == "likely forged":
            return "likely forged"
        if llr is None:
            return "nothing reaches the threshold" if self._decides else None
        if abs(llr) < NO_EVIDENCE_LLR:
            return "no evidence either way"
        return "some evidence of forgery" if llr > 0 else "nothing suspicious found"

    @property
    def options(self) -> Mapping[str, object]:
        """The settings of the run that made it, as `avloc localize` records them; empty if unknown."""
        return {} if self.provenance is None else self.provenance.settings

    def lacks(self, modality: str) -> bool:
        """Return whether nothing of a modality was decoded. A modality that `decoded_s` does not mention counts as present."""
        return modality in self.decoded_s and self.decoded_s[modality] is None

    def to_dict(self, threshold: float | None = None) -> dict[str, object]:
        """Return all but the preview as plain JSON values (NaN as null); their schema is `localization.schema.json`.

        Args:
            threshold: separates `segments` from `weaker_segments`; None: `threshold` of the localization.
        """
        from avloc.localization.text import sentence

        threshold = self.threshold if threshold is None else threshold
        segments = self.segments(0.0)
        curves = {
            modality: [None if math.isnan(value) else round(float(value), 4) for value in self.fakeness[:, k]]
            for k, modality in enumerate(MODALITIES)
        }
        return {
            "schema": SCHEMA,
            "file": self.file,
            "duration": round(self.duration_s, 3),
            "sentence": sentence(self),
            "verdict": self.verdict,
            "prior": self.prior,
            "llr": self.llrs,
            "probability": self.probabilities,
            "score": {key: self._score(key) for key in self.scores},
            "threshold": {"unit": self.unit, "value": threshold},
            "segments": [segment.to_dict() for segment in segments if segment.strength >= threshold],
            "weaker_segments": [segment.to_dict() for segment in segments if segment.strength < threshold],
            "calibration": {name: fit._asdict() for name, fit in self.calibration.items()},
            "step": {"start": self.grid.start_s, "hop": self.grid.hop_s, **curves},
            "decoded": {modality: _rounded(self.decoded_s.get(modality)) for modality in MODALITIES},
            "unjudged": dict(self.unjudged),
            "problems": list(self.problems),
            "network": None if self.network is None else self.network.to_dict(),
            "provenance": None if self.provenance is None else self.provenance.to_dict(),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Localization:
        """Read a document of `to_dict` back, up to its rounding; also one of the earlier schemas.

        Raises:
            AvlocError: if the document has another schema, or its record of provenance is damaged.
        """
        schema = document.get("schema")
        if schema not in (SCHEMA, *EARLIER_SCHEMAS):
            raise AvlocError(f"want a localization of schema {SCHEMA}, got {schema_name(document)}")
        step, rows = document["step"], [*document["segments"], *document.get("weaker_segments", ())]
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
        if schema not in PRIORLESS_SCHEMAS:
            scores, prior = document["score"], document["prior"]
            calibration = {name: PlattFit(**fit) for name, fit in document["calibration"].items()}
        else:
            scores, calibration = _earlier_evidence(document, document[PRIORLESS_SCHEMAS[schema]], unjudged)
            prior = PRIOR
        return cls(
            file=document["file"],
            duration_s=document["duration"],
            proposals=proposals,
            grid=TimeGrid(step["start"], step["hop"], len(fakeness)),
            fakeness=fakeness,
            problems=tuple(document["problems"]),
            scores=scores,
            calibration=calibration,
            prior=prior,
            decoded_s=decoded_s,
            network=None if document.get("network") is None else NetworkDescription.from_dict(document["network"]),
            unjudged=unjudged,
            provenance=_provenance(document),
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
        from avloc.localization.pages.clip_page import as_iframe

        return as_iframe(self)


def _earlier_evidence(
    document: Mapping[str, Any], probabilities: Mapping[str, float | None], unjudged: Mapping[str, str]
) -> tuple[dict[str, float | None], dict[str, PlattFit]]:
    """Take a document's probabilities for scores whose log-odds are the evidence; the prior of their split is unknown."""
    scores = dict(probabilities) | dict.fromkeys(unjudged)
    fits = {key: PlattFit(1.0, 0.0) for key, score in scores.items() if score is not None}
    return scores, fits if document["calibrated"] else {}


def _provenance(document: Mapping[str, Any]) -> Provenance | None:
    """Read the record of a document; one of /5 and /6 has the settings alone."""
    if document["schema"] == SCHEMA:
        record = document["provenance"]
        try:
            return None if record is None else Provenance.from_dict(record)
        except ValueError as error:
            raise AvlocError(f"a damaged localization, {error}") from error
    return Provenance("", "", settings=document["options"]) if "options" in document else None


def _rounded(span: DecodedSpan) -> list[float] | None:
    return None if span is None else [round(float(time_s), 3) for time_s in span]

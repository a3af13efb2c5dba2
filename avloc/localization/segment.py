"""`LocalizedSegment`: one fake segment of a clip, as every output format shows it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import MODALITY_SHARE
from avloc.core.records import MODALITIES

ModalityName = Literal["audio", "visual", "both"]
Verdict = Literal["likely forged", "not clearly forged"]
"""The words for a segment at or above the threshold, and below it."""
MODALITY_LABELS: dict[ModalityName, str] = {"audio": "audio", "visual": "visual", "both": "audio and visual"}
"""The words for people: on the page, in subtitles and labels, and in the terminal."""


@dataclass(frozen=True, slots=True)
class LocalizedSegment:
    """One fake segment of a clip. Times are rounded to a millisecond, scores to four digits.

    Attributes:
        start_s: start on the file's own clock.
        end_s: end on the file's own clock.
        score: of the network, in [0, 1]; not a probability.
        modality: `audio`, `visual` or `both`.
        audio_score: the score of the audio stream alone; None if it was not judged.
        visual_score: the score of the visual stream alone; None if it was not judged.
        verdict: the decision on it; None: nothing decides.
        probability: the probability that it is right, at the prior of its clip; None without a calibration of segments.

    >>> segment = LocalizedSegment.from_scores((0.5, 0.8), 0.9, np.array([0.05, 0.91]), probability=0.84, threshold=0.6)
    >>> segment  # doctest: +NORMALIZE_WHITESPACE
    LocalizedSegment(start_s=0.5, end_s=0.8, score=0.9, modality='visual', audio_score=0.05, visual_score=0.91,
                     verdict='likely forged', probability=0.84)
    >>> segment.label
    'likely forged: visual (probability 84 %)'
    """

    start_s: float
    end_s: float
    score: float
    modality: ModalityName
    audio_score: float | None
    visual_score: float | None
    verdict: Verdict | None = None
    probability: float | None = None

    @classmethod
    def from_scores(
        cls,
        segment: npt.NDArray[np.floating] | tuple[float, float],
        score: float,
        modality_scores: npt.NDArray[np.floating],
        *,
        probability: float | None = None,
        threshold: float | None = None,
        unjudged: Collection[str] = (),
        modality_share: float = MODALITY_SHARE,
    ) -> LocalizedSegment:
        """Build a segment from a row of `Proposals`.

        Args:
            segment: (2,) start and end, in seconds.
            score: its score.
            modality_scores: (M,) one score per modality, in the order of `MODALITIES`.
            probability: the probability that it is right; None: unknown.
            threshold: the lowest probability, or without one the lowest score, that counts as a detection; None: none does.
            unjudged: modalities without a score.
            modality_share: see `modality_name`.
        """
        start_s, end_s = (round(float(time_s), 3) for time_s in segment)
        written = [round(float(value), 4) for value in modality_scores]  # a result that is read back must say the same
        audio_score, visual_score = (
            None if modality in unjudged else value for modality, value in zip(MODALITIES, written, strict=True)
        )
        score = round(float(score), 4)
        strength = score if probability is None else probability
        verdict = None if threshold is None else verdict_of(strength >= threshold)
        judged = [modality for modality in MODALITIES if modality not in unjudged]
        modality = (
            cast(ModalityName, judged[0]) if len(judged) == 1 else modality_name(np.array(written), modality_share)
        )
        return cls(start_s, end_s, score, modality, audio_score, visual_score, verdict, probability)

    @property
    def strength(self) -> float:
        """The number that thresholds are compared with: the probability, or without one the score."""
        return self.score if self.probability is None else self.probability

    @property
    def strength_text(self) -> str:
        """The strength with its unit: `probability 84 %`, or `score 0.90`."""
        return f"score {self.score:.2f}" if self.probability is None else f"probability {percent(self.probability)}"

    @property
    def modality_label(self) -> str:
        """The modality in words for people."""
        return MODALITY_LABELS[self.modality]

    @property
    def label(self) -> str:
        """The segment in a few words, for subtitles and labels; the verdict comes first if there is one."""
        text = f"{self.modality_label} ({self.strength_text})"
        return text if self.verdict is None else f"{self.verdict}: {text}"

    def lies_in(self, modality: str) -> bool:
        """Return whether the segment is forged in a modality; `both` counts for either."""
        return self.modality in (modality, "both")

    def to_dict(self) -> dict[str, float | str | None]:
        """Return the JSON object of the segment, as `localization.schema.json` describes it."""
        return {
            "start": self.start_s,
            "end": self.end_s,
            "probability": self.probability,
            "score": self.score,
            "modality": self.modality,
            "audio_score": self.audio_score,
            "visual_score": self.visual_score,
            "verdict": self.verdict,
        }


def percent(probability: float) -> str:
    """Format a probability in whole percent, never as 0 % or 100 %.

    >>> percent(0.84), percent(0.9951), percent(0.0), percent(0.994)
    ('84 %', '>99 %', '<1 %', '99 %')
    """
    if probability >= 0.995:
        return ">99 %"
    return "<1 %" if probability < 0.005 else f"{100 * probability:.0f} %"


def verdict_of(is_detected: bool) -> Verdict:
    """Return the words for a decision."""
    return "likely forged" if is_detected else "not clearly forged"


def modality_name(scores: npt.NDArray[np.floating], share: float = MODALITY_SHARE) -> ModalityName:
    """Name the modality that a segment is forged in: `audio`, `visual`, or `both`.

    Args:
        scores: (M,) one score per modality, in the order of `MODALITIES`.
        share: a modality counts if it scores at least this share of the stronger one.

    >>> modality_name(np.array([0.3, 0.31]))
    'both'
    >>> modality_name(np.array([0.2, 0.31]), share=0.8)
    'visual'
    """
    is_named = scores >= share * scores.max()
    return "both" if is_named.all() else cast(ModalityName, MODALITIES[int(scores.argmax())])


def by_time(segments: Iterable[LocalizedSegment]) -> list[LocalizedSegment]:
    """Sort segments by start, then by end."""
    return sorted(segments, key=lambda segment: (segment.start_s, segment.end_s))

"""`Localization`: what was found in one clip; as plain values, as a picture, and in a notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avloc.localization.formats import OutputOptions
    from avloc.localization.preview import Preview

SCHEMA = "avloc.localization/3"
EARLIER_SCHEMA = "avloc.localization/2"
"""The same with `chance` for `probability`; still read."""
# A modality is named for a segment if it is at least this sure of it, compared with the surer one.
MODALITY_SHARE = 0.5
Decoded = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Localization:
    """What was found in one clip. All times are the file's own, in seconds.

    Attributes:
        file: the clip.
        duration_s: where it ends.
        proposals: scored segments, sorted by falling score.
        grid: the clock of `fakeness`.
        fakeness: (T, M) per step and modality in [0, 1]; NaN where the clip has no such stream.
        problems: what could not be decoded, or was no number.
        probabilities: the probability that the clip is forged at all (`clip`), and in each modality.
        calibrated: whether those were fitted on a validation split; without, they are the best scores.
        decoded_s: by modality, from when to when there was something; None: nothing.
        preview: small pictures and the loudness, if they were asked for.
    """

    file: str
    duration_s: float
    proposals: Proposals
    grid: TimeGrid
    fakeness: npt.NDArray[np.float32]
    problems: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    calibrated: bool = False
    decoded_s: Mapping[str, Decoded] = field(default_factory=dict)
    preview: Preview | None = None

    def segments(self, threshold: float = 0.0) -> list[dict[str, Any]]:
        """One row per segment with at least that score: start and end, score, modality, and each modality's score."""
        rows = []
        for segment, score, each in zip(
            self.proposals.segments, self.proposals.scores, self.proposals.modality_scores, strict=True
        ):
            if score < threshold:
                continue
            rows.append(
                {
                    "start": round(float(segment[0]), 3), "end": round(float(segment[1]), 3),
                    "score": round(float(score), 4), "modality": modality_name(each),
                    **{f"{m}_score": round(float(s), 4) for m, s in zip(MODALITIES, each, strict=True)},
                }
            )  # fmt: skip
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything but the preview as plain JSON values (NaN as null); its schema is `localization.schema.json`."""
        steps = {
            m: [None if math.isnan(v) else round(float(v), 4) for v in self.fakeness[:, k]]
            for k, m in enumerate(MODALITIES)
        }
        decoded = {m: _rounded(self.decoded_s.get(m)) for m in MODALITIES}
        return {
            "schema": SCHEMA, "file": self.file, "duration": round(self.duration_s, 3),
            "probability": {k: round(float(v), 4) for k, v in self.probabilities.items()}, "calibrated": self.calibrated,
            "segments": self.segments(), "step": {"start": self.grid.start_s, "hop": self.grid.hop_s, **steps},
            "decoded": decoded, "problems": list(self.problems),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Localization:
        """What `to_dict` gave, to its digits.

        Raises:
            AvlocError: if it is of another schema.
        """
        schema = values.get("schema")
        if schema not in (SCHEMA, EARLIER_SCHEMA):
            raise AvlocError(f"want a localization of schema {SCHEMA}, got {schema!r}")
        probabilities = values["probability" if schema == SCHEMA else "chance"]
        rows, step = values["segments"], values["step"]
        fakeness = np.array([step[m] for m in MODALITIES], dtype=np.float32).T  # None becomes NaN
        proposals = Proposals(
            np.array([[r["start"], r["end"]] for r in rows], dtype=np.float64).reshape(-1, 2),
            np.array([r["score"] for r in rows], dtype=np.float64),
            np.array([[r[f"{m}_score"] for m in MODALITIES] for r in rows], dtype=np.float64).reshape(
                -1, len(MODALITIES)
            ),
        )
        decoded: dict[str, Decoded] = {m: None if v is None else (v[0], v[1]) for m, v in values["decoded"].items()}
        return cls(
            values["file"], values["duration"], proposals, TimeGrid(step["start"], step["hop"], len(fakeness)), fakeness,
            tuple(values["problems"]), probabilities, values["calibrated"], decoded,
        )  # fmt: skip

    def plot(self) -> Figure:
        """A matplotlib figure: a lane per modality, with the curve of its fakeness and the segments that lie in it."""
        from avloc.localization.picture import timeline_figure

        return timeline_figure(self)

    def save(self, path: str | Path, options: OutputOptions | None = None) -> None:
        """Write it in the format that the name's ending says (`avloc.localization.formats.FORMATS`: json, csv, vtt, png, html, …)."""
        from avloc.localization.formats import save

        save(self, Path(path), options)

    def _repr_html_(self) -> str:
        """What a notebook shows: the same page as `avloc localize` writes, without the clip."""
        from avloc.localization.page import as_iframe

        return as_iframe(self)


def modality_name(scores: npt.NDArray[np.floating]) -> str:
    """`audio`, `visual` or `both`: a modality counts if its score is at least half the surer one's."""
    named = scores >= MODALITY_SHARE * scores.max()
    return "both" if named.all() else MODALITIES[int(scores.argmax())]


def _rounded(span: Decoded) -> list[float] | None:
    return None if span is None else [round(float(s), 3) for s in span]

"""Proposals of a split's clips > one npz file, the source of all tables.

Legend: V clips, R proposals of all clips, M modalities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals
from avloc.errors import AvlocError
from avloc.evaluation.matching import PredictionRows
from avloc.io.files import replacing

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
ROWS = 50
"""Proposals that are kept of a clip: the others change an AP by at most a tenth of a point."""
TIME_BITS, SCORE_BITS, MODALITY_BITS = 13, 12, 8
"""Precision of a file: times in 2^−13 s, 0.12 ms, and the bits of a score. A file of full precision takes twice the space."""


@dataclass(frozen=True, slots=True)
class SplitPredictions:
    """The proposals of all clips of a split, clip by clip, each clip's by falling score.

    Attributes:
        files: names of the clips (V).
        offsets: proposals `offsets[v]` to `offsets[v + 1]` belong to clip v: (V + 1,).
        proposals: R rows.

    >>> one = Proposals(np.array([[0.0, 1.0]]), np.array([0.9]), np.array([[0.9, 0.1]]))
    >>> predictions = SplitPredictions.from_clips([("b.mp4", one), ("a.mp4", Proposals.empty())])
    >>> predictions.files, predictions.offsets.tolist()
    (['a.mp4', 'b.mp4'], [0, 0, 1])
    """

    files: list[str]
    offsets: Int
    proposals: Proposals

    @classmethod
    def from_clips(cls, clips: Iterable[tuple[str, Proposals]]) -> SplitPredictions:
        """Collect the best `ROWS` proposals of each clip. Clips come in any order, and are sorted by name.

        Raises:
            AvlocError: if a clip comes twice.
        """
        ordered = sorted(clips, key=lambda clip: clip[0])
        files, parts = [file for file, _ in ordered], [part.best(ROWS) for _, part in ordered]
        if len(set(files)) < len(files):
            raise AvlocError(f"want each clip once, got {len(files)} clips of {len(set(files))} names")
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return cls(files, offsets, Proposals.concatenate(parts))

    def check_files(self, files: Sequence[str], name: str = "") -> None:
        """Check that they are predictions of these clips.

        Args:
            files: names of the labelled clips.
            name: of the system, for the error.

        Raises:
            AvlocError: if they are of others.
        """
        if self.files != files:
            system = f"{name}: " if name else ""
            raise AvlocError(f"{system}want predictions of the {len(files)} labelled clips, got {len(self.files)}")

    def rows(self) -> PredictionRows:
        """Return scores and segments for `avloc.evaluation`."""
        return PredictionRows(self.proposals.scores, self.proposals.segments, self.offsets)

    def take(self, index: Int) -> SplitPredictions:
        """Return the clips of an index, in its order."""
        counts = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        at = np.repeat(self.offsets[:-1][index] - offsets[:-1], counts) + np.arange(offsets[-1])
        return SplitPredictions([self.files[k] for k in index.tolist()], offsets, self.proposals.take(at))

    def save(self, path: Path) -> None:
        """Write the file as a whole, in rounded numbers, which compress well."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as out:
            np.savez_compressed(
                out,
                files=np.array(self.files),
                offsets=self.offsets,
                segments=np.ldexp(np.rint(np.ldexp(self.proposals.segments, TIME_BITS)), -TIME_BITS).astype(np.float32),
                scores=_round_relatively(self.proposals.scores, SCORE_BITS).astype(np.float32),
                modality_scores=_round_relatively(self.proposals.modality_scores, MODALITY_BITS).astype(np.float32),
            )

    @classmethod
    def load(cls, path: Path) -> SplitPredictions:
        """Read a file of `save`.

        Raises:
            AvlocError: if it does not exist.
        """
        if not path.is_file():
            raise AvlocError(f"{path}: no predictions; run the system first")
        with np.load(path) as content:
            columns = (content[name].astype(np.float64) for name in ("segments", "scores", "modality_scores"))
            return cls(content["files"].tolist(), content["offsets"], Proposals(*columns))


def _round_relatively(values: Float, bits: int) -> Float:
    """Round to a number of significant bits.

    >>> _round_relatively(np.array([0.3, 0.0]), 4).tolist()
    [0.3125, 0.0]
    """
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)

"""Scores of all rows > one order, best first > the number of rows of each group ahead of any place.

One sort serves both modes, every IoU threshold, and all groupings of rows. Its two halves are sorted at the same time.

Legend: V videos, R rows of predictions of all videos, P places, G groups of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from avloc.evaluation.matching import FloatArray, IntArray, Mode, PredictionRows, descending_bits

BLOCK_ROWS = 1 << 16  # rows per block: the arrays of one block fit the cache
SHARE_SORTED = 0.9
KEY_SHIFT = np.uint64(32)
Keys = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The rows of all videos by descending score.

    Attributes:
        scores: score of each row: (R,).
        keys: the score in single precision and the row in one number, ascending: (R,). The upper half ascends as the score
            descends; equal scores stay in file order, as the official mode wants it.
        strict: the rows by score in double precision: (R,); None if `keys` has that order too.

    >>> ranking = rank_rows(PredictionRows(np.array([0.5, 0.9, 0.5]), np.zeros((3, 2)), np.array([0, 1, 3])))
    >>> ranking.places("official", np.array([1, 2])).tolist(), ranking.places("strict", np.array([1, 2])).tolist()
    ([0, 2], [1, 3])
    """

    scores: FloatArray
    keys: Keys
    strict: Rows | None

    def places(self, mode: Mode, row: IntArray) -> IntArray:
        """Count the rows before each of some rows (official), or with its score or a higher one (strict): (P,)."""
        if mode == "strict" and self.strict is not None:
            return np.searchsorted(-self.scores[self.strict], -self.scores[row], side="right")
        keys = _row_keys(self.scores[row], row)
        if mode == "strict":
            keys |= np.uint64(0xFFFFFFFF)  # the last row of that score
        order = np.argsort(keys)  # searching for ascending keys is several times as fast
        places = np.empty(len(row), dtype=np.int64)
        places[order] = np.searchsorted(self.keys, keys[order], side="right" if mode == "strict" else "left")
        return places

    def count_ahead(self, mode: Mode, places: IntArray, row_group: npt.NDArray[np.integer], groups: int) -> IntArray:
        """Count the rows of each group ahead of each place of the order.

        Args:
            mode: `official` or `strict`.
            places: result of `places`: (P,).
            row_group: group of each row, from 0: (R,).
            groups: number of groups.

        Returns:
            The counts: (G, P).
        """
        if groups == 1:
            return places[None].astype(np.int64)
        order = np.argsort(places)
        edges = places[order]

        def count(blocks: Sequence[int]) -> IntArray:
            counts = np.zeros((len(edges) + 1, groups), dtype=np.int64)  # rows between two places
            for begin in blocks:
                rows = self._rows(mode, begin)
                first, last = np.searchsorted(edges, [begin, begin + len(rows) - 1], side="right")
                lengths = np.diff(edges[first:last], prepend=begin, append=begin + len(rows))
                cell = np.repeat(np.arange(len(lengths)) * groups, lengths) + row_group[rows]
                counts[first : last + 1] += np.bincount(cell, minlength=len(lengths) * groups).reshape(-1, groups)
            return counts

        blocks = range(0, len(self.keys), BLOCK_ROWS)
        middle = len(blocks) // 2
        with ThreadPoolExecutor(2) as pool:
            early, late = pool.map(count, (blocks[:middle], blocks[middle:]))
        ahead = np.empty((groups, len(edges)), dtype=np.int64)
        ahead[:, order] = np.cumsum((early + late)[:-1], axis=0).T
        return ahead

    def _rows(self, mode: Mode, begin: int) -> IntArray:
        """Return the rows of the block of the order that begins at a place."""
        order = self.strict if mode == "strict" and self.strict is not None else self.keys
        return order[begin : begin + BLOCK_ROWS].astype(np.uint32).astype(np.int64)


def rank_rows(rows: PredictionRows) -> Ranking:
    """Sort the rows of all videos by score."""
    scores, keys = rows.scores, np.empty(len(rows.scores), dtype=np.uint64)
    descents = 0
    for begin in range(0, len(keys), BLOCK_ROWS):
        part = slice(begin, begin + BLOCK_ROWS)
        keys[part] = _row_keys(scores[part], begin + np.arange(len(scores[part])))
        descents += int(np.count_nonzero(np.diff(scores[part]) <= 0))
    # Rows that are sorted within their videos are runs, and a merge sort keeps runs.
    kind: Literal["stable", "quicksort"] = "stable" if descents > SHARE_SORTED * len(keys) else "quicksort"
    middle = len(keys) // 2
    with ThreadPoolExecutor(2) as pool:  # numpy sorts and selects without Python's lock
        list(pool.map(lambda part: part.sort(kind=kind), (keys[:middle], keys[middle:])))
        keys.sort(kind="stable")
        parts = (keys[begin : begin + BLOCK_ROWS + 1] for begin in range(0, len(keys), BLOCK_ROWS))
        needs_double = not _keeps_order(scores) and any(pool.map(lambda part: _differs_in_double(scores, part), parts))
    return Ranking(scores, keys, _strict_order(scores, keys) if needs_double else None)


def _row_keys(scores: FloatArray, row: IntArray) -> Keys:
    return descending_bits(scores.astype(np.float32)) << KEY_SHIFT | row.astype(np.uint64)


def _keeps_order(scores: FloatArray) -> bool:
    """Tell quickly that different scores differ in single precision too; false if in doubt.

    They do if all are single-precision numbers, or if all are decimals of at most 7 digits between 0 and 1: there
    single-precision numbers are less than 1e-7 apart.
    """
    blocks = [scores[begin : begin + BLOCK_ROWS] for begin in range(0, len(scores), BLOCK_ROWS)]
    if all((block.astype(np.float32) == block).all() for block in blocks):
        return True
    return all(((block >= 0) & (block <= 1) & (np.rint(block * 1e7) / 1e7 == block)).all() for block in blocks)


def _differs_in_double(scores: FloatArray, keys: Keys) -> bool:
    """Tell whether neighbours have the same score in single precision, and another one in double precision."""
    is_tie = (keys[1:] ^ keys[:-1]) >> KEY_SHIFT == 0
    if not is_tie.any():
        return False
    sorted_scores = scores[keys.astype(np.uint32).astype(np.int64)]
    return bool((is_tie & (sorted_scores[1:] != sorted_scores[:-1])).any())


def _strict_order(scores: FloatArray, keys: Keys) -> Rows:
    """Sort rows of one score in single precision by their score in double precision."""
    bits, order = keys >> KEY_SHIFT, keys.astype(np.uint32)
    is_tie = np.append(False, bits[1:] == bits[:-1])
    is_tie[:-1] |= is_tie[1:]
    tied = order[is_tie]
    order[is_tie] = tied[np.lexsort((-scores[tied], bits[is_tie]))]
    return order

"""Folds over source videos, to fit and judge on one labelled set. Legend: n clips, S sources."""

from __future__ import annotations

import numpy as np

from avloc.errors import AvlocError
from avloc.evaluation.matching import BoolArray, IntArray

FOLDS = 5


def source_folds(source: IntArray, is_fake: BoolArray, *, folds: int = FOLDS, seed: int = 0) -> IntArray:
    """Return the fold of each clip (n,): clips of one source share a fold, and both classes are spread over the folds.

    Args:
        source: index of each clip's source video: (n,).
        is_fake: whether each clip is fake: (n,).
        folds: number of folds; fewer if there are fewer sources.
        seed: seed of the order of the sources.

    Raises:
        AvlocError: if fake or real clips come from fewer than two sources: then none are left without one of the folds.

    >>> source_folds(np.array([0, 0, 1, 1, 2, 3]), np.array([True, False, True, False, True, False]), folds=2).tolist()
    [0, 0, 1, 1, 1, 0]
    """
    source = np.unique(source, return_inverse=True)[1]
    sources = int(source.max(initial=-1)) + 1
    counts = np.stack([np.bincount(source[mask], minlength=sources) for mask in (is_fake, ~is_fake)])
    for name, clips in zip(("fake", "real"), counts, strict=True):
        if np.count_nonzero(clips) < 2:
            raise AvlocError(
                f"want fake and real clips of at least two source videos each, got {np.count_nonzero(clips)} with {name} clips"
                "; take labels of more clips"
            )
    order = np.random.default_rng(seed).permutation(sources)
    has_fake, has_real = counts[:, order] > 0
    order = order[np.lexsort((np.where(has_fake & has_real, 0, 1 + has_fake),))]  # one kind of source after the other
    fold_of_source = np.empty(sources, dtype=np.int64)
    fold_of_source[order] = np.arange(sources) % min(folds, sources)
    return fold_of_source[source]

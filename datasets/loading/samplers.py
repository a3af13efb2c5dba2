"""Batch sampler: clips of similar length per batch, reproducible by seed, split between ranks, resumable within an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from avloc.errors import AvlocError

Int = npt.NDArray[np.int64]
POOL_BATCHES = 8
"""Number of batches whose clips are sorted by length together."""
BALANCES = ("none", "real", "modality")


class SampleIndex(NamedTuple):
    """One draw of a clip in an epoch.

    Attributes:
        clip: index of the clip.
        seed: for everything random about this draw (windows, pseudo-forgeries).
        epoch: number of the epoch, for what follows from the clip and the epoch (augmentation).
        repeat: number of earlier draws of the clip in the epoch; above 0 only with classes.
    """

    clip: int
    seed: int
    epoch: int = 0
    repeat: int = 0


class BucketSampler(Sampler[list[SampleIndex]]):
    """Batches of clips of similar length, in a new order each epoch: little padding, and the same order for the same seed.

    Each rank gets a disjoint part of every global batch (`batch_size` times `ranks` clips). All ranks have the same number of
    batches, and together they see each clip once. With classes, each class is drawn equally often instead: clips of rare
    classes several times.

    Args:
        lengths: (V,) length of each clip, in any unit.
        batch_size: clips per batch and rank.
        seed: of the order.
        shuffle: draw a new order each epoch; otherwise keep the clips' own order, by length.
        rank: of this process.
        ranks: number of processes.
        classes: (V,) class of each clip; None: no balancing.

    Raises:
        AvlocError: if the rank is not below the number of ranks, or clips are fewer than ranks.

    >>> sampler = BucketSampler([30, 10, 20, 40], batch_size=2, shuffle=False)
    >>> [[index.clip for index in batch] for batch in sampler]
    [[1, 2], [0, 3]]
    """

    def __init__(
        self,
        lengths: Sequence[int] | Int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        ranks: int = 1,
        classes: Int | None = None,
    ) -> None:
        if not 0 <= rank < ranks:
            raise AvlocError(f"want 0 ≤ rank < ranks, got {rank} of {ranks}")
        if len(lengths) < ranks:
            raise AvlocError(f"{ranks} processes cannot share {len(lengths)} clips")
        self.lengths, self.batch_size, self.seed, self.shuffle = np.asarray(lengths), batch_size, seed, shuffle
        self.rank, self.ranks, self.classes = rank, ranks, classes
        self.epoch = 0
        self._resume = (-1, 0)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.lengths), self.batch_size * self.ranks)
        # A rest that is too small for every rank joins the last batch.
        return whole if whole and rest < self.ranks else whole + (rest > 0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, for a resumed run; each further iteration adds one."""
        self.epoch = epoch

    def resume(self, epoch: int, batches: int) -> None:
        """Skip the first batches of an epoch: those before the run stopped."""
        self._resume = (epoch, batches)

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        epoch, done = self.epoch, self._resume[1] if self._resume[0] == self.epoch else 0
        self.epoch += 1
        self._resume = (-1, 0)
        batches = self._global_batches(epoch)
        repeats = np.split(count_repeats(np.concatenate(batches)), np.cumsum([len(batch) for batch in batches])[:-1])
        for number, parts in enumerate(zip(batches, repeats, strict=True)):
            if number >= done:
                clips, earlier = (np.array_split(part, self.ranks)[self.rank].tolist() for part in parts)
                # Seeds follow from the batch's number, not from earlier draws: resuming changes nothing.
                seeds = np.random.SeedSequence([self.seed, epoch, number, self.rank]).generate_state(len(clips))
                draws = zip(clips, seeds.tolist(), earlier, strict=True)
                yield [SampleIndex(clip, seed, epoch, repeat) for clip, seed, repeat in draws]

    def _global_batches(self, epoch: int) -> list[Int]:
        """Return an epoch's batches, each with the clips of all ranks."""
        rng = np.random.default_rng([self.seed, epoch])
        order = self._order(rng)
        size = self.batch_size * self.ranks
        pool = size * POOL_BATCHES if self.shuffle else len(order)
        batches: list[Int] = []
        for begin in range(0, len(order), pool):
            part = order[begin : begin + pool]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[k : k + size] for k in range(0, len(part), size)]
        if len(batches) > 1 and len(batches[-1]) < self.ranks:
            batches[-2:] = [np.concatenate(batches[-2:])]
        return [batches[k] for k in rng.permutation(len(batches))] if self.shuffle else batches

    def _order(self, rng: np.random.Generator) -> Int:
        count = len(self.lengths)
        if not self.shuffle:
            return np.arange(count)
        if self.classes is None:
            return rng.permutation(count)
        names = np.unique(self.classes)
        parts = []
        for k, name in enumerate(names):
            members = np.flatnonzero(self.classes == name)
            draws = count * (k + 1) // len(names) - count * k // len(names)
            rounds = [rng.permutation(members) for _ in range(math.ceil(draws / len(members)))]
            parts.append(np.concatenate(rounds)[:draws] if rounds else members[:0])
        return rng.permutation(np.concatenate(parts))


def count_repeats(values: Int) -> Int:
    """Count for each value its earlier occurrences: (N,) → (N,).

    >>> count_repeats(np.array([4, 1, 4, 4, 1])).tolist()
    [0, 0, 1, 2, 1]
    """
    _, counts = np.unique(values, return_counts=True)
    repeats = np.empty_like(values)
    repeats[np.argsort(values, kind="stable")] = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    return repeats

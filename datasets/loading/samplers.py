"""Which clips make which batch: similar lengths together, the same for a seed, split between ranks, resumable in an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from avloc.errors import AvlocError

Int = npt.NDArray[np.int64]
POOL_BATCHES = 8  # batches are made of clips of similar length within so many at a time
BALANCES = ("none", "real", "modality")


class SampleIndex(NamedTuple):
    """A clip of an epoch: its number, and the seed of whatever is left to chance for it (crops, augmentation)."""

    clip: int
    seed: int


class BucketSampler(Sampler[list[SampleIndex]]):
    """Batches of clips of similar length, in a new order each epoch: little padding, and the same order for a seed.

    Ranks get disjoint parts of each batch of `batch_size` times their number, so each has as many batches, and together
    they see each clip once. With classes, each of them is drawn equally often instead: rare ones several times.

    Args:
        lengths: of the clips, in any unit: (V,).
        batch_size: clips per batch and rank.
        seed: of the order.
        shuffle: a new order each epoch, or the given one.
        rank: of this process.
        ranks: number of processes.
        classes: a number per clip; each class is drawn equally often: (V,).
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
        # A rest that is too small for every rank goes into the batch before.
        return whole if whole and rest < self.ranks else whole + (rest > 0)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch's order comes next, so that a resumed run goes on with it; every further one counts up by itself."""
        self.epoch = epoch

    def resume(self, epoch: int, batches: int) -> None:
        """Leave out the first batches of an epoch: those that were seen before the run stopped."""
        self._resume = (epoch, batches)

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        epoch, done = self.epoch, self._resume[1] if self._resume[0] == self.epoch else 0
        self.epoch += 1
        self._resume = (-1, 0)
        for number, batch in enumerate(self._batches(epoch)):
            if number >= done:
                mine = np.array_split(batch, self.ranks)[self.rank]
                # From what makes the draw, not from how many came before: resuming changes nothing.
                seeds = np.random.SeedSequence([self.seed, epoch, number, self.rank]).generate_state(len(mine))
                yield [SampleIndex(k, s) for k, s in zip(mine.tolist(), seeds.tolist(), strict=True)]

    def _batches(self, epoch: int) -> list[Int]:
        """All ranks' batches together."""
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
        kinds = np.unique(self.classes)
        parts = []
        for k, kind in enumerate(kinds):
            own = np.flatnonzero(self.classes == kind)
            wanted = count * (k + 1) // len(kinds) - count * k // len(kinds)
            rounds = [rng.permutation(own) for _ in range(math.ceil(wanted / len(own)))]
            parts.append(np.concatenate(rounds)[:wanted] if rounds else own[:0])
        return rng.permutation(np.concatenate(parts))

"""A loader's worker > shared memory > the training process: without room there, an error instead of a wait without end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avloc.datasets.loading.batch import Batch
from avloc.errors import AvlocError
from avloc.io.files import format_bytes

FOLDER = "/dev/shm"  # Linux's shared memory; a container has 64 MB by default
LEAST_BYTES = 1 << 20  # per worker: its queues, and the smallest of batches


@dataclass(frozen=True, slots=True)
class SharedCollate:
    """Collate a batch, and in a worker process move its tensors to shared memory.

    torch would move them in a thread of the worker; there, an error is printed, and the training process waits for ever.

    Attributes:
        collate: makes a batch of examples.
    """

    collate: Callable[[Sequence[Any]], Batch]

    def __call__(self, examples: Sequence[Any]) -> Batch:
        """Make a batch.

        Raises:
            AvlocError: if the shared memory is full.
        """
        batch = self.collate(examples)
        if torch.utils.data.get_worker_info() is not None:
            share(batch)
        return batch


def check_shared_memory(workers: int) -> None:
    """Raise now if the shared memory has no room for the queues of a loader's workers.

    Raises:
        AvlocError: if it has not.
    """
    if not has_shared_memory(workers):
        raise no_shared_memory()


def has_shared_memory(workers: int = 1) -> bool:
    """Tell whether the shared memory has room for the queues of a loader's workers; True if `FOLDER` does not exist."""
    return not os.path.isdir(FOLDER) or _free_bytes() >= workers * LEAST_BYTES


def share(batch: Batch) -> None:
    """Move a batch's tensors to shared memory.

    Raises:
        AvlocError: if it is full.
    """
    tensors = list(_tensors(batch))
    try:
        for tensor in tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        raise no_shared_memory(size) from error


def no_shared_memory(size: int | None = None) -> AvlocError:
    """Make the error of full shared memory; `size` is that of a batch in bytes."""
    batch = "" if size is None else f" for a batch of {format_bytes(size)}"
    free = f", {format_bytes(_free_bytes())} are free" if os.path.isdir(FOLDER) else ""
    return AvlocError(
        f"{FOLDER}: no room in the shared memory{batch}{free}; give the container more (docker run --shm-size 8g), or load with "
        "fewer --data.workers, a smaller batch_size, or workers 0, which needs none"
    )


def _free_bytes() -> int:
    status = os.statvfs(FOLDER)
    return status.f_bavail * status.f_frsize


def _tensors(values: object) -> Iterator[Tensor]:
    """The tensors in nested tuples."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple):
        for value in values:
            yield from _tensors(value)

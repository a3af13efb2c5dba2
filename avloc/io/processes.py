"""Worker processes on this machine: run a function over tasks, and end cleanly."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Yield the results of `function` for each task as they complete, in any order.

    With one worker everything runs in this process. Otherwise processes are spawned, with one thread each; they are not
    forked, because torch's threads do not survive a fork.

    Args:
        function: picklable, for more than one worker.
        tasks: its arguments.
        workers: number of processes.

    Raises:
        OSError: if a worker process is killed.

    >>> list(run(len, ["a", "bcd"], workers=1))
    [1, 3]
    """
    if workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield function(task)
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=prepare_process) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process was killed, perhaps because memory ran out; fewer --workers need less"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()  # unfinished tasks leave no result, so a later run repeats them
            raise


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM, which schedulers send before they kill, as KeyboardInterrupt within this block."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def prepare_process() -> None:
    """Set up a worker process: one torch thread, no reaction to Ctrl-C (the parent's task), and exit with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()


def _exit_with_parent(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)

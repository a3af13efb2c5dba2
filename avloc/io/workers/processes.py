"""Worker processes on this machine: run a function over tasks, and end cleanly."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
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


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_process(threads: int | None = 1) -> None:
    """Set up a worker process: few threads, no reaction to Ctrl-C (the parent's task), and exit with the parent.

    Args:
        threads: threads of torch; None: torch's default.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threads is not None:
        _limit_threads(threads)
    parent = multiprocessing.parent_process()
    if parent is not None:
        _die_with(parent.sentinel)
        threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within this block: sums keep their order, whatever the number of workers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _limit_threads(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    else:  # importing torch takes seconds; a worker that only decodes does without it
        os.environ.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))


def _die_with(sentinel: int) -> None:
    """Have the kernel kill this process when the parent ends, even while a library blocks the interpreter.

    PR_SET_PDEATHSIG would kill it already with the parent's thread that started it.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)


def _exit_with_parent(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)

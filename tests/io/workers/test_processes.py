from __future__ import annotations

import math
import os
import signal
import threading

import pytest

from avloc.io.workers.processes import run, sigterm_as_interrupt

# Workers cannot import a test module, so tasks are expressions for `eval`.
SQUARES = [f"({k} ** 2, __import__('os').getpid())" for k in (1, 2, 3)]


def test_one_worker_runs_in_this_process_in_order():
    assert list(run(eval, SQUARES, workers=1)) == [(k, os.getpid()) for k in (1, 4, 9)]
    assert list(run(eval, SQUARES[1:2], workers=5)) == [(4, os.getpid())]
    assert list(run(eval, [], workers=2)) == []


def test_several_workers_run_in_other_processes():
    results = list(run(eval, SQUARES, workers=2))
    assert sorted(square for square, _ in results) == [1, 4, 9]
    assert os.getpid() not in {process for _, process in results}


def test_an_error_of_a_task_reaches_the_caller():
    with pytest.raises(ValueError, match="math domain error"):
        list(run(math.sqrt, [-1.0, -2.0], workers=2))


def test_a_worker_that_dies_is_an_os_error():
    with pytest.raises(OSError, match="a worker process was killed.*fewer --workers"):
        list(run(os._exit, [1, 2], workers=2))


def test_sigterm_interrupts_within_the_block_only():
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_other_threads_leave_signals_alone():
    handlers = []

    def enter():
        with sigterm_as_interrupt():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]

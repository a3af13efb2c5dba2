from __future__ import annotations

import multiprocessing
import threading

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.io.workers.worker_process import (
    INLINE_BYTES,
    ParentGone,
    Signal,
    StartFailed,
    TaskFailed,
    receive,
    run_worker,
    send,
)


@pytest.mark.parametrize("count", [0, 7, INLINE_BYTES, INLINE_BYTES + 3])
@pytest.mark.parametrize("step", [1, -1])
def test_messages_of_any_size(count, step):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    data = np.arange(count, dtype=np.uint8)[::step].reshape(-1, 1)  # not contiguous
    thread = threading.Thread(target=send, args=(sender, (3, {"rows": data}, data)))
    thread.start()  # a pipe holds less than a large array
    number, rows, again = receive(receiver)
    thread.join()
    assert number == 3
    np.testing.assert_array_equal(rows["rows"], data)
    np.testing.assert_array_equal(again, data)


def test_an_end_of_the_link_is_no_error_of_a_task():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    send(sender, None)
    assert receive(receiver) is None
    sender.close()
    with pytest.raises(ParentGone):
        receive(receiver)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    receiver.close()
    with pytest.raises(ParentGone):
        send(sender, 1)
    assert not issubclass(ParentGone, Exception)


def talk(job, *tasks, monkeypatch):
    """The messages of a worker that runs in a thread."""
    monkeypatch.setattr("avloc.io.workers.worker_process.prepare_process", lambda threads: None)
    here, there = multiprocessing.Pipe()
    thread = threading.Thread(target=run_worker, args=(there, job, None))
    thread.start()
    messages = [receive(here)]
    for task in tasks:
        send(here, (task,))
        messages.append(receive(here))
        while messages[-1] is not Signal.TASK_DONE and not isinstance(messages[-1], TaskFailed):
            messages.append(receive(here))
    if not isinstance(messages[0], StartFailed):
        send(here, None)
    thread.join()
    return messages


def test_the_messages_of_a_worker(toy_job, monkeypatch):
    messages = talk(toy_job(), ("square", 3), ("odd", 0), ("nothing", 0), monkeypatch=monkeypatch)
    assert messages == [
        Signal.READY,
        9,
        Signal.TASK_DONE,
        TaskFailed("ZeroDivisionError: two lines"),
        Signal.TASK_DONE,
    ]


def test_a_job_that_cannot_be_built_says_why(toy_job, monkeypatch):
    (message,) = talk(toy_job("odd"), monkeypatch=monkeypatch)
    assert type(message.error) is AvlocError
    assert str(message.error) == "the worker processes cannot be started: ZeroDivisionError: two lines"

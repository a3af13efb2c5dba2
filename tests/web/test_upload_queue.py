from __future__ import annotations

import signal
import threading
import time

import pytest

from avloc.core.descriptions import NetworkDescription
from avloc.errors import AvlocError
from avloc.io.workers.supervision import InProcess, LossCause, Processes, TaskEvent, WorkerLost
from avloc.web import upload_queue
from avloc.web.limits import UploadRefusedError

TASKS = '''
import os, signal, time
from avloc.web.localize_job import Localized

class Crashing:
    """A job whose tasks do what their clip says."""

    def build(self, pulse):
        return self.run

    def run(self, task):
        action = task.clip.read_text()
        if action == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif action == "late":
            os.kill(os.getpid(), signal.SIGALRM)
        elif action == "hang":
            time.sleep(600)
        elif action == "eat":
            held = os.urandom(1 << 20) * 600
            time.sleep(600 + len(held))
        elif action == "raise":
            raise ZeroDivisionError("a secret")
        task.page.write_text("timeline")
        yield Localized()
'''


@pytest.fixture
def crashing(write_module):
    """A job in a module that workers can import."""
    write_module("avloc_crashing_tasks", TASKS)
    import avloc_crashing_tasks

    return avloc_crashing_tasks.Crashing()


def add(queue, name="a.mp4", content=b"x"):
    upload = queue.store.create(name)
    upload.clip.write_bytes(content)
    queue.add(upload)
    return upload


def wait(upload, states=("done", "failed")):
    for _ in range(15_000):  # 5 minutes
        if upload.state in states:
            return upload
        time.sleep(0.02)
    raise AssertionError(upload)


def test_clips_are_localized_in_order_and_know_their_place(make_queue, make_localizer, clip):
    released = threading.Event()
    queue = make_queue(make_localizer(released=released), queue_size=2)
    queue.start()
    first = wait(add(queue, content=clip), ["running"])
    second, third = add(queue, content=clip), add(queue, content=clip)
    assert [queue.position(upload) for upload in (first, second, third)] == [0, 1, 2]
    assert [upload.state for upload in (first, second, third)] == ["running", "waiting", "waiting"]
    with pytest.raises(UploadRefusedError, match="2 clips wait already; try again in some minutes") as caught:
        add(queue)
    assert caught.value.status == 503
    released.set()
    assert {wait(upload).state for upload in (first, second, third)} == {"done"}
    assert third.page.is_file()
    assert (third.fraction, third.text) == (1.0, "1 of 1 s")


def test_the_network_is_described_before_the_first_clip(make_queue, make_localizer, clip):
    queue = make_queue(make_localizer(description=NetworkDescription("net", scope="drawn faces")))
    assert queue.describe_network() == NetworkDescription("net", scope="drawn faces")
    queue.start()
    assert wait(add(queue, content=clip)).state == "done"
    unknown = make_queue(make_localizer(description=None))
    assert unknown.describe_network() is None


def test_a_refused_clip_costs_its_visitor_a_message_and_nothing_else(make_queue, clip):
    queue = make_queue()
    queue.start()
    bad, good = add(queue, "bad.mp4"), add(queue, content=clip)
    assert "bad.mp4: cannot be opened as media" in wait(bad).text
    assert wait(good).state == "done"
    assert not bad.folder.exists()


def test_a_clip_that_ends_its_process_costs_its_visitor_a_message_and_nothing_else(make_queue, crashing, caplog):
    queue = make_queue(
        make_workers=lambda: Processes(crashing, workers=2, timeout_s=300, memory_bytes=500 << 20), concurrency=2
    )
    queue.start()
    actions = ["crash", "late", "good", "eat", "raise", "fine"]
    uploads = {action: add(queue, f"{action}.mp4", action.encode()) for action in actions}
    assert {action: wait(upload).text for action, upload in uploads.items()} == {
        "crash": "crash.mp4: could not be localized, the process that decoded it ended (signal 11)",
        "late": "late.mp4: took longer than 30 minutes",
        "good": "",
        "eat": "eat.mp4: could not be localized, it needed more than 0.488 GiB of memory",
        "raise": "raise.mp4: could not be localized; the server's log has the reason",
        "fine": "",
    }
    assert "a secret" in caplog.text
    assert wait(add(queue, content=b"fine")).state == "done"


def test_a_clip_that_hangs_costs_its_visitor_a_message_and_nothing_else(make_queue, crashing):
    queue = make_queue(make_workers=lambda: Processes(crashing, workers=2, timeout_s=2), concurrency=2)
    queue.start()
    hanging, good = add(queue, "hang.mp4", b"hang"), add(queue, content=b"good")
    assert wait(hanging).text == "hang.mp4: could not be localized, no progress within 2 s"
    assert wait(good).state == "done"


def test_a_network_that_cannot_be_loaded_is_an_error_at_the_start(make_queue):
    class Broken:
        def build(self, pulse):
            raise AvlocError("c.ckpt: not a checkpoint")

    with pytest.raises(AvlocError, match=r"c\.ckpt: not a checkpoint"):
        make_queue(make_workers=lambda: InProcess(Broken())).start()


class BrokenWorkers(InProcess):
    """Workers that fail as a whole when they are used for the first time."""

    fails = True

    def wait(self, unread=(), wake=None):
        if self._tasks and type(self).fails:
            type(self).fails = False
            raise AvlocError("the worker processes cannot be started (signal 9)")
        yield from super().wait(unread, wake)


def test_workers_that_fail_as_a_whole_are_started_again(make_queue, crashing, monkeypatch, caplog):
    monkeypatch.setattr(upload_queue, "RESTART_S", 0.05)
    queue = make_queue(make_workers=lambda: BrokenWorkers(crashing))
    queue.start()
    assert wait(add(queue)).text == "a.mp4: could not be localized; the server's log has the reason"
    assert wait(add(queue)).state == "done"
    assert "(signal 9)" in caplog.text


def test_a_loss_names_its_cause(make_queue):
    queue = make_queue(time_limit_s=90.0)
    upload = queue.store.create("a.mp4")
    queue._running[1] = upload
    queue._handle(TaskEvent(1, WorkerLost(f"signal {int(signal.SIGALRM)}", LossCause.DEATH)))
    assert upload.text == "a.mp4: took longer than 1.5 minutes"
    queue._handle(TaskEvent(1, WorkerLost("signal 9", LossCause.DEATH)))  # an event after the end is ignored
    assert upload.text == "a.mp4: took longer than 1.5 minutes"

"""Run shards on this machine: the pipeline here, or one in a process of its own for each of several devices."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.pipeline import ClipDone, ShardDone, ShardSpec, run_shards
from avloc.feature_extraction.worker import Settings
from avloc.processes import prepare_process

POLL_S = 1.0


def run(specs: Iterable[ShardSpec], settings: Settings, devices: Sequence[str] = ()) -> Iterator[ClipDone | ShardDone]:
    """Make shards.

    Args:
        specs: the shards.
        settings: how; `workers` are shared out among several devices.
        devices: more than one: each gets a process, which takes the next shard when it is through with one.

    Raises:
        StoreError: if a shard cannot be written.
        OSError: at the end, if a device's process died; the shards of the others are there.
    """
    if len(devices) <= 1:
        yield from run_shards(specs, settings)
        return
    context = multiprocessing.get_context("spawn")
    todo: Any = context.Queue()
    events: Any = context.Queue(maxsize=1000)
    for spec in specs:
        todo.put(spec)
    each = max(1, settings.workers // len(devices))
    processes = [
        context.Process(target=_run_device, args=(todo, events, replace(settings, device=device, workers=each)))
        for device in devices
    ]
    for process in processes:
        todo.put(None)
        process.start()
    try:
        yield from _collected(events, processes)
    finally:
        todo.cancel_join_thread()  # nobody may be left to read it
        for process in processes:
            process.kill()  # what it is at is not finished and will be done again; its workers end with it
        for process in processes:
            process.join()


def _collected(events: Any, processes: Sequence[Any]) -> Iterator[ClipDone | ShardDone]:
    """What the devices tell, until all are through; then an error if one was lost on the way."""
    through, lost = 0, ""
    while True:
        try:
            event = events.get(timeout=POLL_S)
        except queue.Empty:
            dead = [p.exitcode for p in processes if p.exitcode not in (None, 0)]
            if through + len(dead) < len(processes):
                continue
            lost = f"the process of a device died (exit code {dead[0]}); run the same again" if dead else ""
            break
        if event is None:
            through += 1
            if through == len(processes):
                break
        elif isinstance(event, str):
            raise StoreError(event)
        else:
            yield event
    if lost:
        raise OSError(lost)


def _run_device(todo: Any, events: Any, settings: Settings) -> None:
    prepare_process()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(1)))  # so that workers are ended too
    try:
        for event in run_shards(iter(todo.get, None), settings):
            events.put(event)
    except AvlocError as error:
        events.put(str(error))
    events.put(None)

"""Run shards on this machine: the pipeline here, or one in a process of its own for each of several devices."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import connection
from typing import Any

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone, ShardSpec, run_shards
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.io.processes import prepare_process

NEXT, THROUGH = "next", "through"  # what a device's process says beside events and an error's text


def run(
    specs: Iterable[ShardSpec], settings: ExtractionSettings, devices: Sequence[str] = ()
) -> Iterator[ClipReport | ShardDone]:
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
    each = max(1, settings.workers // len(devices))
    running = [_Device(replace(settings, device=device, workers=each)) for device in devices]
    try:
        yield from _collected(iter(specs), running)
    finally:
        for device in running:
            device.process.kill()  # what it is at is not finished and will be done again; its workers end with it
        for device in running:
            device.process.join()
            device.link.close()


class _Device:
    """The process of a device, and a pipe of its own to it: what it holds when it dies concerns no other."""

    def __init__(self, settings: ExtractionSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self.link, theirs = context.Pipe()
        self.name = settings.device
        self.process = context.Process(target=_run_device, args=(theirs, settings))
        self.process.start()
        theirs.close()


def _collected(specs: Iterator[ShardSpec], devices: Sequence[_Device]) -> Iterator[ClipReport | ShardDone]:
    """What the devices tell, until all are through; then an error if one was lost on the way."""
    talking, lost = {device.link: device for device in devices}, ""
    while talking:
        for link in connection.wait([*talking]):
            device = talking[link]  # type: ignore[index]
            try:
                said = device.link.recv()
                if said == NEXT:
                    device.link.send(next(specs, None))
            except (EOFError, OSError):
                device.process.join()
                lost = f"the process of {device.name} died (exit code {device.process.exitcode}); run the same again"
                said = THROUGH
            if said == THROUGH:
                del talking[device.link]
            elif isinstance(said, AvlocError):
                raise said
            elif said != NEXT:
                yield said
    if lost:
        raise OSError(lost)


def _run_device(link: Any, settings: ExtractionSettings) -> None:
    prepare_process()
    try:
        for event in run_shards(_asked(link), settings):
            link.send(event)
    except StoreError as error:
        link.send(StoreError(str(error)))  # without what it came from, which may not go through a pipe
    except AvlocError as error:
        link.send(AvlocError(f"{settings.device}: {error}"))
    link.send(THROUGH)


def _asked(link: Any) -> Iterator[ShardSpec]:
    """The shards, one by one as they are wanted."""
    while True:
        link.send(NEXT)
        spec = link.recv()
        if spec is None:
            return
        yield spec

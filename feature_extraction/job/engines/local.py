"""The local engine: one pipeline in this process, or one in a process of its own for each of several devices."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from typing import Any

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.job.engines.units import UnitSettings
from avloc.feature_extraction.job.pipeline import run_shards
from avloc.io.workers.processes import prepare_process

NEXT_SHARD, FINISHED = "next", "finished"  # a device process's signals beside its events and errors


def run(
    specs: Iterable[Any],
    settings: UnitSettings,
    devices: Sequence[str] = (),
    *,
    run_units: Callable[[Iterable[Any], Any], Iterator[Any]] = run_shards,
) -> Iterator[Any]:
    """Make shards on this machine, or other units of work.

    Args:
        specs: the shards.
        settings: the job's; `workers` are divided among several devices.
        devices: with more than one, each gets a process that takes the next shard when it has finished one.
        run_units: makes units of work, and yields their events.

    Raises:
        StoreError: if a shard cannot be written.
        OSError: at the end, if a device's process died; the shards of the others are complete.
    """
    if len(devices) <= 1:
        yield from run_units(specs, settings)
        return
    workers = max(1, settings.workers // len(devices))
    processes = [_DeviceProcess(device, settings.with_resources(workers, device), run_units) for device in devices]
    try:
        yield from _collect_events(iter(specs), processes)
    finally:
        for device in processes:
            device.process.kill()  # its unfinished shard is made again by a later run; its workers end with it
        for device in processes:
            device.process.join()
            device.link.close()


class _DeviceProcess:
    """The process of a device, with a pipe of its own: its death does not block a pipe of another."""

    def __init__(
        self, device: str, settings: UnitSettings, run_units: Callable[[Iterable[Any], Any], Iterator[Any]]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.link, child_link = context.Pipe()
        self.name = device
        self.process = context.Process(target=_run_device, args=(child_link, device, settings, run_units))
        self.process.start()
        child_link.close()


def _collect_events(specs: Iterator[Any], processes: Sequence[_DeviceProcess]) -> Iterator[Any]:
    """Yield the events of all devices until all have finished.

    Raises:
        AvlocError: at once, if a device's process reports an error.
        OSError: at the end, if a device's process died.
    """
    running, death = {device.link: device for device in processes}, ""
    while running:
        for link in connection.wait([*running]):
            device = running[link]  # type: ignore[index]
            try:
                message = device.link.recv()
                if message == NEXT_SHARD:
                    device.link.send(next(specs, None))
            except (EOFError, OSError):
                device.process.join()
                death = f"the process of {device.name} died (exit code {device.process.exitcode}); run the same again"
                message = FINISHED
            if message == FINISHED:
                del running[device.link]
            elif isinstance(message, AvlocError):
                raise message
            elif message != NEXT_SHARD:
                yield message
    if death:
        raise OSError(death)


def _run_device(
    link: connection.Connection,
    device: str,
    settings: UnitSettings,
    run_units: Callable[[Iterable[Any], Any], Iterator[Any]],
) -> None:
    """The main function of a device's process."""
    prepare_process()
    try:
        for event in run_units(_receive_specs(link), settings):
            link.send(event)
    except StoreError as error:
        link.send(StoreError(str(error)))  # without its cause, which may not be picklable
    except AvlocError as error:
        link.send(AvlocError(f"{device}: {error}"))
    link.send(FINISHED)


def _receive_specs(link: connection.Connection) -> Iterator[Any]:
    """Request the shards one by one, each when the pipeline needs it."""
    while True:
        link.send(NEXT_SHARD)
        spec = link.recv()
        if spec is None:
            return
        yield spec

"""The Ray engine: shards as tasks of a Ray cluster, an existing one or a new one on this machine.

A task is a shard: it decodes in processes of its own, writes the shard into the store (a folder that all nodes see), and
returns the events of its clips. When its worker or node dies, Ray runs it again elsewhere. Nothing of the current folder is
shipped: the nodes have avloc installed, or receive a wheel of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from avloc.errors import AvlocError, StoreError, describe_error
from avloc.feature_extraction.job.engines.units import UnitSettings, UnitSpec
from avloc.feature_extraction.job.pipeline import run_shards

SHARD_RETRIES = 5  # of a shard whose worker or node dies
SHARDS_PER_SLOT = 2  # submitted at once, so that a million names are not all in flight
POLL_S = 1.0


class _UnitResult(NamedTuple):
    """The result of a task: the events of a shard, or the error that prevented it."""

    events: list[Any]
    error: str | None = None


def run(
    specs: Iterable[UnitSpec],
    settings: UnitSettings,
    *,
    address: str | None = None,
    gpus: float = 0.0,
    wheel: str | None = None,
    run_units: Callable[[Iterable[Any], Any], Iterator[Any]] = run_shards,
) -> Iterator[Any]:
    """Make shards on a Ray cluster, or other units of work.

    Args:
        specs: the shards.
        settings: the job's; each task takes as many CPUs as it has `workers`. All paths must be valid on the nodes.
        address: the cluster's; None: RAY_ADDRESS, or else a new cluster on this machine.
        gpus: GPUs per task; with a fraction several tasks share one.
        wheel: a wheel of avloc to send to the nodes.
        run_units: makes units of work, and yields their events.

    Raises:
        AvlocError: if Ray is not installed, or the cluster cannot be reached.
        StoreError: at the end, if shards could not be made; the others are complete. It comes early once no shard can be made
            any more.
    """
    ray = _connect(address, wheel)
    cpus = max(1, settings.workers)
    settings = settings.absolute().with_resources(cpus)
    task = ray.remote(_run_unit).options(
        num_cpus=cpus, num_gpus=gpus, max_retries=SHARD_RETRIES, scheduling_strategy="SPREAD"
    )
    failures: list[str] = []
    failures_in_a_row = 0  # a disk may be full or unmounted
    upcoming = iter(specs)
    pending: set[Any] = set()
    while True:
        limit = SHARDS_PER_SLOT * _slots(ray, cpus, gpus)
        room = 0 if failures_in_a_row > limit else limit - len(pending)
        for spec in (spec for _, spec in zip(range(room), upcoming, strict=False)):
            pending.add(task.remote(spec.absolute(), settings, run_units))
        if not pending:
            break
        for reference in ray.wait(list(pending), timeout=POLL_S)[0]:
            pending.remove(reference)
            result = _result(ray, reference)
            yield from result.events
            failures += [result.error] if result.error else []
            failures_in_a_row = failures_in_a_row + 1 if result.error else 0
    if failures:
        raise StoreError(f"{len(failures)} shards could not be made, run the same again; the first: {failures[0]}")


def _run_unit(
    spec: UnitSpec, settings: UnitSettings, run_units: Callable[[Iterable[Any], Any], Iterator[Any]]
) -> _UnitResult:
    """The task. Its error is returned, because an error of one shard must not end the job."""
    try:
        return _UnitResult(list(run_units([spec], settings)))
    except Exception as error:
        return _UnitResult([], describe_error(error))


def _result(ray: Any, reference: Any) -> _UnitResult:
    try:
        result: _UnitResult = ray.get(reference)
    except ray.exceptions.RayError as error:
        return _UnitResult([], f"its worker was lost {SHARD_RETRIES + 1} times: {describe_error(error)}")
    return result


def _connect(address: str | None, wheel: str | None) -> Any:
    """Connect to a cluster; returns the module `ray`."""
    try:
        import ray
    except ImportError as error:
        raise AvlocError("--engine ray needs Ray: pip install 'avloc[ray]'") from error
    if wheel is not None and not (wheel.endswith(".whl") and Path(wheel).is_file()):
        raise AvlocError(f"{wheel}: no such wheel (want a file that `python -m build --wheel` made)")
    if not ray.is_initialized():
        environment = {"py_modules": [wheel]} if wheel is not None else {}
        try:
            ray.init(address=address, runtime_env=environment, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise AvlocError(f"no Ray cluster at {address or 'this machine'} ({describe_error(error)})") from error
    return ray


def _slots(ray: Any, cpus: int, gpus: float) -> int:
    """The number of tasks that the cluster can run now; at least 1, because it may be growing."""
    resources = ray.cluster_resources()
    by_gpu = resources.get("GPU", 0) / gpus if gpus else float("inf")
    return max(1, int(min(resources.get("CPU", 0) / cpus, by_gpu)))

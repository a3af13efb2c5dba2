"""The Ray engine: shards as tasks of a Ray cluster, an existing one or a new one on this machine.

A task is a shard: it decodes in processes of its own, writes the shard into the store (a folder that all nodes see), and
returns the events of its clips. When its worker or node dies, Ray runs it again elsewhere. Nothing of the current folder is
shipped: the nodes have avloc installed, or receive a wheel of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.catalog import with_default_key
from avloc.feature_extraction.job.in_progress import ShardSpec
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone, run_shards
from avloc.feature_extraction.job.worker import ExtractionSettings, describe_error

SHARD_RETRIES = 5  # of a shard whose worker or node dies
SHARDS_PER_SLOT = 2  # submitted at once, so that a million names are not all in flight
POLL_S = 1.0


class _ShardResult(NamedTuple):
    """The result of a task: the events of a shard, or the error for which it could not be made."""

    events: list[ClipReport | ShardDone]
    error: str | None = None


def run(
    specs: Iterable[ShardSpec],
    settings: ExtractionSettings,
    *,
    address: str | None = None,
    gpus: float = 0.0,
    wheel: str | None = None,
) -> Iterator[ClipReport | ShardDone]:
    """Make shards on a Ray cluster.

    Args:
        specs: the shards.
        settings: the job's; each task takes as many CPUs as it has `workers`. All paths must be valid on the nodes.
        address: the cluster's; None: RAY_ADDRESS, or else a new cluster on this machine.
        gpus: GPUs per task; with a fraction several tasks share one.
        wheel: a wheel of avloc to send to the nodes.

    Raises:
        AvlocError: if Ray is not installed, or the cluster cannot be reached.
        StoreError: at the end, if shards could not be made; the others are complete. It comes early once no shard can be made
            any more.
    """
    ray = _connect(address, wheel)
    settings = replace(_absolute(settings), workers=max(1, settings.workers))
    task = ray.remote(_shard).options(
        num_cpus=settings.workers, num_gpus=gpus, max_retries=SHARD_RETRIES, scheduling_strategy="SPREAD"
    )
    failures: list[str] = []
    failures_in_a_row = 0  # a disk may be full or unmounted
    upcoming = iter(specs)
    pending: dict[Any, ShardSpec] = {}
    while True:
        limit = SHARDS_PER_SLOT * _slots(ray, settings.workers, gpus)
        room = 0 if failures_in_a_row > limit else limit - len(pending)
        for spec in (spec for _, spec in zip(range(room), upcoming, strict=False)):
            paths = {k: path.absolute() for k, path in spec.paths.items()}
            pending[task.remote(replace(spec, paths=paths), settings)] = spec
        if not pending:
            break
        for reference in ray.wait(list(pending), timeout=POLL_S)[0]:
            pending.pop(reference)
            result = _result(ray, reference)
            yield from result.events
            failures += [result.error] if result.error else []
            failures_in_a_row = failures_in_a_row + 1 if result.error else 0
    if failures:
        raise StoreError(f"{len(failures)} shards could not be made, run the same again; the first: {failures[0]}")


def _shard(spec: ShardSpec, settings: ExtractionSettings) -> _ShardResult:
    """The task. Its error is returned, because an error of one shard must not end the job."""
    events: list[ClipReport | ShardDone] = []
    try:
        events += run_shards([spec], settings)
    except Exception as error:
        return _ShardResult([], describe_error(error))
    return _ShardResult(events)


def _result(ray: Any, reference: Any) -> _ShardResult:
    try:
        result: _ShardResult = ray.get(reference)
    except ray.exceptions.RayError as error:
        return _ShardResult([], f"its worker was lost {SHARD_RETRIES + 1} times: {describe_error(error)}")
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


def _absolute(settings: ExtractionSettings) -> ExtractionSettings:
    """Make paths absolute, so that they do not depend on the folder in which the job was started."""
    extractors = []
    for name, arguments in settings.extractors:
        named = with_default_key(name, arguments)
        extractors.append((name, {k: _absolute_path(v) if k == "weights" else v for k, v in named.items()}))
    return replace(settings, root=settings.folder.absolute(), extractors=extractors)


def _absolute_path(value: object) -> object:
    """Make the path of an existing file absolute; the name of a hub's model stays as it is."""
    return str(Path(value).absolute()) if isinstance(value, str) and Path(value).exists() else value

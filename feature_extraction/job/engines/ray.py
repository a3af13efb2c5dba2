"""Run shards as tasks of a Ray cluster, an existing one or one on this machine.

A task is a shard: it decodes in processes of its own, writes the shard where the store lies (a folder that all nodes see), and
returns what became of each clip. When its worker or node dies, Ray runs it again elsewhere. Nothing of the folder that the job
is started in is shipped: nodes have avloc installed, or get a wheel of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors import with_default_key
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone, ShardSpec, run_shards
from avloc.feature_extraction.job.worker import ExtractionSettings, describe_error

TRIES = 5  # of a shard whose worker or node dies
WAITING_PER_SLOT = 2  # shards submitted for each that can run, so that a million names are not all in flight
POLL_S = 1.0

log = logging.getLogger(__name__)


def run(
    specs: Iterable[ShardSpec],
    settings: ExtractionSettings,
    *,
    address: str | None = None,
    gpus: float = 0.0,
    wheel: str | None = None,
) -> Iterator[ClipReport | ShardDone]:
    """Make shards.

    Args:
        specs: the shards.
        settings: how; each task takes as many CPUs as it has `workers`. All paths must be those that the nodes see.
        address: the cluster's; None: what RAY_ADDRESS says, or else a cluster on this machine.
        gpus: of each task; a fraction lets several share one.
        wheel: a wheel of avloc to send to the nodes.

    Raises:
        AvlocError: if Ray is not installed, or the cluster cannot be reached.
        StoreError: at the end, if shards could not be made; the others are there. It comes early if none can be made any more.
    """
    ray = _connect(address, wheel)
    settings = replace(_absolute(settings), workers=max(1, settings.workers))
    make = ray.remote(_shard).options(
        num_cpus=settings.workers, num_gpus=gpus, max_retries=TRIES, scheduling_strategy="SPREAD"
    )
    failed: list[str] = []
    in_a_row = 0  # that failed: a disk that is full or not mounted, say
    coming = iter(specs)
    pending: dict[Any, ShardSpec] = {}
    while True:
        slots = _slots(ray, settings.workers, gpus)
        room = 0 if in_a_row > WAITING_PER_SLOT * slots else WAITING_PER_SLOT * slots - len(pending)
        for spec in (s for _, s in zip(range(room), coming, strict=False)):
            paths = {k: path.absolute() for k, path in spec.paths.items()}
            pending[make.remote(replace(spec, paths=paths), settings)] = spec
        if not pending:
            break
        for reference in ray.wait(list(pending), timeout=POLL_S)[0]:
            pending.pop(reference)
            try:
                events, error = ray.get(reference)
            except ray.exceptions.RayError as lost:
                events, error = [], f"its worker was lost {TRIES + 1} times: {describe_error(lost)}"
            yield from events
            failed += [error] if error else []
            in_a_row = in_a_row + 1 if error else 0
    if failed:
        raise StoreError(f"{len(failed)} shards could not be made, run the same again; the first: {failed[0]}")


def _shard(spec: ShardSpec, settings: ExtractionSettings) -> tuple[list[ClipReport | ShardDone], str | None]:
    """The task. An error of one shard must not end the job, so it is returned."""
    events: list[ClipReport | ShardDone] = []
    try:
        events += run_shards([spec], settings)
    except Exception as error:
        return [], describe_error(error)
    return events, None


def _connect(address: str | None, wheel: str | None) -> Any:
    """Ray, connected."""
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
    """How many tasks the cluster can run now; 1 at the least, for it may be growing."""
    there = ray.cluster_resources()
    by_gpu = there.get("GPU", 0) / gpus if gpus else float("inf")
    return max(1, int(min(there.get("CPU", 0) / cpus, by_gpu)))


def _absolute(settings: ExtractionSettings) -> ExtractionSettings:
    """With paths that do not depend on the folder that the job was started in."""
    extractors = tuple(
        (
            name,
            {
                key: _absolute_path(value) if key == "weights" else value
                for key, value in with_default_key(name, given).items()
            },
        )
        for name, given in settings.extractors
    )
    return replace(settings, root=settings.root.absolute(), extractors=extractors)


def _absolute_path(value: Any) -> Any:
    """Of what there is; a hub's name stays one."""
    return str(Path(value).absolute()) if isinstance(value, str) and Path(value).exists() else value

"""Options of the verbs whose work is divided among tasks, devices or machines."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from avloc.cli.arguments.values import number
from avloc.errors import AvlocError


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options of a verb whose work is divided among tasks, devices or machines.

    Attributes:
        engine: `local` or `ray`.
        shard: (i, n): task i of a job array of n.
        ray_address: address of a Ray cluster.
        ray_gpus: GPUs per Ray task.
        ray_wheel: a wheel of avloc for the nodes.
    """

    engine: str
    shard: tuple[int, int]
    ray_address: str | None
    ray_gpus: float
    ray_wheel: str | None

    @classmethod
    def pop(cls, namespace: argparse.Namespace) -> EngineOptions:
        """Take the options that `add_engine_options` added out of a namespace."""
        return cls(**{field.name: vars(namespace).pop(field.name) for field in fields(cls)})

    def build(self, devices: Sequence[str], **arguments: Any) -> Callable[..., Iterator[Any]]:
        """Return the engine, called with specs and settings.

        Args:
            devices: of the local engine.
            arguments: further ones of the engine.

        Raises:
            AvlocError: if several devices are named for Ray.
        """
        from avloc.feature_extraction.job.engines import local

        if self.engine == "local":
            return partial(local.run, devices=devices, **arguments)
        from avloc.feature_extraction.job.engines import ray

        if len(devices) > 1:
            raise AvlocError(
                "--engine ray: name one --device, because each task sees its own GPUs; --ray-gpus sets their number per task"
            )
        return partial(ray.run, address=self.ray_address, gpus=self.ray_gpus, wheel=self.ray_wheel, **arguments)


def add_engine_options(options: argparse.ArgumentParser | argparse._ArgumentGroup, unit: str) -> None:
    """Add the options of `EngineOptions`.

    Args:
        options: the parser.
        unit: the noun of the units of work in the help.
    """
    options.add_argument(
        "--shard",
        type=_shard,
        default="0/1",
        metavar="i/n",
        help=f"make only every n-th {unit} from the i-th on, counted from 0 (default: 0/1, all)",
    )
    options.add_argument(
        "--engine", default="local", choices=["local", "ray"], help=f"engine that runs the {unit}s (default: local)"
    )
    options.add_argument(
        "--ray-address", help="address of a Ray cluster (default: RAY_ADDRESS, or a new one on this machine)"
    )
    options.add_argument(
        "--ray-gpus", type=number(0), default=0.0, metavar="F", help="GPUs per Ray task, as 0.5 (default: 0)"
    )
    options.add_argument(
        "--ray-wheel", metavar="WHEEL", help="wheel of avloc to install on nodes that lack it (default: none)"
    )


def _shard(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    try:
        return int(first), int(second)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"want i/n, as in 0/8, got {text!r}") from error

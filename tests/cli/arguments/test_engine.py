from __future__ import annotations

import pytest

from avloc.cli.arguments.engine import EngineOptions, add_engine_options
from avloc.cli.arguments.parser import parser
from avloc.errors import AvlocError


def engine_options(*words: str) -> EngineOptions:
    options = parser("extract", "avloc extract")
    add_engine_options(options, "shard")
    namespace = options.parse_args(words)
    engine = EngineOptions.pop(namespace)
    assert vars(namespace) == {}
    return engine


def test_the_default_is_one_task_on_this_machine():
    assert engine_options() == EngineOptions("local", (0, 1), None, 0.0, None)


def test_a_task_of_a_job_array_is_i_of_n():
    assert engine_options("--shard", "3/8").shard == (3, 8)
    with pytest.raises(AvlocError, match="--shard: want i/n, as in 0/8, got '3-8'"):
        engine_options("--shard", "3-8")


def test_ray_takes_one_device():
    engine = engine_options("--engine", "ray", "--ray-gpus", "0.5")
    assert engine.ray_gpus == 0.5
    with pytest.raises(AvlocError, match="--engine ray: name one --device"):
        engine.build(["cuda:0", "cuda:1"])

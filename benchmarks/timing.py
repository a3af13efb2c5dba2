"""Timing: several functions in turn in one process, and medians of their seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

Result = TypeVar("Result")


class Timed(NamedTuple, Generic[Result]):
    """The result of a call, and the seconds it took."""

    seconds: float
    result: Result


def timed(function: Callable[[], Result]) -> Timed[Result]:
    """Call a function and measure it.

    >>> timed(lambda: 6 * 7).result
    42
    """
    begin = time.perf_counter()
    result = function()
    return Timed(time.perf_counter() - begin, result)


def median_seconds(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median seconds of each function. They run in turn, after one untimed run of each.

    Args:
        functions: the functions by name.
        repeats: timed runs of each, at least 1.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for k in range(repeats + 1):
        for name, function in functions.items():
            duration_s = timed(function).seconds
            if k:
                seconds[name].append(duration_s)
    return {name: statistics.median(values) for name, values in seconds.items()}

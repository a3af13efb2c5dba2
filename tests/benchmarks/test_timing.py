from __future__ import annotations

import itertools

import pytest


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by 1, 2, 3, … seconds from one reading to the next."""
    times = itertools.accumulate(itertools.count())
    monkeypatch.setattr("time.perf_counter", lambda: float(next(times)))


def test_timed_returns_the_result_and_its_seconds(clock):
    from timing import timed

    assert timed(lambda: "result") == (1.0, "result")


def test_median_seconds_leaves_out_the_first_run_and_takes_turns(clock):
    from timing import median_seconds

    calls = []
    # The calls take 1, 3, 5, … seconds.
    seconds = median_seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert seconds == {"a": 9.0, "b": 11.0}

from __future__ import annotations

import os
import time

import pytest

from avloc.errors import AvlocError, StoreError
from avloc.io.workers.pool import TaskPool, TaskResult, run_tasks


def run(job, *tasks, workers=1, timeout_s=60.0, **options):
    return list(run_tasks(job, tasks, workers=workers, timeout_s=timeout_s, **options))


@pytest.mark.parametrize("workers", [0, 2])
def test_one_result_per_task_in_order(toy_job, workers):
    tasks = [("slow", 0.2), *[("square", k) for k in range(9)], ("odd", 0), ("nothing", 0), ("unpicklable", 0)]
    outcomes = run(toy_job(), *tasks[: 12 if not workers else 13], workers=workers)
    assert [outcome.task for outcome in outcomes] == tasks[: len(outcomes)]
    assert [outcome.result for outcome in outcomes[:10]] == [0.2, *[k * k for k in range(9)]]
    assert outcomes[10] == TaskResult(("odd", 0), failure="ZeroDivisionError: two lines")
    assert outcomes[11] == TaskResult(("nothing", 0))
    if workers:
        assert "lambda" in outcomes[12].failure
        assert not outcomes[12].crashed


def test_a_task_that_crashes_or_grows_fails_alone(toy_job, tmp_path):
    tasks = [("crash", 0), ("square", 2), ("grow", 600), ("square", 3), ("crash_once", str(tmp_path)), ("square", 4)]
    outcomes = run(toy_job(), *tasks, workers=2, memory_bytes=400 << 20)
    assert [outcome.failure for outcome in outcomes] == [
        "its worker process died 3 times (signal 11)",
        None,
        "given up, it needed more than 0.391 GiB of memory",
        None,
        None,
        None,
    ]
    assert [outcome.result for outcome in outcomes] == [None, 4, None, 9, "second try", 16]
    assert [outcome.crashed for outcome in outcomes] == [True, False, True, False, False, False]


def test_a_task_that_hangs_fails_alone(toy_job):
    outcomes = run(toy_job(), ("square", 2), ("hang", 0), ("square", 3), workers=2, timeout_s=2.0)
    assert [outcome.failure for outcome in outcomes] == [None, "given up, no progress within 2 s", None]
    assert [outcome.result for outcome in outcomes] == [4, None, 9]
    assert [outcome.crashed for outcome in outcomes] == [False, True, False]


def test_tries_of_a_task(toy_job):
    (outcome,) = run(toy_job(), ("leave", 0), tries=1)
    assert outcome.failure == "its worker process died (exit code 3)"


def test_progress_and_pulses_show_life(toy_job):
    reports = []
    outcomes = run(
        toy_job(), ("count", 3), ("pulsing", 2.5), timeout_s=1.6, progress=lambda task, value: reports.append(value)
    )
    assert [outcome.result for outcome in outcomes] == [3, 2.5]
    assert reports == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", ["count", "report"])
def test_progress_of_a_task(toy_job, workers, name):
    reports = []
    (outcome,) = run(toy_job(), (name, 3), workers=workers, progress=lambda *report: reports.append(report))
    assert outcome.result == 3
    assert reports == [((name, 3), k) for k in range(3)]


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_the_start_reach_the_caller(toy_job, workers):
    with pytest.raises(StoreError, match=r"^features: no such store$"):
        run(toy_job("refuse"), ("square", 1), workers=workers)
    with pytest.raises(AvlocError if workers else ZeroDivisionError, match="two"):
        run(toy_job("odd"), ("square", 1), workers=workers)


def test_no_tasks_start_no_worker(toy_job):
    assert run(toy_job("refuse")) == []


def test_tasks_are_consumed_a_few_ahead(toy_job):
    consumed = []

    def tasks():
        for k in range(100):
            consumed.append(k)
            yield "square", k

    outcomes = run_tasks(toy_job(), tasks(), workers=1, timeout_s=60.0)
    assert next(outcomes).result == 0
    assert len(consumed) < 5
    outcomes.close()


def test_a_pool_keeps_its_workers_and_drops_abandoned_tasks(toy_job):
    with TaskPool(toy_job(), workers=1, timeout_s=60.0) as pool:
        processes = [next(pool.run([("process", 0)])).result for _ in range(2)]
        assert processes[0] == processes[1] != os.getpid()
        reports, begin = [], time.monotonic()
        hanging = pool.run([("hang", 0)], lambda task, value: (reports.append(value), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            next(hanging)
        assert [outcome.result for outcome in pool.run([("square", 5), ("square", 6)])] == [25, 36]
        assert reports == ["hangs"]
        assert time.monotonic() - begin < 60


def test_large_arrays_arrive_unchanged(toy_job):
    (outcome,) = run(toy_job(), ("array", 1 << 20))
    assert outcome.result.shape == (1 << 20,)
    assert outcome.result[-1] == (1 << 20) - 1
    outcome.result[0] = 5  # writable

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from avloc.errors import AvlocError


@pytest.fixture
def setting(tmp_path):
    from gpu_measures import QUICK, Setting

    return Setting("cpu", tmp_path, QUICK, workers=1)


@pytest.fixture
def report():
    from gpu import CheckResult, DeviceDescription, GPUReport
    from gpu_measures import Row

    rows = (Row("BATFD", "forward pass, bf16", 12.3456, "ms", 0.00123), Row("BATFD", "share", 0.5, ""))
    checks = (CheckResult("BATFD", 3.0, rows), CheckResult("localize", 1.0, error="RuntimeError: no kernel | image"))
    device = DeviceDescription("NVIDIA H100", "2.11.0", "13.0", "CUDA 13.1")
    return GPUReport("2026-01-02T03:04:05+00:00", False, 61.2, device, checks)


def test_result_of_a_function_in_a_process_of_its_own():
    from gpu import run_in_process

    assert run_in_process(operator.neg, 3, 60) == -3


def test_error_in_a_process_becomes_one_line():
    from gpu import run_in_process

    with pytest.raises(AvlocError, match=r"^ZeroDivisionError: .*division"):
        run_in_process(partial(operator.truediv, 1), 0, 60)


def test_dead_process_is_reported():
    from gpu import run_in_process

    with pytest.raises(AvlocError, match=r"its process died \(exit code 3\)"):
        run_in_process(os._exit, 3, 60)


def test_hanging_process_is_ended():
    from gpu import run_in_process

    begin = time.monotonic()
    with pytest.raises(AvlocError, match="not finished after 1 s"):
        run_in_process(time.sleep, 600, 1)
    assert time.monotonic() - begin < 60


def test_failure_leaves_the_other_checks_running(setting):
    from gpu import run_checks
    from gpu_measures import Check

    (setting.clips / "clip.mp4").touch()
    checks = [Check("broken", int, 60), Check("good", operator.attrgetter("files"), 60)]
    broken, good = run_checks(checks, setting, 120)
    assert broken.error is not None
    assert broken.error.startswith("TypeError: int() argument must be")
    assert broken.rows == ()
    assert (good.rows, good.error) == (("clip.mp4",), None)


def test_checks_share_the_time_that_is_left(setting, monkeypatch):
    from gpu import OUT_OF_TIME, CheckResult, run_checks
    from gpu_measures import Check

    now, limits, results = [100.0], [], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def run(check, _, limit_s):
        limits.append(limit_s)
        now[0] += 40
        return CheckResult(check.name, 40.0)

    checks = [Check(name, int, budget_s=50) for name in "abcd"]
    run_checks(checks, setting, 100, run, results.append)
    assert limits == [50, 50, 20]
    assert [result.name for result in results] == list("abcd")
    assert [result.error for result in results] == [None, None, None, OUT_OF_TIME]


def test_table(report):
    from gpu import markdown_table

    assert markdown_table(report).splitlines() == [
        "NVIDIA H100, torch 2.11.0, CUDA 13.0, driver for CUDA 13.1, 2026-01-02, 61 s",
        "",
        "| check | measure | value | difference from the CPU's float32 |",
        "|---|---|---|---|",
        "| BATFD | forward pass, bf16 | 12.3 ms | 1.2e-03 |",
        "| BATFD | share | 0.5 |  |",
        "| localize | failed | RuntimeError: no kernel / image | |",
    ]


def test_exit_code_tells_of_failures(report):
    from dataclasses import replace

    assert report.exit_code == 1
    assert replace(report, checks=report.checks[:1]).exit_code == 0


def test_unusable_device_is_an_error():
    from gpu import describe_device

    with pytest.raises(AvlocError, match="device 'cuda:99' cannot be used here"):
        describe_device("cuda:99")
    description = describe_device("cpu")
    assert description.device.startswith("CPU")
    assert description.cuda is None


def test_options():
    from gpu import parse

    options = parse(["--out", "d", "--quick", "--only", "BATFD", "--only", "localize"])
    assert (options.out, options.device, options.total, options.workers) == (Path("d"), "cuda", 480.0, 1)
    assert options.only == ("BATFD", "localize")
    assert parse(["--out", "d"]).workers == len(os.sched_getaffinity(0))
    with pytest.raises(SystemExit):
        parse(["--out", "d", "--only", "nothing"])


def test_script_writes_both_files(tmp_path, benchmarks):
    command = [
        sys.executable,
        benchmarks / "gpu.py",
        "--device",
        "cpu",
        "--quick",
        "--only",
        "BATFD",
        "--out",
        tmp_path,
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["quick"]
    assert written["device"]["device"].startswith("CPU")
    assert [check["name"] for check in written["checks"]] == ["BATFD"]
    assert len(written["checks"][0]["rows"]) == 4
    table = (tmp_path / "gpu.md").read_text()
    assert table.count("| BATFD |") == 4
    assert process.stdout.endswith(f"{table}\n")


def test_script_exits_2_without_the_device(tmp_path, benchmarks):
    command = [sys.executable, benchmarks / "gpu.py", "--device", "cuda:99", "--out", tmp_path]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith("gpu.py: device 'cuda:99' cannot be used here")
    assert not list(tmp_path.iterdir())

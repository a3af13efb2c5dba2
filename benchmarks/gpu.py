"""All checks that need a GPU (`gpu_checks.py`): speed, memory, and the difference from the CPU's float32 results.

    python benchmarks/gpu.py --out D                       # at most 8 minutes on one GPU
    python benchmarks/gpu.py --out D --device cpu --quick  # the same code in a tiny form, under a minute

Writes D/gpu.json and D/gpu.md, a table for the documentation. Each check runs in a process of its own, because an error on a
GPU can leave every later call of its process failing: a check that fails, crashes or takes too long is recorded, and the
others still run. Checks that do not fit into the time of `--total` are recorded as not run. Exit codes: 0 (all checks ran),
1 (done with recorded failures), 2 (the device cannot be used).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gpu_checks import CHECKS
from gpu_measures import FULL, QUICK, Check, Row, Setting

from avloc.errors import AvlocError, one_line
from avloc.io.files import write_json, write_text

TOTAL_S = 480.0
DESCRIBE_S = 60.0
END_S = 5.0  # a process gets this long to end by itself
OUT_OF_TIME = "not run: out of time"


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """The device and the software that ran it.

    Attributes:
        device: name of the GPU, or of the CPU.
        torch: version of torch.
        cuda: version of CUDA that torch was built with; None on the CPU.
        driver: the newest version of CUDA that the driver supports; None on the CPU, or where torch cannot tell.
    """

    device: str
    torch: str
    cuda: str | None
    driver: str | None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check: its rows, or the reason it has none.

    Attributes:
        name: of the check.
        seconds: time it took, the start of its process included.
        rows: the measurements.
        error: one line; None if the check ran to its end.
    """

    name: str
    seconds: float
    rows: tuple[Row, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class GPUReport:
    """The content of gpu.json.

    Attributes:
        date: when the run ended, in UTC.
        quick: whether the checks ran in their tiny form.
        seconds: time of the whole run.
        device: the device.
        checks: one result per check.
    """

    date: str
    quick: bool
    seconds: float
    device: DeviceDescription
    checks: tuple[CheckResult, ...]

    @property
    def exit_code(self) -> int:
        """0, or 1 if a check failed or did not run."""
        return int(any(check.error is not None for check in self.checks))


def describe_device(device: str) -> DeviceDescription:
    """Describe a device after a first computation on it.

    Raises:
        AvlocError: if torch cannot use it.
    """
    import torch

    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        raise AvlocError(f"device {device!r} cannot be used here: {one_line(error)}") from error
    if torch.device(device).type != "cuda":
        return DeviceDescription(f"CPU ({platform.machine()})", torch.__version__, None, None)
    supported = getattr(torch._C, "_cuda_getDriverVersion", lambda: 0)()
    driver = f"CUDA {supported // 1000}.{supported % 1000 // 10}" if supported else None
    return DeviceDescription(torch.cuda.get_device_name(device), torch.__version__, torch.version.cuda, driver)


def run_in_process(function: Callable[[Any], Any], argument: object, limit_s: float) -> Any:
    """Call a function in a process of its own and return its result.

    Args:
        function: importable by name.
        argument: its only argument; picklable.
        limit_s: the process is ended after this time.

    Raises:
        AvlocError: if the function raises (the message is its type and text on one line), its process dies, or time is up.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, function, argument))
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit_s):
            raise AvlocError(f"not finished after {limit_s:.0f} s")
        result, error = receiver.recv()
        process.join(END_S)
    except EOFError:
        process.join(END_S)
        raise AvlocError(f"its process died (exit code {process.exitcode})") from None
    finally:
        receiver.close()
        for stop in (process.terminate, process.kill):
            if process.is_alive():
                stop()
                process.join(END_S)
    if error is not None:
        raise AvlocError(error)
    return result


def _call(sender: Connection, function: Callable[[Any], Any], argument: object) -> None:
    try:
        answer = function(argument), None
    except Exception as error:  # anything at all is a line of the report
        name = "" if isinstance(error, AvlocError) else f"{type(error).__name__}: "
        answer = None, f"{name}{one_line(error)}"
    sender.send(answer)


def run_check(check: Check, setting: Setting, limit_s: float) -> CheckResult:
    """Run one check in a process of its own."""
    begin = time.monotonic()
    try:
        rows, error = tuple(run_in_process(check.run, setting, limit_s)), None
    except AvlocError as failure:
        rows, error = (), str(failure)
    return CheckResult(check.name, time.monotonic() - begin, rows, error)


def run_checks(
    checks: Sequence[Check],
    setting: Setting,
    left_s: float,
    run: Callable[[Check, Setting, float], CheckResult] = run_check,
    progress: Callable[[CheckResult], object] = lambda result: None,
) -> list[CheckResult]:
    """Run checks one after the other, each within its budget and all within `left_s` seconds."""
    end = time.monotonic() + left_s
    results = []
    for check in checks:
        limit_s = min(check.budget_s, end - time.monotonic())
        result = run(check, setting, limit_s) if limit_s > 0 else CheckResult(check.name, 0.0, error=OUT_OF_TIME)
        results.append(result)
        progress(result)
    return results


def markdown_table(report: GPUReport) -> str:
    """The report as Markdown: the device, a row per measurement, failures as rows of their own."""
    device = report.device
    software = [f"torch {device.torch}", *([f"CUDA {device.cuda}"] if device.cuda else [])]
    software += [f"driver for {device.driver}"] if device.driver else []
    quick = ", quick form: the numbers say nothing of speed" if report.quick else ""
    lines = [
        f"{device.device}, {', '.join(software)}, {report.date[:10]}, {report.seconds:.0f} s{quick}",
        "",
        "| check | measure | value | difference from the CPU's float32 |",
        "|---|---|---|---|",
    ]
    for check in report.checks:
        lines += [_table_row(row) for row in check.rows]
        if check.error is not None:
            lines.append(f"| {check.name} | failed | {check.error.replace('|', '/')} | |")
    return "\n".join(lines) + "\n"


def _table_row(row: Row) -> str:
    difference = "" if row.difference is None else f"{row.difference:.1e}"
    return f"| {row.check} | {row.measure} | {f'{row.value:.3g} {row.unit}'.strip()} | {difference} |"


@dataclass(frozen=True, slots=True)
class GPUOptions:
    """Options of the command line.

    Attributes:
        out: folder for gpu.json and gpu.md.
        device: a device of torch.
        quick: run the tiny form.
        only: names of checks; empty: all.
        total: seconds for all checks and the generation of their clips.
        workers: processes that generate and decode clips.
    """

    out: Path
    device: str
    quick: bool
    only: tuple[str, ...]
    total: float
    workers: int


def parse(arguments: Sequence[str] | None = None) -> GPUOptions:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda", help="a device of torch (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="run a tiny form of each check, to test the checks")
    names = [check.name for check in CHECKS]
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="CHECK",
        help=f"run this check; repeatable ({'; '.join(names)})",
    )
    parser.add_argument("--total", type=float, default=TOTAL_S, help=f"seconds for everything (default: {TOTAL_S:.0f})")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=int, help="processes that decode (default: one per core; one with --quick)")
    values = parser.parse_args(arguments)
    workers = values.workers or (1 if values.quick else cores)
    return GPUOptions(**{**vars(values), "only": tuple(values.only or ()), "workers": workers})


def _print_result(result: CheckResult) -> None:
    print(f"{result.name}: {result.error or 'done'} ({result.seconds:.0f} s)", flush=True)


def measure(options: GPUOptions) -> GPUReport:
    """Generate clips if a check needs them, run the checks, and collect their results.

    Raises:
        AvlocError: if the device cannot be used.
    """
    from avloc.datasets.synthetic.generate import synthesize

    begin = time.monotonic()
    device = run_in_process(describe_device, options.device, DESCRIBE_S)
    sizes = QUICK if options.quick else FULL
    checks = [check for check in CHECKS if not options.only or check.name in options.only]
    with tempfile.TemporaryDirectory() as folder:
        if any(check.needs_clips for check in checks):
            synthesize(Path(folder), layout="lavdf", clips=sizes.clips, workers=options.workers)
        setting = Setting(options.device, Path(folder), sizes, options.workers)
        left_s = options.total - (time.monotonic() - begin)
        results = run_checks(checks, setting, left_s, progress=_print_result)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return GPUReport(date, options.quick, time.monotonic() - begin, device, tuple(results))


def run(arguments: Sequence[str] | None = None) -> int:
    """Measure, write both files, print the table, and return the exit code."""
    options = parse(arguments)
    try:
        report = measure(options)
    except AvlocError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 2
    table = markdown_table(report)
    write_json(options.out / "gpu.json", asdict(report))
    write_text(options.out / "gpu.md", table)
    print(f"\n{table}")
    return report.exit_code


if __name__ == "__main__":
    raise SystemExit(run())

"""`avloc extract`: clips > features in a store."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.cli.main import add_dataset_options, default_workers, parser, positive
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.feature_extraction.job.estimate import Estimate
    from avloc.feature_extraction.job.plan import Plan
    from avloc.feature_extraction.job.run import Engine, Event, JobReport
    from avloc.feature_extraction.job.worker import ExtractionSettings

SHOWN_FAILURES = 10


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    given = _options().parse_args(arguments)

    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.job.plan import Plan
    from avloc.feature_extraction.store.feature_store import FeatureStore

    settings = _settings(given)
    files = read_records(given.dataset, given.root, given.split).files
    plan = Plan(
        files, FeatureStore(given.store), settings, shard_clips=given.shard_clips, part=_part(given.shard),
        devices=_devices(given.device) if given.engine == "local" else (), check_room=not given.no_space_check,
    )  # fmt: skip
    if given.dry_run:
        return _dry_run(given, plan)
    report = _run(given, plan)
    print(f"{given.store}: {report.done} clips extracted, {report.reused} there before, {report.failed} failed")
    if report.faceless:
        print(
            f"{report.faceless} clips have frames without a face, the last face's place or the centre was taken there"
        )
    for file, reason in list(report.failures.items())[:SHOWN_FAILURES]:
        print(f"failed: {file}: {reason}", file=sys.stderr)
    if report.failed > SHOWN_FAILURES:
        print(f"… and {report.failed - SHOWN_FAILURES} more: avloc store ls {given.store} --failures", file=sys.stderr)
    return 1 if report.failed else 0


def _options() -> argparse.ArgumentParser:
    from avloc.feature_extraction.extractors import EXTRACTORS
    from avloc.feature_extraction.extractors.network import PRECISIONS

    options = parser(
        "extract",
        "avloc extract --dataset lavdf --root LAV-DF --extractors logspec,residual_grid --store features\n"
        "  avloc extract --dataset avdeepfake1m --root R --store S --device cuda --precision 16 \\\n"
        "      --extractors 'wavlm_base_plus:/models/wavlm-base-plus,layers=all;mvit_v2_s:/models/mvit_v2_s.pth' --crop face\n"
        "  avloc extract … --shard $SLURM_ARRAY_TASK_ID/8        # one of eight jobs of an array, counted from 0\n"
        "  avloc extract … --dry-run                             # how long, and how much room",
        description="cache the features of a dataset's clips; run it again to go on where it stopped",
    )
    add_dataset_options(options)
    options.add_argument(
        "--extractors", required=True,
        help=f"comma-separated, of: {', '.join(EXTRACTORS)}; with arguments as in "
        "logspec,r3d_18:weights=r3d_18.pth,stride=2",
    )  # fmt: skip
    options.add_argument("--store", required=True, help="the store's folder")
    options.add_argument("--split", help="only this split")
    options.add_argument("--shard", default="0/1", metavar="i/n", help="do only every n-th shard from the i-th on")
    options.add_argument("--shard-clips", type=positive, help="clips per shard (default: a 16th of the set, 8 to 2000)")
    options.add_argument("--retry-failed", action="store_true", help="try again the shards with clips that failed")
    options.add_argument("--dry-run", action="store_true", help="estimate time and room from a sample, write nothing")
    options.add_argument("--decoder", default="pyav", choices=["pyav", "decord"], help="who decodes the picture")
    options.add_argument(
        "--crop", choices=["face", "mouth", "center", "none"],
        help="what visual networks see of the picture, where their own crop= is not given (default none: all of it)",
    )  # fmt: skip
    how = options.add_argument_group("how it is run")
    how.add_argument("--engine", default="local", choices=["local", "ray"], help="where the shards run (default local)")
    how.add_argument("--workers", type=positive, default=default_workers(), help="processes (default: one per core)")
    how.add_argument(
        "--device", default="cpu", help="where networks run: cpu, cuda, or several, as in cuda:0,cuda:1 (default cpu)"
    )  # fmt: skip
    how.add_argument("--precision", default="32", choices=list(PRECISIONS), help="of networks (default 32)")
    how.add_argument(
        "--timeout", type=_seconds, default=300.0, metavar="S",
        help="give a clip up when nothing has come of it for so many seconds (default 300)",
    )  # fmt: skip
    how.add_argument("--log", help="the JSON-lines log (default: STORE/log/extract-i-of-n.jsonl)")
    how.add_argument("--no-space-check", action="store_true", help="start even if the disk looks too small")
    how.add_argument("--ray-address", help="a Ray cluster's address (default: RAY_ADDRESS, or one on this machine)")
    how.add_argument("--ray-gpus", type=_fraction, default=0.0, metavar="F", help="GPUs of each Ray task, as 0.5")
    how.add_argument("--ray-wheel", metavar="WHEEL", help="a wheel of avloc for nodes that do not have it installed")
    return options


def _seconds(text: str) -> float:
    value = _fraction(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"want a number above 0, got {text!r}")
    return value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"want a number of at least 0, got {text!r}")
    return value


def _settings(given: Any) -> ExtractionSettings:
    from avloc.feature_extraction.extractors import accepts
    from avloc.feature_extraction.job.worker import ExtractionSettings

    extractors = parse_extractors(given.extractors)
    if given.crop is not None:
        extractors = [
            (name, {"crop": given.crop} | arguments if accepts(name, "crop") else arguments)
            for name, arguments in extractors
        ]
        if not any("crop" in arguments for _, arguments in extractors):
            raise AvlocError("--crop: none of these extractors crops; it is for visual networks")
    return ExtractionSettings(
        Path(given.root), tuple(extractors), given.decoder, _devices(given.device)[0], given.precision,
        workers=given.workers, timeout_s=given.timeout,
    )  # fmt: skip


def _devices(text: str) -> list[str]:
    """`cuda:0,cuda:1` → each."""
    return [part.strip() for part in text.split(",") if part.strip()] or ["cpu"]


def _engine(given: Any) -> Engine:
    from avloc.feature_extraction.job.engines import local

    devices = _devices(given.device)
    if given.engine == "local":
        return functools.partial(local.run, devices=devices)
    from avloc.feature_extraction.job.engines import ray

    if len(devices) > 1:
        raise AvlocError("--engine ray: name one --device, as each task sees its own; --ray-gpus says how many it gets")
    return functools.partial(ray.run, address=given.ray_address, gpus=given.ray_gpus, wheel=given.ray_wheel)


def _run(given: Any, plan: Plan) -> JobReport:
    from avloc.feature_extraction.job.log import JobLog
    from avloc.feature_extraction.job.run import JobReport, run_plan
    from avloc.io.processes import sigterm_as_interrupt

    i, n = plan.part
    engine = _engine(given)
    log = JobLog(Path(given.log or Path(given.store) / "log" / f"extract-{i}-of-{n}.jsonl"))
    log.start({
        "root": str(given.root), "clips": len(plan.files), "shard": f"{i}/{n}", "shard_clips": plan.shard_clips,
        "extractors": plan.descriptions, "engine": given.engine, "workers": given.workers, "device": given.device,
        "precision": given.precision, "timeout_s": given.timeout, "retry_failed": given.retry_failed,
    })  # fmt: skip
    report, how = JobReport(), "stopped"
    try:
        with sigterm_as_interrupt(), _Bar(plan.clips(), report) as bar:

            def progress(event: Event) -> None:
                log.event(event)
                bar.update(event)

            run_plan(plan, retry_failed=given.retry_failed, engine=engine, progress=progress, report=report)
        how = "done"
    except Exception as error:
        how = f"error: {error}"
        raise
    finally:
        log.end(report, how)
    return report


class _Bar:
    """Clips done and to do, clips and hours of media per time, failures, time left."""

    def __init__(self, total: int, report: JobReport) -> None:
        from tqdm import tqdm

        self._report = report
        self._bar = tqdm(total=total, unit=" clips", desc="extract", disable=None, smoothing=0.05)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, event: Event) -> None:
        """Something happened."""
        from avloc.feature_extraction.job.pipeline import ClipReport
        from avloc.feature_extraction.job.plan import Reused

        if self._bar.disable:
            return
        if isinstance(event, Reused):
            # What was there before says nothing of the speed.
            self._bar.initial += event.clips
            self._bar.n += event.clips
            self._bar.refresh()
        elif isinstance(event, ClipReport):
            elapsed = self._bar.format_dict["elapsed"] or 1e-9
            self._bar.set_postfix_str(
                f"{self._report.media_s / elapsed:.1f} h of media/h, {self._report.failed} failed", refresh=False
            )
            self._bar.update(1)


def _dry_run(given: Any, plan: Plan) -> int:
    from avloc.feature_extraction.job.estimate import estimate

    clips = plan.clips()
    devices = 0 if plan.settings.device == "cpu" else len(_devices(given.device))
    found = estimate(plan.mine(), plan.store.root, plan.settings, plan.names, devices=max(1, devices))
    print(f"{clips} clips, {found.media_s / 3600:.2f} hours (estimated from {found.sampled} of them)")
    if found.failed:
        print(f"{found.failed} of these {found.sampled} could not be read")
    print("\n".join(_estimated(found, given.workers, devices)))
    return 0


def _estimated(found: Estimate, workers: int, devices: int) -> list[str]:
    from avloc.feature_extraction.store.summary import in_bytes

    on = f" and {devices} devices" if devices else ""
    lines = [
        f"decoding {_long(found.decode_s)} and extraction {_long(found.extract_s)} of one core"
        + (f", networks {_long(found.device_s)} of one device" if devices else ""),
        f"time: about {_long(found.wall_s)} with {workers} workers{on}",
    ]
    for name, size in found.size_bytes.items():
        lines.append(f"disk: {name} {in_bytes(size)}")
    total = sum(found.size_bytes.values())
    room = "enough" if total < found.free_bytes else "TOO LITTLE"
    return [*lines, f"disk: {in_bytes(total)} in all, {in_bytes(found.free_bytes)} free: {room}"]


def _long(seconds: float) -> str:
    """A time for people.

    >>> _long(99), _long(5000), _long(2 * 86400)
    ('99 s', '83 min', '48.0 hours')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def parse_extractors(text: str) -> list[tuple[str, dict[str, Any]]]:
    """`a,b:key=value,key=value;c` → names and arguments.

    >>> parse_extractors("logspec,r3d_18:weights=my file.pth,stride=2")
    [('logspec', {}), ('r3d_18', {'weights': 'my file.pth', 'stride': '2'})]
    """
    from avloc.feature_extraction.extractors import parse_specification

    parts: list[str] = []
    for group in text.split(";"):
        for k, part in enumerate(group.split(",")):
            # A name has no "="; what has one before any ":" goes on with the arguments of the extractor before.
            if k and "=" in part.partition(":")[0]:
                parts[-1] += f",{part}"
            else:
                parts.append(part)
    found = [parse_specification(part) for part in parts if part.strip()]
    if not found:
        raise AvlocError("--extractors: name at least one")
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise AvlocError(f"--extractors: each name once, got {', '.join(names)}")
    return [(name, dict(arguments)) for name, arguments in found]


def _part(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    try:
        return int(first), int(second)
    except ValueError as error:
        raise AvlocError(f"--shard: want i/n, as in 0/8, got {text!r}") from error

"""`avloc extract`: clips > features in a store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.dataset import add_dataset_options
from avloc.cli.arguments.engine import EngineOptions, add_engine_options
from avloc.cli.arguments.limits import add_longest_option, add_timeout_option, default_workers
from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import devices, output, output_folder, positive
from avloc.errors import AvlocError, shown

if TYPE_CHECKING:
    from avloc.feature_extraction.job.estimate import JobEstimate
    from avloc.feature_extraction.job.plan import JobPlan
    from avloc.feature_extraction.job.run import JobEvent, JobReport
    from avloc.feature_extraction.job.worker import ExtractionSettings, ExtractorSpec

EXAMPLE = """avloc extract --dataset lavdf --root LAV-DF --extractors logspec,residual_grid --store features
  avloc extract --dataset avdeepfake1m --root R --store S --device cuda --precision 16 \\
      --extractors 'wavlm_base_plus:wavlm.pt,layers=all;mvit_v2_s:mvit.pth' --crop face
  avloc extract … --shard $SLURM_ARRAY_TASK_ID/8  # task of a job array of eight, counted from 0
  avloc extract … --dry-run  # estimate time and room
  avloc extract … --augment light --copies 3  # and three augmented copies of each clip, for training"""
MAX_LISTED_FAILURES = 10


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """The options of `avloc extract`.

    Attributes:
        dataset: the dataset's layout.
        root: the dataset's folder.
        extractors: the specifications, as `avloc.feature_extraction.extractors.catalog.parse_extractors` takes them.
        store: the store's folder.
        split: only this split; None: all.
        shard_clips: clips per shard; None: chosen by the size of the set.
        retry_failed: try shards with failed clips again.
        dry_run: only estimate.
        decoder: of the picture.
        crop: input of visual networks that do not set it themselves (`Extractor.shares_crop`).
        engine: what runs the shards, and the task of a job array.
        workers: number of processes.
        device: of networks; with commas several.
        precision: of networks.
        timeout: seconds without progress before a clip is given up.
        longest: seconds; longer clips are refused.
        log: the log file; None: in the store.
        no_space_check: start even if the disk looks too small.
        augment: the recipe of augmented copies; None: no copies.
        copies: number of augmented copies of each clip; None: 1 with a recipe.
    """

    dataset: str
    root: Path
    extractors: str
    store: Path
    split: str | None
    shard_clips: int | None
    retry_failed: bool
    dry_run: bool
    decoder: str
    crop: str | None
    engine: EngineOptions
    workers: int
    device: str
    precision: str
    timeout: float
    longest: float
    log: Path | None
    no_space_check: bool
    augment: str | None
    copies: int | None

    @property
    def devices(self) -> list[str]:
        """The devices: `cuda:0,cuda:1` → each."""
        return devices(self.device)


def run(arguments: Sequence[str]) -> int:
    """Run the verb."""
    options = parse(arguments)
    plans = make_plans(options)
    if options.dry_run:
        return max(estimate(options, plan) for plan in plans[:2])
    failed = 0
    for plan in plans:
        report = extract(options, plan)
        print_report(plan.store.root, report)
        failed += report.failed
    return 1 if failed else 0


def parse(arguments: Sequence[str]) -> ExtractOptions:
    """Parse the verb's arguments."""
    options = parser("extract", EXAMPLE, description="cache the features of a dataset's clips; run it again to resume")
    _add_task_options(options)
    _add_copy_options(options.add_argument_group("augmented copies"))
    _add_resource_options(options.add_argument_group("resources"))
    namespace = options.parse_args(arguments)
    return ExtractOptions(engine=EngineOptions.pop(namespace), **vars(namespace))


def _add_task_options(options: argparse.ArgumentParser) -> None:
    from avloc.feature_extraction.extractors.names import available_extractors

    add_dataset_options(options)
    options.add_argument(
        "--extractors",
        required=True,
        metavar="A,B",
        help=f"comma-separated, of: {', '.join(available_extractors())}, or your own as my_package.MyExtractor; with arguments "
        "as in logspec,r3d_18:weights=r3d_18.pth,stride=2",
    )
    options.add_argument("--store", required=True, type=output_folder, help="folder of the store")
    options.add_argument("--split", help="extract only this split (default: all)")
    options.add_argument(
        "--shard-clips", type=positive, help="clips per shard (default: a 16th of the set, but 8 to 2000)"
    )
    options.add_argument("--retry-failed", action="store_true", help="try shards with failed clips again")
    options.add_argument("--dry-run", action="store_true", help="estimate time and room from a sample, write nothing")
    options.add_argument(
        "--decoder", default="pyav", choices=["pyav", "decord"], help="decoder of the picture (default: pyav)"
    )
    options.add_argument(
        "--crop",
        choices=["face", "mouth", "center", "none"],
        help="part of the picture that visual networks see, unless they have their own crop=; not for motion (flow, raft) and "
        "mouth (default: none, all of it)",
    )


def _add_copy_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument(
        "--augment",
        metavar="RECIPE",
        help="also extract augmented copies of each clip, for training: light, strong, or a YAML file; it changes sound "
        "and frames before the extractors, see docs/augment.md (default: none)",
    )
    options.add_argument(
        "--copies",
        type=positive,
        help="number of augmented copies, each in STORE/copies/N (default: 1 with --augment); a larger number later adds copies",
    )


def _add_resource_options(options: argparse._ArgumentGroup) -> None:
    from avloc.feature_extraction.extractors.network import PRECISIONS

    add_engine_options(options, "shard")
    options.add_argument(
        "--workers", type=positive, default=default_workers(), help="number of processes (default: one per core)"
    )
    options.add_argument(
        "--device", default="cpu", help="device of networks: cpu, cuda, or several as cuda:0,cuda:1 (default: cpu)"
    )
    options.add_argument(
        "--precision", default="32", choices=list(PRECISIONS), help="precision of networks (default: 32)"
    )
    add_timeout_option(options)
    add_longest_option(options)
    options.add_argument("--log", type=output, help="log file of JSON lines (default: STORE/log/extract-i-of-n.jsonl)")
    options.add_argument("--no-space-check", action="store_true", help="start even if the disk looks too small")


def make_plans(options: ExtractOptions) -> list[JobPlan]:
    """Read the dataset, and plan its shards: first of the clips, then of each augmented copy.

    Raises:
        AvlocError: if an option, the dataset or a store is wrong; nothing is written.
    """
    from avloc.augment.recipe_file import read_recipe
    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.job.copies import plan_jobs
    from avloc.feature_extraction.store.feature_store import FeatureStore

    if options.copies is not None and options.augment is None:
        raise AvlocError("--copies: are made by a recipe; name it with --augment, as in --augment light")
    if options.store.resolve() == options.root.resolve():
        raise AvlocError(
            f"--store {options.store}: is the dataset's folder, into which nothing is written; name another"
        )
    settings = _settings(options)
    recipe = None if options.augment is None else read_recipe(options.augment)
    return plan_jobs(
        read_records(options.dataset, options.root, options.split).files,
        FeatureStore(options.store),
        settings,
        recipe=recipe,
        copies=options.copies or 1,
        shard_clips=options.shard_clips,
        array_index=options.engine.shard,
        devices=options.devices if options.engine.engine == "local" else (),
        check_room=not options.no_space_check,
        warn=lambda text: print(f"warning: {shown(text)}", file=sys.stderr),
    )


def _settings(options: ExtractOptions) -> ExtractionSettings:
    from avloc.feature_extraction.extractors.catalog import accepts, parse_extractors
    from avloc.feature_extraction.job.worker import ExtractionSettings

    specs: list[ExtractorSpec] = list(parse_extractors(options.extractors))
    if options.crop is not None:
        if not any(_takes_crop(name) for name, _ in specs):
            separate = [name for name, _ in specs if accepts(name, "crop")]
            hint = (
                f"; set that of {', '.join(separate)} by name, as {separate[0]}:crop={options.crop}" if separate else ""
            )
            raise AvlocError(f"--crop: none of these extractors takes it; it is for visual networks{hint}")
        specs = [(name, {"crop": options.crop, **args} if _takes_crop(name) else args) for name, args in specs]
    return ExtractionSettings(
        options.root,
        specs,
        options.decoder,
        options.devices[0],
        options.precision,
        workers=options.workers,
        timeout_s=options.timeout,
        longest_s=options.longest,
    )


def _takes_crop(name: str) -> bool:
    """Tell whether `--crop` is for an extractor: a network on frames, or one of the user's with such an argument."""
    from avloc.feature_extraction.extractors.catalog import accepts, extractor_class

    return accepts(name, "crop") and extractor_class(name).shares_crop


def extract(options: ExtractOptions, plan: JobPlan) -> JobReport:
    """Run the job with a log and a progress bar.

    Raises:
        AvlocError: as `avloc.feature_extraction.job.run.extract`.
    """
    from avloc.feature_extraction.job.log import JobLog
    from avloc.feature_extraction.job.run import JobReport, run_plan
    from avloc.io.workers.processes import sigterm_as_interrupt

    i, n = plan.array_index
    engine = options.engine.build(options.devices)
    log = JobLog(options.log or plan.store.root / "log" / f"extract-{i}-of-{n}.jsonl")
    log.start(_log_details(options, plan))
    report, outcome = JobReport(), "stopped"
    try:
        with sigterm_as_interrupt(), _ProgressBar(plan.clip_count(), report) as bar:
            progress = _in_turn(log.event, bar.update)
            run_plan(plan, retry_failed=options.retry_failed, engine=engine, progress=progress, report=report)
        outcome = "done"
    except Exception as error:
        outcome = f"error: {error}"
        raise
    finally:
        log.end(report, outcome)
    return report


def _in_turn(*functions: Callable[[JobEvent], object]) -> Callable[[JobEvent], None]:
    def call(event: JobEvent) -> None:
        for function in functions:
            function(event)

    return call


def _log_details(options: ExtractOptions, plan: JobPlan) -> dict[str, object]:
    i, n = plan.array_index
    return {
        "root": str(options.root),
        "clips": len(plan.files),
        "shard": f"{i}/{n}",
        "shard_clips": plan.shard_clips,
        "extractors": [description.to_dict() for description in plan.descriptions],
        "engine": options.engine.engine,
        "workers": options.workers,
        "device": options.device,
        "precision": options.precision,
        "timeout_s": options.timeout,
        "longest_s": options.longest,
        "retry_failed": options.retry_failed,
    }


class _ProgressBar:
    """A progress bar of clips, with the time left, hours of media per hour, and failures."""

    def __init__(self, total: int, report: JobReport) -> None:
        from tqdm import tqdm

        self._report = report
        self._bar = tqdm(total=total, unit=" clips", desc="extract", disable=None, smoothing=0.05)

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, event: JobEvent) -> None:
        """Show an event of the job."""
        from avloc.feature_extraction.job.pipeline import ClipReport
        from avloc.feature_extraction.job.plan import ReusedClips

        if self._bar.disable:
            return
        if isinstance(event, ReusedClips):
            # Clips of earlier runs do not count for the speed.
            self._bar.initial += event.clips
            self._bar.n += event.clips
            self._bar.refresh()
        elif isinstance(event, ClipReport):
            elapsed = self._bar.format_dict["elapsed"] or 1e-9
            report = self._report
            self._bar.set_postfix_str(
                f"{report.media_s / elapsed:.1f} h of media/h, {report.failed} failed, {report.damaged} damaged",
                refresh=False,
            )
            self._bar.update(1)


def print_report(store: Path, report: JobReport) -> None:
    """Print the totals of a job on a store, and its first failures."""
    extracted = report.done - report.failed_now
    already = report.reused - (report.failed - report.failed_now)
    print(f"{shown(store)}: {extracted} clips extracted, {already} already in the store, {report.failed} failed")
    if report.faceless:
        print(
            f"{report.faceless} clips have frames without a detected face; the last detected place, or else the centre, was "
            "cropped there"
        )
    if report.without_stream:
        print(f"{report.without_stream} clips lack a stream that was asked for: an empty one counts for it")
    for file, reason in list(report.failures.items())[:MAX_LISTED_FAILURES]:
        print(f"failed: {shown(file)}: {shown(reason)}", file=sys.stderr)
    if report.failed > MAX_LISTED_FAILURES:
        more = report.failed - MAX_LISTED_FAILURES
        print(f"… and {more} more: avloc store ls {shown(store)} --failures", file=sys.stderr)
    if report.damaged:
        print(
            f"{report.damaged} clips damaged: {report.damaged_decoded_s:.1f} of {report.damaged_claimed_s:.1f} s decoded "
            f"(avloc store ls {shown(store)} --problems)"
        )


def estimate(options: ExtractOptions, plan: JobPlan) -> int:
    """Print an estimate of the job."""
    from avloc.feature_extraction.job.estimate import estimate_job

    clips = plan.clip_count()
    if plan.settings.augmentation is not None:
        print(f"each of {options.copies or 1} augmented copies:")
    devices = 0 if plan.settings.device == "cpu" else len(options.devices)
    job = estimate_job(plan.own_files(), plan.store.root, plan.settings, plan.names, devices=max(1, devices))
    print(f"{clips} clips, {job.media_s / 3600:.2f} hours (estimated from {job.sampled} of them)")
    if job.failed:
        print(f"{job.failed} of these {job.sampled} could not be read")
    print("\n".join(_estimate_lines(job, options.workers, devices)))
    return 0


def _estimate_lines(job: JobEstimate, workers: int, devices: int) -> list[str]:
    from avloc.io.files import format_bytes

    on_devices = f" and {devices} devices" if devices else ""
    lines = [
        f"decoding {format_duration(job.decode_s)} and extraction {format_duration(job.extract_s)} of one core"
        + (f", networks {format_duration(job.device_s)} of one device" if devices else ""),
        f"time: about {format_duration(job.wall_s)} with {workers} workers{on_devices}",
    ]
    for name, size in job.size_bytes.items():
        lines.append(f"disk: {name} {format_bytes(size)}")
    total = sum(job.size_bytes.values())
    room = "enough" if total < job.free_bytes else "TOO LITTLE"
    return [*lines, f"disk: {format_bytes(total)} in all, {format_bytes(job.free_bytes)} free: {room}"]


def format_duration(seconds: float) -> str:
    """Format a duration for people.

    >>> format_duration(99), format_duration(5000), format_duration(2 * 86400)
    ('99 s', '83 min', '48.0 hours')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} hours"

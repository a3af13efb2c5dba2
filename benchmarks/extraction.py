"""The extraction pipeline beside the rate that the cores allow, with the time by stage; one decode for several extractors.

    python benchmarks/extraction.py                     # generated clips, two worker processes
    python benchmarks/extraction.py --clips R --count N # your own clips

The bound is cores / (decoding + extraction), in core seconds per clip. Both are measured right before each run of the pipeline,
on the same clips, in as many processes as the pipeline has workers, each with one thread and nothing to hand over: a core whose
neighbours work is slower than a core alone. The pipeline's time starts when the first clip can have begun (a clip's core
seconds before its end), so that the start of the processes does not count; it is printed beside. Networks have random weights
of a fixed seed, which take as long as any. Medians of the rounds.

`gpu.py` measures networks on a GPU with `device_rates`: the bound there is the lower of two rates, of the network alone on
decoded clips in the pipeline's batches, and of decoding alone in the same worker processes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from avloc.datasets.synthetic.generate import synthesize
from avloc.feature_extraction.extractors.base import Extractor, Stream
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.device_batches import BATCH_BYTES, BATCH_STREAMS
from avloc.feature_extraction.job.pipeline import ClipReport
from avloc.feature_extraction.job.worker import ClipDone, ClipTask, ExtractionJob, ExtractionSettings, process_clip
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.io.workers import processes
from avloc.io.workers.supervision import Processes

Extractors = tuple[tuple[str, dict[str, object]], ...]
"""Name and arguments of each extractor."""
BENCHMARKS: dict[str, tuple[Extractors, int]] = {  # with the number of clips: a network takes seconds per clip
    "logspec + residual_grid": ((("logspec", {}), ("residual_grid", {})), 96),
    "lfcc + logmel": ((("lfcc", {}), ("logmel", {})), 96),
    "wavlm_base_plus": ((("wavlm_base_plus", {"random": True}),), 16),
    "r3d_18, stride 16": ((("r3d_18", {"random": True, "stride": 16}),), 10),
}


class CoreSeconds(NamedTuple):
    """Core seconds per clip."""

    decode: float
    extract: float


class PipelineRun(NamedTuple):
    """A run of the pipeline: clips per second from the first clip's begin to the last one's end, and seconds to the first."""

    clips_per_s: float
    first_clip_s: float


class DeviceRates(NamedTuple):
    """Clips per second of a network on a device: of the network alone, of decoding alone, and of the pipeline."""

    network: float
    decoding: float
    pipeline: float

    @property
    def share(self) -> float:
        """The pipeline's share of the lower of the two bounds."""
        return self.pipeline / min(self.network, self.decoding)


def busy_costs(settings: ExtractionSettings, files: Sequence[str]) -> CoreSeconds:
    """Measure core seconds per clip while the cores of all workers are busy."""
    tasks = [(settings, files[k :: settings.workers]) for k in range(settings.workers)]
    return _mean_costs(list(processes.run(_costs_of_task, tasks, settings.workers)))


def _costs_of_task(task: tuple[ExtractionSettings, Sequence[str]]) -> CoreSeconds:
    return costs(*task)


def costs(settings: ExtractionSettings, files: Sequence[str]) -> CoreSeconds:
    """Measure core seconds per clip with one thread in this process."""
    extractors, numbers = settings.build_extractors(), tuple(range(len(settings.extractors)))
    for extractor in extractors:
        extractor.load()
    measured = []
    for file in files:
        *_, done = process_clip(ClipTask(file, numbers), extractors, replace(settings, networks_in_parent=False))
        assert isinstance(done, ClipDone)
        measured.append(CoreSeconds(done.decode_s, done.extract_s))
    return _mean_costs(measured)


def _mean_costs(measured: Sequence[CoreSeconds]) -> CoreSeconds:
    return CoreSeconds(*(statistics.mean(column) for column in zip(*measured, strict=True)))


def run_pipeline(settings: ExtractionSettings, files: Sequence[str], clip_s: float = 0.0) -> PipelineRun:
    """Extract into a temporary store; time counts from `clip_s` before the end of the first clip."""
    folder = Path(tempfile.mkdtemp())
    times: list[float] = []

    def note_clip(event: job.JobEvent) -> None:
        if isinstance(event, ClipReport):
            times.append(time.perf_counter())

    begin = time.perf_counter()
    try:
        report = job.extract(files, FeatureStore(folder), settings, progress=note_clip)
    finally:
        shutil.rmtree(folder)
    assert report.failed == 0
    return PipelineRun(len(files) / (times[-1] - times[0] + clip_s), times[0] - begin)


def device_rates(settings: ExtractionSettings, files: Sequence[str], rounds: int = 1) -> list[DeviceRates]:
    """Measure a network that runs apart from the decoding workers (`networks_in_parent`), once per round.

    Args:
        settings: of one extractor.
        files: the clips, below the settings' root.
        rounds: the number of measurements, one after the other.
    """
    extractor = settings.build_extractors()[0]
    extractor.load()
    streams = decode_streams(extractor, settings.root, files)
    rates = []
    with closing(Processes(ExtractionJob(settings), workers=settings.workers, timeout_s=settings.timeout_s)) as pool:
        for _ in range(rounds):
            network, decoding = network_rate(extractor, streams), decoding_rate(pool, settings, files)
            # The first clip is written when its batch is through: that batch's time counts.
            batch_s = min(len(streams), streams_per_batch(streams[:1])) / min(network, decoding)
            rates.append(DeviceRates(network, decoding, run_pipeline(settings, files, batch_s).clips_per_s))
    return rates


def decode_streams(extractor: Extractor, root: str | Path, files: Sequence[str]) -> list[Stream]:
    """Decode an extractor's stream of each clip, whole."""
    formats = [] if extractor.video_format is None else [extractor.video_format]
    streams = []
    for file in files:
        stream = extractor.select_stream(decode(Path(root) / file, formats, audio=not formats))
        assert stream is not None
        streams.append(stream)
    return streams


def streams_per_batch(streams: Sequence[Stream]) -> int:
    """The number of such streams in a batch of the pipeline: at most `BATCH_STREAMS`, and `BATCH_BYTES` in all."""
    return max(1, min(BATCH_STREAMS, BATCH_BYTES // max(s.nbytes for s in streams)))


def network_rate(extractor: Extractor, streams: Sequence[Stream]) -> float:
    """Clips per second of the network alone, on decoded clips, in the pipeline's batches."""
    size = streams_per_batch(streams)
    batches = [streams[k : k + size] for k in range(0, len(streams), size)]
    extractor.rows(batches[0])
    begin = time.perf_counter()
    for batch in batches:
        extractor.rows(batch)
    return len(streams) / (time.perf_counter() - begin)


def decoding_rate(pool: Processes, settings: ExtractionSettings, files: Sequence[str]) -> float:
    """Clips per second of the decoding processes with nothing behind them."""
    numbers = tuple(range(len(settings.extractors)))
    while pool.free() < settings.workers:
        list(pool.wait())
    started = done = 0
    begin = time.perf_counter()
    while done < len(files):
        while started < len(files) and pool.free():
            pool.give(started, ClipTask(files[started], numbers))
            started += 1
        done += sum(isinstance(event.message, ClipDone) for event in pool.wait())
    return len(files) / (time.perf_counter() - begin)


class Round(NamedTuple):
    """One round on the CPU: the costs, the bound they give, and the pipeline's rate beside it."""

    decode_s: float
    extract_s: float
    bound: float
    rate: float
    share: float
    first_clip_s: float


def measure_round(settings: ExtractionSettings, files: Sequence[str], cores: int) -> Round:
    """Measure the costs, then the pipeline, on the same clips."""
    cost = busy_costs(settings, files)
    clip_s = cost.decode + cost.extract
    rate, first_clip_s = run_pipeline(settings, files, clip_s)
    return Round(cost.decode, cost.extract, cores / clip_s, rate, rate * clip_s / cores, first_clip_s)


def compare_with_cores(root: Path, files: Sequence[str], workers: int, rounds: int) -> None:
    """Print the pipeline's share of the bound for each group of extractors."""
    cores = min(workers, len(os.sched_getaffinity(0)))
    print(f"{workers} workers on {cores} cores; core seconds per clip, clips per second")
    columns = f"{'clips':>5} {'decode':>8} {'extract':>8} {'bound':>8} {'pipeline':>9} {'share':>6}"
    print(f"{'extractors':26} {columns}  first clip after")
    for name, (extractors, count) in BENCHMARKS.items():
        settings, chosen = ExtractionSettings(root, extractors, workers=workers), files[:count]
        measured = [measure_round(settings, chosen, cores) for _ in range(rounds)]
        median = Round(*(statistics.median(column) for column in zip(*measured, strict=True)))
        print(
            f"{name:26} {len(chosen):5} {median.decode_s:8.4f} {median.extract_s:8.4f} {median.bound:8.2f} "
            f"{median.rate:9.2f} {median.share:6.0%}  {median.first_clip_s:.1f} s",
            flush=True,
        )


def compare_one_decode(root: Path, files: Sequence[str], rounds: int) -> None:
    """Print the cost of decoding for three extractors of sound and picture apart, relative to one pass for all."""
    extractors: Extractors = (("logspec", {}), ("residual_grid", {}), ("r3d_18", {"random": True, "stride": 100}))
    torch.set_num_threads(1)
    ratios = []
    for _ in range(rounds):
        together = costs(ExtractionSettings(root, extractors), files).decode
        apart = sum(costs(ExtractionSettings(root, (one,)), files).decode for one in extractors)
        ratios.append(apart / together)
    print(f"decoding for logspec, residual_grid and r3d_18, apart : in one pass: {statistics.median(ratios):.2f}")


@dataclass(frozen=True, slots=True)
class ExtractionOptions:
    """Options of the command line.

    Attributes:
        clips: a folder of clips; None: generate them.
        count: number of clips.
        workers: worker processes.
        rounds: number of rounds; their medians are printed.
    """

    clips: Path | None
    count: int
    workers: int
    rounds: int


def parse(arguments: Sequence[str] | None = None) -> ExtractionOptions:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="a folder of clips (default: generated ones)")
    parser.add_argument("--count", type=int, default=96, help="number of clips (default: 96)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=int, default=cores, help="worker processes (default: one per core)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians of (default: 3)")
    return ExtractionOptions(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Generate or find clips, and measure."""
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        root = options.clips or Path(folder)
        if options.clips is None:
            synthesize(root, layout="lavdf", clips=options.count, workers=options.workers)
        files = sorted(str(p.relative_to(root)) for p in root.rglob("*.mp4"))[: options.count]
        seconds = statistics.mean(decode(root / f).duration_s for f in files)
        print(f"{len(files)} clips of {seconds:.1f} s on average")
        compare_with_cores(root, files, options.workers, options.rounds)
        compare_one_decode(root, files[:16], options.rounds)


if __name__ == "__main__":
    main()

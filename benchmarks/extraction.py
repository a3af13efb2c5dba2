"""The extraction pipeline beside what the machine allows, with the time split by stage; one decode for several extractors.

    python benchmarks/extraction.py                     # on the CPU: generated clips, two worker processes
    python benchmarks/extraction.py --clips R --count N # your own clips
    python benchmarks/extraction.py --gpu               # WavLM base+ and MViTv2-S in fp16 on a GPU

On the CPU the bound is cores / (decoding + extraction), in core seconds per clip. These are measured right before each run of the
pipeline, on the same clips, in as many processes as there are workers, each with one thread and nothing to hand over: cores
whose neighbours work are slower than one alone. The pipeline's time is counted from when the first clip can have been begun (a
clip's core seconds before it is done), so that starting processes does not count; it is printed beside.

On a GPU the bound is the lower of the bare network's rate on clips decoded already, in the pipeline's batches, and of bare
decoding's in the same worker processes. Networks have random weights of a fixed seed, which takes as long as any. Medians of
the rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from avloc.datasets.synthetic.generate import synthesize
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.device_batches import BATCH_BYTES, BATCH_STREAMS
from avloc.feature_extraction.job.pipeline import ClipReport
from avloc.feature_extraction.job.worker import ClipDone, ClipTask, ExtractionSettings, process_clip
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.io import processes

Extractors = tuple[tuple[str, dict[str, Any]], ...]
ON_CPU: dict[str, tuple[Extractors, int]] = {  # and how many clips: a network takes seconds for each
    "logspec + residual_grid": ((("logspec", {}), ("residual_grid", {})), 96),
    "lfcc + logmel": ((("lfcc", {}), ("logmel", {})), 96),
    "wavlm_base_plus": ((("wavlm_base_plus", {"random": True}),), 16),
    "r3d_18, stride 16": ((("r3d_18", {"random": True, "stride": 16}),), 10),
}
ON_GPU: dict[str, Extractors] = {
    "wavlm_base_plus": (("wavlm_base_plus", {"random": True}),),
    "mvit_v2_s": (("mvit_v2_s", {"random": True, "batch": 32}),),
}


def busy_costs(settings: ExtractionSettings, files: Sequence[str]) -> tuple[float, float]:
    """Core seconds per clip of decoding and of extraction while all workers' cores are at it."""
    tasks = [(settings, files[k :: settings.workers]) for k in range(settings.workers)]
    found = list(processes.run(_costs, tasks, settings.workers))
    return statistics.mean(d for d, _ in found), statistics.mean(e for _, e in found)


def _costs(task: tuple[ExtractionSettings, Sequence[str]]) -> tuple[float, float]:
    return costs(*task)


def costs(settings: ExtractionSettings, files: Sequence[str]) -> tuple[float, float]:
    """Core seconds per clip of decoding and of extraction, one thread, in this process."""
    extractors, wanted = settings.build_extractors(), tuple(range(len(settings.extractors)))
    for extractor in extractors:
        extractor.load()
    found = []
    for file in files:
        *_, done = process_clip(ClipTask(file, wanted), extractors, replace(settings, networks_in_parent=False))
        assert isinstance(done, ClipDone)
        found.append((done.decode_s, done.extract_s))
    return statistics.mean(d for d, _ in found), statistics.mean(e for _, e in found)


def pipeline(settings: ExtractionSettings, files: Sequence[str], clip_s: float = 0.0) -> tuple[float, float]:
    """Clips per second, from `clip_s` before the first is done to the last; and the seconds until the first."""
    folder = Path(tempfile.mkdtemp())
    times: list[float] = []
    begin = time.perf_counter()
    try:
        report = job.extract(
            files, FeatureStore(folder), settings,
            progress=lambda event: times.append(time.perf_counter()) if isinstance(event, ClipReport) else None,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    assert report.failed == 0
    return len(files) / (times[-1] - times[0] + clip_s), times[0] - begin


def on_cpu(root: Path, files: list[str], workers: int, rounds: int) -> None:
    cores = min(workers, len(os.sched_getaffinity(0)))
    print(f"{workers} workers on {cores} cores; core seconds per clip, clips per second")
    print(
        f"{'extractors':26} {'clips':>5} {'decode':>8} {'extract':>8} {'bound':>8} {'pipeline':>9} {'share':>6}  first clip after"
    )
    for name, (extractors, count) in ON_CPU.items():
        settings, chosen = ExtractionSettings(root, extractors, workers=workers), files[:count]
        rows = []
        for _ in range(rounds):
            decode_s, extract_s = busy_costs(settings, chosen)
            clip_s = decode_s + extract_s
            rate, start_s = pipeline(settings, chosen, clip_s)
            rows.append((decode_s, extract_s, cores / clip_s, rate, rate * clip_s / cores, start_s))
        d, e, bound, rate, share, start = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"{name:26} {len(chosen):5} {d:8.4f} {e:8.4f} {bound:8.2f} {rate:9.2f} {share:6.0%}  {start:.1f} s",
            flush=True,
        )


def one_decode(root: Path, files: list[str], rounds: int) -> None:
    """Decoding for three extractors of sound and picture in one pass beside three passes, in this process."""
    names: Extractors = (("logspec", {}), ("residual_grid", {}), ("r3d_18", {"random": True, "stride": 100}))
    torch.set_num_threads(1)
    ratios = []
    for _ in range(rounds):
        together = costs(ExtractionSettings(root, names), files)[0]
        apart = sum(costs(ExtractionSettings(root, (one,)), files)[0] for one in names)
        ratios.append(apart / together)
    print(f"decoding for logspec, residual_grid and r3d_18, apart : in one pass: {statistics.median(ratios):.2f}")


def bare_rate(settings: ExtractionSettings, files: Sequence[str], repeats: int) -> float:
    """Clips per second of the network alone, on decoded clips, in the pipeline's batches."""
    extractor = settings.build_extractors()[0]
    extractor.load()
    formats = [] if extractor.video_format is None else [extractor.video_format]
    streams = []
    for file in files:
        stream = extractor.select_stream(decode(settings.root / file, formats, audio=extractor.video_format is None))
        assert stream is not None
        streams.append(stream)
    per_batch = batch_streams(streams)
    batches = [streams[k : k + per_batch] for k in range(0, len(streams), per_batch)]
    extractor.rows(batches[0])
    begin = time.perf_counter()
    for _ in range(repeats):
        for batch in batches:
            extractor.rows(batch)
    return repeats * len(streams) / (time.perf_counter() - begin)


def batch_streams(streams: Sequence[Any]) -> int:
    """How many streams share a batch of the pipeline."""
    return max(1, min(BATCH_STREAMS, BATCH_BYTES // max(s.nbytes for s in streams)))


def batch_clips(settings: ExtractionSettings, files: Sequence[str]) -> int:
    """How many clips the pipeline's first batch is of."""
    extractor = settings.build_extractors()[0]
    formats = [] if extractor.video_format is None else [extractor.video_format]
    stream = extractor.select_stream(decode(settings.root / files[0], formats, audio=not formats))
    assert stream is not None
    return min(len(files), batch_streams([stream]))


def decoding_rate(settings: ExtractionSettings, files: Sequence[str]) -> float:
    """Clips per second of the decoding processes with nothing behind them."""
    from avloc.feature_extraction.job.pool import Processes

    extractors = settings.build_extractors()
    pool = Processes(settings)
    while pool.free() < settings.workers:
        list(pool.wait(None))
    given = done = 0
    begin = time.perf_counter()
    while done < len(files):
        while given < len(files) and pool.free():
            pool.give(given, ClipTask(files[given], tuple(range(len(extractors)))))
            given += 1
        done += sum(isinstance(event.message, ClipDone) for event in pool.wait(None))
    rate = len(files) / (time.perf_counter() - begin)
    pool.close()
    return rate


def on_gpu(root: Path, files: list[str], workers: int, device: str, precision: str, rounds: int) -> None:
    name = torch.cuda.get_device_name(device) if device != "cpu" else "the CPU, as a stand-in"
    print(f"{name}, precision {precision}, {workers} decoding workers; clips per second")
    print(f"{'extractor':20} {'network':>9} {'decoding':>9} {'pipeline':>9} {'share of the lower':>19}")
    for label, extractors in ON_GPU.items():
        settings = ExtractionSettings(
            root, extractors, device=device, precision=precision, networks_in_parent=True, workers=workers
        )  # fmt: skip
        rows = []
        for _ in range(rounds):
            network = bare_rate(settings, files, 1 if device == "cpu" else 3)
            decoding = decoding_rate(settings, files)
            # The first clip is written when its batch is through: that batch's time counts.
            rate, _ = pipeline(settings, files, batch_clips(settings, files) / min(network, decoding))
            rows.append((network, decoding, rate, rate / min(network, decoding)))
        network, decoding, rate, share = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{label:20} {network:9.2f} {decoding:9.2f} {rate:9.2f} {share:19.0%}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=Path, help="a folder of clips (default: 96 generated ones)")
    options.add_argument("--count", type=int, default=96, help="how many of them")
    options.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--gpu", action="store_true", help="networks on a GPU")
    options.add_argument("--device", default="cuda", help="for --gpu; cpu tries it out")
    options.add_argument("--precision", default="16", help="for --gpu")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = given.clips or Path(folder)
        if given.clips is None:
            synthesize(root, layout="lavdf", clips=given.count, workers=given.workers)
        files = sorted(str(p.relative_to(root)) for p in root.rglob("*.mp4"))[: given.count]
        seconds = statistics.mean(decode(root / f).duration_s for f in files)
        print(f"{len(files)} clips of {seconds:.1f} s on average")
        if given.gpu:
            on_gpu(root, files, given.workers, given.device, given.precision, given.rounds)
        else:
            on_cpu(root, files, given.workers, given.rounds)
            one_decode(root, files[:16], given.rounds)


if __name__ == "__main__":
    main()

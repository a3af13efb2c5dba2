"""The speed of reading metadata, of fetching clips from a store, and of making batches for the network.

    python benchmarks/datasets.py                       # all parts, about ten minutes, 4 GB of disk
    python benchmarks/datasets.py --part access --clips 20000

`metadata`: a list of 746,000 entries (the size of AV-Deepfake1M's training split), read plainly (`json.load`, the published
way), by avloc, and by avloc again from its index; each in a process of its own. `access`: random 9-second clips of 256
dimensions from a store. `loader`: an epoch of the default model's training from a store of two extractors, with 2 workers:
the share of the step time that is spent waiting for data, and memory over the epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from avloc.core.descriptions import ExtractorDescription
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.datasets.loading.samplers import BucketSampler, SampleIndex
    from avloc.models import BoundaryTransformer

CLIP_S = 9.0
SHARD_CLIPS = 2000
READS = 5000  # clips of one measurement of access
BATCH = 16

# Metadata.


def metadata_entry(k: int, start: float) -> dict[str, object]:
    """Clip `k` as an entry of AV-Deepfake1M's metadata: every fourth is real, the others have a fake from `start` on."""
    kind = ("real", "audio_modified", "visual_modified", "both_modified")[k % 4]
    segments = [] if k % 4 == 0 else [[start, round(start + 0.02 * (8 + k % 18), 2)]]
    folder = f"id{k % 5000:05d}/{k // 40:011x}/{k // 4:05d}"
    return {
        "file": f"{folder}/{kind}.mp4",
        "split": "train",
        "modify_type": kind,
        "original": None if k % 4 == 0 else f"{folder}/real.mp4",
        "audio_model": "yourtts" if k % 4 in (1, 3) else None,
        "fake_segments": segments,
        "audio_fake_segments": segments if k % 4 in (1, 3) else [],
        "visual_fake_segments": segments if k % 4 > 1 else [],
        "video_frames": 225,
        "audio_frames": 144000,
    }


def write_metadata(path: Path, entries: int) -> None:
    """Write a list of entries; an existing file is kept."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    with path.open("w") as out:
        for k in range(entries):
            entry = metadata_entry(k, round(float(random.uniform(0, 8)), 2))
            out.write(f"{'[' if k == 0 else ','}{json.dumps(entry)}")
        out.write("]")


class ProcessCost(NamedTuple):
    """Seconds of a statement, and the peak memory of its process in GB."""

    seconds: float
    peak_gb: float


def run_statement(statement: str, cache: Path) -> ProcessCost:
    """Run Python in a process of its own, with avloc's cache in a folder."""
    code = (  # VmHWM is the process's own peak; getrusage's counts its parent's too
        f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t, end=' '); "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    environment = {**os.environ, "AVLOC_CACHE": str(cache)}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seconds, peak_kb = map(float, process.stdout.split())
    return ProcessCost(seconds, peak_kb * 1024 / 1e9)


def metadata(folder: Path, entries: int) -> None:
    """Write a list, and read it in three ways."""
    root, cache = folder / "metadata", folder / "cache"
    path = root / "train_metadata.json"
    write_metadata(path, entries)
    print(f"metadata: {entries} entries, {path.stat().st_size / 1e6:.0f} MB")
    shutil.rmtree(cache, ignore_errors=True)
    plain = f"import json; x = json.load(open({str(path)!r}))"
    avloc = f"from avloc.datasets.readers.catalog import read_records; x = read_records('avdeepfake1m', {str(root)!r}, 'train')"
    for name, statement in (("json.load", plain), ("avloc, first time", avloc), ("avloc, from its index", avloc)):
        cost = run_statement(statement, cache)
        print(f"  {name:24} {cost.seconds:6.2f} s   peak {cost.peak_gb:.2f} GB")


# Access.


def make_store(root: Path, clips: int, descriptions: Iterable[ExtractorDescription]) -> list[str]:
    """Fill a store with random values of clips of 6 to 12 s; existing shards are kept. Returns the clips' names."""
    from avloc.core.timeline import TimeGrid
    from avloc.feature_extraction.extractors.base import Features
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.shard_tables import shard_name
    from avloc.feature_extraction.store.shards import ShardWriter

    files = [f"train/{k:06d}.mp4" for k in range(clips)]
    store, random = FeatureStore(root), np.random.default_rng(0)
    for description in descriptions:
        hop_s, dim = description.hop_s, description.dim
        folder = store.prepare(description)
        noise = random.normal(size=(round(2 * CLIP_S / hop_s), dim)).astype(np.float32)
        for shard, begin in enumerate(range(0, clips, SHARD_CLIPS)):
            part = files[begin : begin + SHARD_CLIPS]
            path = folder / shard_name(shard, part)
            if path.exists():
                continue
            with ShardWriter(path, dim) as writer:
                for k, file in enumerate(part, start=begin):
                    steps = round((CLIP_S + 3 * np.sin(k)) / hop_s)
                    writer.add(file, Features(noise[:steps], TimeGrid(0, hop_s, steps)))
    return files


def access(folder: Path, clips: int) -> None:
    """Read random clips of 9 s, 256 dimensions, 25 steps/s."""
    from avloc.core.descriptions import ExtractorDescription
    from avloc.feature_extraction.store.feature_store import FeatureStore

    files = make_store(folder / "access", clips, [ExtractorDescription("toy", "audio", hop_s=0.04, dim=256)])
    store = FeatureStore(folder / "access")
    order = np.random.default_rng(1).permutation(clips)
    places = store.locate("toy", [files[k] for k in order])[:READS]
    rates = []
    for _ in range(5):
        begin = time.perf_counter()
        for shard, row in places.tolist():
            store.read_at("toy", shard, row)
        rates.append(len(places) / (time.perf_counter() - begin))
    print(
        f"access: {statistics.median(rates):.0f} random clips/s in one process (median of 5; {clips} clips in the store)"
    )


# Loader.


def make_dataset(root: Path, clips: int) -> FeatureDataset:
    """A store of two extractors as a dataset; every other clip has an audio fake."""
    from avloc.core.descriptions import ExtractorDescription
    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.feature_extraction.store.feature_store import FeatureStore

    descriptions = (
        ExtractorDescription("logmel", "audio", hop_s=0.01, dim=64),
        ExtractorDescription("video", "visual", hop_s=0.04, dim=256),
    )
    files = make_store(root, clips, descriptions)
    records = [
        VideoRecord(f, "train", audio_segments=(Segment(2.0, 2.4),) if k % 2 else ()) for k, f in enumerate(files)
    ]
    return FeatureDataset(records, FeatureStore(root), [d.name for d in descriptions], hop_s=0.04)


class StepTimes(NamedTuple):
    """Seconds of training steps: of waiting for each batch, and of work on it."""

    waits: list[float]
    works: list[float]

    @property
    def waiting_share(self) -> float:
        """Share of the whole time that is spent waiting."""
        return sum(self.waits) / (sum(self.waits) + sum(self.works))


def time_training(
    model: BoundaryTransformer, batches: torch.utils.data.DataLoader[FeatureDataset], steps: int
) -> StepTimes:
    """Train for some steps; the first, which waits for the workers to start, does not count."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters())
    times = StepTimes([], [])
    begin = time.perf_counter()
    for number, batch in enumerate(batches):
        ready = time.perf_counter()
        loss = model.loss(model(**batch.inputs._asdict()), batch.targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number:
            times.waits.append(ready - begin)
            times.works.append(time.perf_counter() - ready)
        if number == steps:
            break
        begin = time.perf_counter()
    return times


def loader(folder: Path, clips: int, steps: int) -> None:
    """Train the demo's model and measure how long each step waits for its batch; then read a whole epoch."""
    import torch

    from avloc.datasets.loading.features import collate
    from avloc.datasets.loading.samplers import BucketSampler
    from avloc.models import BoundaryTransformer

    dataset = make_dataset(folder / "loader", clips)
    model = BoundaryTransformer(audio_dim=64, visual_dim=256, width=96, levels=4)
    sampler = BucketSampler(dataset.lengths(), BATCH)
    batches = torch.utils.data.DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=partial(collate, maker=model.target_maker),
        num_workers=2,
        prefetch_factor=4,
    )
    times = time_training(model, batches, steps)
    padding = padding_share(sampler, dataset.lengths())
    print(
        f"loader: {len(times.works)} training steps of {BATCH} clips, {statistics.median(times.works) * 1e3:.0f} ms each "
        f"(median); waiting {100 * times.waiting_share:.1f} % of the time; padding {100 * padding:.1f} %"
    )
    read_epoch(dataset, batches)


def read_epoch(dataset: FeatureDataset, batches: torch.utils.data.DataLoader[FeatureDataset]) -> None:
    """Read an epoch without training, and print the rate and each process's memory by tenths of the epoch."""
    iterator = iter(batches)
    memory, begin = [], time.perf_counter()
    for number, _ in enumerate(iterator, start=1):
        if number % max(1, len(batches) // 10) == 0:
            workers = [w.pid for w in getattr(iterator, "_workers", [])]
            memory.append([_resident_gb(pid) for pid in (os.getpid(), *workers)])
    rate = len(dataset) / (time.perf_counter() - begin)
    print(
        f"loader: a whole epoch without training, {rate:.0f} clips/s from 2 workers; resident memory of each process by tenths:"
    )
    for name, values in zip(("main", "worker 1", "worker 2"), zip(*memory, strict=True), strict=True):
        print(f"  {name:9} " + " ".join(f"{gb:.2f}" for gb in values) + " GB")


def _resident_gb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def padding_share(sampler: BucketSampler | list[list[SampleIndex]], lengths: npt.NDArray[np.int64]) -> float:
    """Steps of padding in an epoch's batches, relative to the clips' own steps (V,)."""
    batches = [[index.clip for index in batch] for batch in sampler]
    padded = sum(len(b) * lengths[b].max() for b in batches)
    return float(padded / sum(lengths[b].sum() for b in batches) - 1)


# Command line.


@dataclass(frozen=True, slots=True)
class DatasetsOptions:
    """Options of the command line.

    Attributes:
        part: `metadata`, `access` or `loader`; None: all.
        entries: entries of the metadata.
        clips: clips in each store.
        steps: training steps.
        folder: for the generated files.
    """

    part: str | None
    entries: int
    clips: int
    steps: int
    folder: Path


def parse(arguments: Sequence[str] | None = None) -> DatasetsOptions:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["metadata", "access", "loader"], help="run this part only (default: all)")
    parser.add_argument("--entries", type=int, default=746_000, help="entries of the metadata (default: 746000)")
    parser.add_argument("--clips", type=int, default=20_000, help="clips in each store (default: 20000)")
    parser.add_argument("--steps", type=int, default=150, help="training steps (default: 150)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("benchmark-files"),
        help="folder for generated files (default: benchmark-files)",
    )
    return DatasetsOptions(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Run the parts."""
    options = parse()
    if options.part in (None, "metadata"):
        metadata(options.folder, options.entries)
    if options.part in (None, "access"):
        access(options.folder, options.clips)
    if options.part in (None, "loader"):
        loader(options.folder, options.clips, options.steps)


if __name__ == "__main__":
    main()

"""How fast metadata are read, clips are fetched from a store, and batches reach the network.

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
from pathlib import Path

import numpy as np

CLIP_S = 9.0


def metadata(folder: Path, entries: int) -> None:
    """Write a list, and read it in three ways."""
    root = folder / "metadata"
    root.mkdir(parents=True, exist_ok=True)
    path = root / "train_metadata.json"
    if not path.is_file():
        random = np.random.default_rng(0)
        kinds = ("real", "audio_modified", "visual_modified", "both_modified")
        with path.open("w") as out:
            for k in range(entries):
                kind, start = kinds[k % 4], round(float(random.uniform(0, 8)), 2)
                segments = [] if k % 4 == 0 else [[start, round(start + 0.02 * (8 + k % 18), 2)]]
                entry = {
                    "file": f"id{k % 5000:05d}/{k // 40:011x}/{k // 4:05d}/{kind}.mp4", "split": "train", "modify_type": kind,
                    "original": None if k % 4 == 0 else f"id{k % 5000:05d}/{k // 40:011x}/{k // 4:05d}/real.mp4",
                    "audio_model": "yourtts" if k % 4 in (1, 3) else None, "fake_segments": segments,
                    "audio_fake_segments": segments if k % 4 in (1, 3) else [],
                    "visual_fake_segments": segments if k % 4 > 1 else [], "video_frames": 225, "audio_frames": 144000,
                }  # fmt: skip
                out.write(f"{'[' if k == 0 else ','}{json.dumps(entry)}")
            out.write("]")
    print(f"metadata: {entries} entries, {path.stat().st_size / 1e6:.0f} MB")
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    plain = f"import json; x = json.load(open({str(path)!r}))"
    ours = f"from avloc.datasets.readers.catalog import read_records; x = read_records('avdeepfake1m', {str(root)!r}, 'train')"
    report = "import resource, time; t = time.perf_counter(); {}; print(time.perf_counter() - t, end=' '); "
    report += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    for name, code in (("json.load", plain), ("avloc, first time", ours), ("avloc, from its index", ours)):
        done = subprocess.run(
            [sys.executable, "-c", report.format(code)], env={**os.environ, "AVLOC_CACHE": str(cache)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds, peak = map(float, done.stdout.split())
        print(f"  {name:24} {seconds:6.2f} s   peak {peak / 1e6:.2f} GB")


def make_store(root: Path, clips: int, widths: dict[str, tuple[str, float, int]]) -> list[str]:
    """A store of random values: extractor → (modality, hop in seconds, width); returns the clips' names."""
    from avloc.core.timeline import TimeGrid
    from avloc.feature_extraction.extractors.base import Features
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.shards import ShardWriter, shard_name

    files = [f"train/{k:06d}.mp4" for k in range(clips)]
    store, random = FeatureStore(root), np.random.default_rng(0)
    for name, (modality, hop_s, dim) in widths.items():
        folder = store.prepare({"name": name, "modality": modality, "hop_s": hop_s, "dim": dim, "parameters": {}})
        noise = random.normal(size=(round(2 * CLIP_S / hop_s), dim)).astype(np.float32)
        for shard, begin in enumerate(range(0, clips, 2000)):
            part = files[begin : begin + 2000]
            path = folder / shard_name(shard, part)
            if path.exists():
                continue
            with ShardWriter(path, dim) as writer:
                for k, file in enumerate(part, start=begin):
                    steps = round((CLIP_S + 3 * np.sin(k)) / hop_s)
                    writer.add(file, Features(noise[:steps], TimeGrid(0, hop_s, steps)))
    return files


def access(folder: Path, clips: int) -> None:
    """Random clips of 9 s, 256 dimensions, 25 steps/s."""
    from avloc.feature_extraction.store.feature_store import FeatureStore

    files = make_store(folder / "access", clips, {"toy": ("audio", 0.04, 256)})
    store = FeatureStore(folder / "access")
    order = np.random.default_rng(1).permutation(clips)
    places = store.locate("toy", [files[k] for k in order])
    rates = []
    for _ in range(5):
        begin = time.perf_counter()
        for shard, row in places[:5000].tolist():
            store.read_at("toy", shard, row)
        rates.append(min(5000, clips) / (time.perf_counter() - begin))
    print(
        f"access: {statistics.median(rates):.0f} random clips/s in one process (median of 5; {clips} clips in the store)"
    )


def loader(folder: Path, clips: int, steps: int) -> None:
    """Train the demo's model and see how long each step waits for its batch."""
    import torch

    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment
    from avloc.datasets.loading.data_modules import _CollateFeatures
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.datasets.loading.samplers import BucketSampler
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.models.boundary_transformer import BoundaryTransformer

    widths = {"logmel": ("audio", 0.01, 64), "video": ("visual", 0.04, 256)}
    files = make_store(folder / "loader", clips, widths)
    records = [
        VideoRecord(f, "train", audio_segments=(Segment(2.0, 2.4),) if k % 2 else ()) for k, f in enumerate(files)
    ]
    dataset = FeatureDataset(records, FeatureStore(folder / "loader"), list(widths), hop_s=0.04)
    model = BoundaryTransformer(audio_dim=64, visual_dim=256, width=96, levels=4)
    sampler = BucketSampler(dataset.lengths(), 16)
    batches = torch.utils.data.DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_CollateFeatures(model.target_maker),
        num_workers=2,
        prefetch_factor=4,
    )
    optimizer = torch.optim.AdamW(model.parameters())
    waits, works = [], []
    begin = time.perf_counter()
    for number, batch in enumerate(batches):
        got = time.perf_counter()
        loss = model.loss(model(**batch.inputs._asdict()), batch.targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number:  # the first one waits for the workers to start
            waits.append(got - begin)
            works.append(time.perf_counter() - got)
        if number == steps:
            break
        begin = time.perf_counter()
    share = sum(waits) / (sum(waits) + sum(works))
    padding = 100 * _padding(sampler, dataset.lengths())
    print(
        f"loader: {len(works)} training steps of 16 clips, {statistics.median(works) * 1e3:.0f} ms each (median); waiting "
        f"{100 * share:.1f} % of the time; padding {padding:.1f} %"
    )
    iterator = iter(batches)
    memory, begin = [], time.perf_counter()
    for number, _ in enumerate(iterator, start=1):
        if number % (len(sampler) // 10) == 0:
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


def _padding(sampler: object, lengths: np.ndarray) -> float:  # type: ignore[type-arg]
    batches = [[draw.clip for draw in batch] for batch in sampler]  # type: ignore[attr-defined]
    padded = sum(len(b) * lengths[b].max() for b in batches)
    return float(padded / sum(lengths[b].sum() for b in batches) - 1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--part", choices=["metadata", "access", "loader"], help="only this one")
    options.add_argument("--entries", type=int, default=746_000)
    options.add_argument("--clips", type=int, default=20_000)
    options.add_argument("--steps", type=int, default=150, help="of training")
    options.add_argument("--folder", type=Path, default=Path("benchmark-files"))
    given = options.parse_args()
    if given.part in (None, "metadata"):
        metadata(given.folder, given.entries)
    if given.part in (None, "access"):
        access(given.folder, given.clips)
    if given.part in (None, "loader"):
        loader(given.folder, given.clips, given.steps)


if __name__ == "__main__":
    main()

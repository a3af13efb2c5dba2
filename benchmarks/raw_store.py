"""The sound itself in a store: its size as it is and compressed, and the rate of reading random clips.

    python benchmarks/raw_store.py --out /tmp/raw --clips 300        # a minute

Clips of 6 to 12 s are made of the bundled recordings in one store (`waveform`: int16, uncompressed). The same rows are then
written to plain HDF5 files with the filters that h5py has, and to FLAC files for comparison; each is read in the same random
order.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from avloc.feature_extraction.store.feature_store import FeatureStore

Rows = npt.NDArray[np.int16]
FILTERS: dict[str, dict[str, Any]] = {
    "lzf": {"compression": "lzf", "shuffle": True},
    "gzip 1": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
    "gzip 6": {"compression": "gzip", "compression_opts": 6, "shuffle": True},
}
CHUNK_ROWS = 256
ROUNDS = 3


class StorageCost(NamedTuple):
    """Bytes on the disk, and clips read per second."""

    size_bytes: int
    clips_per_second: float


def make_clips(count: int, seed: int = 0) -> list[Rows]:
    """Make clips of recorded speech with the noise of a quiet room, 6 to 12 s each: (R, 160)."""
    from avloc.datasets.synthetic.speech_pieces import load_speakers
    from avloc.feature_extraction.extractors.raw_streams import Waveform

    random = np.random.default_rng(seed)
    recordings = [samples for speaker in load_speakers().values() for samples in speaker]
    clips = []
    for _ in range(count):
        length = int(random.uniform(6, 12) * 16_000)
        parts: list[npt.NDArray[np.floating]] = []
        while sum(map(len, parts)) < length:
            parts.append(recordings[random.integers(len(recordings))])
        samples = np.concatenate(parts)[:length] + random.normal(0, 2e-4, length)  # −74 dB of full scale
        clips.append(Waveform().rows([samples.astype(np.float32)])[0])
    return clips


def clips_per_second(read: Callable[[int], Rows], order: Sequence[int]) -> float:
    """The median rate of reading clips in an order."""
    rates = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for k in order:
            read(k)
        rates.append(len(order) / (time.perf_counter() - begin))
    return statistics.median(rates)


class WrittenStore(NamedTuple):
    """A store, and the names of its clips."""

    store: FeatureStore
    names: list[str]


def write_store(folder: Path, clips: Sequence[Rows]) -> WrittenStore:
    """Write clips (R, 160) as `waveform` into a store of one shard."""
    from avloc.core.timeline import TimeGrid
    from avloc.feature_extraction.extractors.base import Features
    from avloc.feature_extraction.extractors.raw_streams import Waveform
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.shard_tables import shard_name
    from avloc.feature_extraction.store.shards import ShardWriter

    store, names = FeatureStore(folder), [f"{k:06d}.mp4" for k in range(len(clips))]
    path = store.prepare(Waveform().describe()) / shard_name(0, names)
    with ShardWriter(path, Waveform.dim, store.fingerprint("waveform"), Waveform.dtype) as shard:
        for name, rows in zip(names, clips, strict=True):
            shard.add(name, Features(rows, TimeGrid(0.0, Waveform.hop_s, len(rows))))
    return WrittenStore(store, names)


def store_cost(folder: Path, clips: Sequence[Rows], order: Sequence[int]) -> StorageCost:
    """The cost of the store as it is."""
    store, names = write_store(folder, clips)
    places = store.locate("waveform", names).tolist()
    rate = clips_per_second(lambda k: store.read_at("waveform", *places[k]).values, order)
    return StorageCost(store.shards("waveform")[0].stat().st_size, rate)


def filter_cost(path: Path, clips: Sequence[Rows], order: Sequence[int], options: dict[str, Any]) -> StorageCost:
    """The cost of one flat array in an HDF5 file with a filter."""
    import h5py

    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in clips])])
    with h5py.File(path, "w") as file:
        file.create_dataset("values", data=np.concatenate(clips), chunks=(CHUNK_ROWS, clips[0].shape[1]), **options)
    with h5py.File(path, "r") as file:
        values = file["values"]
        rate = clips_per_second(lambda k: values[offsets[k] : offsets[k + 1]], order)
    return StorageCost(path.stat().st_size, rate)


def flac_cost(folder: Path, clips: Sequence[Rows], order: Sequence[int]) -> StorageCost:
    """The cost of a FLAC file per clip."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{k:06d}.flac" for k in range(len(clips))]
    for path, rows in zip(paths, clips, strict=True):
        soundfile.write(path, rows.reshape(-1), 16_000, subtype="PCM_16")
    rate = clips_per_second(lambda k: soundfile.read(paths[k], dtype="int16")[0], order)
    return StorageCost(sum(path.stat().st_size for path in paths), rate)


def measure(folder: Path, count: int) -> dict[str, StorageCost]:
    """The costs of all ways to keep the same clips."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = make_clips(count)
    order = np.random.default_rng(1).permutation(count).tolist()
    costs = {"store": store_cost(folder / "store", clips, order)}
    for name, options in FILTERS.items():
        costs[name] = filter_cost(folder / f"{name.replace(' ', '')}.h5", clips, order, options)
    costs["flac"] = flac_cost(folder / "flac", clips, order)
    return costs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--clips", type=int, default=300, help="number of clips")
    options = parser.parse_args()
    costs = measure(options.out, options.clips)
    whole = costs["store"].size_bytes
    for name, cost in costs.items():
        print(
            f"{name:8s} {cost.size_bytes / 1e6:8.1f} MB {cost.size_bytes / whole:6.1%} {cost.clips_per_second:8.0f} clips/s"
        )


if __name__ == "__main__":
    main()

"""Augmented loading beside training: do two workers that read and augment sound keep ahead of a training step?

    python benchmarks/augmented_loading.py --out /tmp/loading          # a few minutes

Clips of 6 to 12 s are made of the bundled recordings in a store (`waveform`), half of them with a labelled segment. A network of
the demo's size with a front end that learns is trained on them; each batch is read and augmented by the loader's workers. In
the same run: a step alone, loading alone, and training, with the share of it that the network waits for its batch. All
batches are of one epoch, in which each clip comes several times, because a new epoch begins without prefetched batches.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu_measures import synchronize, train_step
from raw_store import make_clips, write_store

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from avloc.datasets.loading.batch import Batch

PREFETCH = 4
"""Batches that each worker loads ahead, as those of `FeatureData` do."""
KEPT_BATCHES = 3
"""For steps alone."""
FORGED_S = (2.0, 2.4)


class LoadingTimes(NamedTuple):
    """The times of one run.

    Attributes:
        step_s: of a training step on a loaded batch: median seconds.
        load_s: of a batch from the workers without training: seconds on average.
        waiting: share of the training time that the network waits for a batch.
        batches: number of trained batches.
    """

    step_s: float
    load_s: float
    waiting: float
    batches: int

    @property
    def ratio(self) -> float:
        """Batches that the workers make while the network takes a step; they keep ahead above 1."""
        return self.step_s / self.load_s


def demo_network(width: int = 96) -> Any:
    """A BoundaryTransformer of the demo's size whose sound comes from a spectrogram front end."""
    import torch

    from avloc.models import BoundaryTransformer

    torch.manual_seed(0)
    return BoundaryTransformer(
        audio_dim=160,
        visual_dim=320,
        audio_rows_per_step=4.0,
        visual_rows_per_step=1.0,
        audio_front_end="spectrogram",
        width=width,
        stem_layers=0,
        first_steps=24,
        levels=3,
        distance_bins=24,
    )


def make_loader(
    folder: Path, clips: int, *, batches: int, recipe: str | None, batch_size: int, workers: int, target_maker: Any
) -> DataLoader[Any]:
    """Make a loader of augmented clips as `FeatureData` does, on a generated store.

    Args:
        folder: of the store.
        clips: number of clips.
        batches: of the epoch; clips are repeated to fill them.
        recipe: of the augmentation; None: none.
        batch_size: clips per batch.
        workers: processes.
        target_maker: of the network.
    """
    from torch.utils.data import DataLoader

    from avloc.core.descriptions import ExtractorDescription
    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment
    from avloc.datasets.examples.augmentation import make_augmenter
    from avloc.datasets.loading.features import FeatureDataset, collate
    from avloc.datasets.loading.samplers import BucketSampler
    from avloc.datasets.loading.shared_memory import SharedCollate
    from avloc.feature_extraction.extractors.raw_streams import Waveform

    store, names = write_store(folder, make_clips(clips))
    fake = (Segment(*FORGED_S),)
    records = [VideoRecord(name, "train", audio_segments=() if k % 2 else fake) for k, name in enumerate(names)]
    draws = [records[k % clips] for k in range(batches * batch_size)]
    dataset = FeatureDataset(
        draws,
        store,
        ["waveform"],
        hop_s=0.04,
        native_rate=True,
        absent=[ExtractorDescription("residual_grid", "visual", hop_s=0.04, dim=320)],
        augmenter=None if recipe is None else make_augmenter(recipe, [Waveform().describe()]),
    )
    return DataLoader(
        dataset,
        batch_sampler=BucketSampler(dataset.lengths(), batch_size),
        collate_fn=SharedCollate(partial(collate, maker=target_maker)),
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
    )


def measure(
    folder: Path,
    *,
    clips: int = 64,
    batches: int = 12,
    recipe: str | None = "light",
    batch_size: int = 16,
    workers: int = 2,
    device: str = "cpu",
    width: int = 96,
) -> LoadingTimes:
    """Measure a step, loading and training in turn.

    Args:
        folder: for the store.
        clips: number of clips.
        batches: batches of each measurement.
        recipe: of the augmentation; None: none.
        batch_size: clips per batch.
        workers: processes that load.
        device: of the network.
        width: of the network.
    """
    import torch

    network, ahead = demo_network(width), workers * PREFETCH
    loader = make_loader(
        folder,
        clips,
        batches=KEPT_BATCHES + 2 * (ahead + batches) + ahead,  # the workers load to the end of the measurement
        recipe=recipe,
        batch_size=batch_size,
        workers=workers,
        target_maker=network.target_maker,
    )
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step(batch: Batch) -> float:
        begin = time.perf_counter()
        train_step(network, batch.to(device), device, "float32", optimizer)
        synchronize(device)
        return time.perf_counter() - begin

    source = iter(loader)
    kept = [next(source) for _ in range(KEPT_BATCHES)]  # the workers have started
    for _ in range(ahead):  # and their prefetched batches are used up
        next(source)
    begin = time.perf_counter()
    for _ in range(batches):
        next(source)
    load_s = (time.perf_counter() - begin) / batches
    step_s = statistics.median([step(kept[k % len(kept)]) for k in range(batches + 1)][1:])
    for _ in range(ahead):  # the pause was time to load ahead
        step(next(source))
    waited, trained = 0.0, 0.0
    for _ in range(batches):
        begin = time.perf_counter()
        batch = next(source)
        waited += time.perf_counter() - begin
        trained += step(batch)
    return LoadingTimes(step_s, load_s, waited / (waited + trained), batches)


def main() -> None:
    """Print the times and the ratio."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the store, which must not exist")
    parser.add_argument("--batches", type=int, default=12, help="batches of each measurement (default: 12)")
    parser.add_argument("--recipe", default="light", help="light, strong, a YAML file, or none (default: light)")
    parser.add_argument("--workers", type=int, default=2, help="processes that load (default: 2)")
    parser.add_argument("--device", default="cpu", help="of the network (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="of the network on the CPU (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = None if options.recipe == "none" else options.recipe
    times = measure(options.out, batches=options.batches, recipe=recipe, workers=options.workers, device=options.device)
    print(f"training step: {times.step_s:.3f} s; {options.workers} workers load a batch in {times.load_s:.3f} s")
    print(f"ratio: {times.ratio:.2f} batches are loaded during a step")
    print(f"waiting: {times.waiting:.1%} of the training, over {times.batches} batches")


if __name__ == "__main__":
    main()

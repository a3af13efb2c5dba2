"""A generated split of any size: metadata > features in a store > a checkpoint of a network that gives 100 rows per clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEPS, HOP_S, SHARD_CLIPS = 100, 0.04, 20_000
EXTRACTORS = (("sounds", "audio"), ("looks", "visual"))
NETWORK = '''
"""A network without weights worth the name: each step of a clip is a segment, scored by its features."""

from typing import NamedTuple

import numpy as np
import torch

from avloc.core.proposals import Proposals
from avloc.models import Network


class Output(NamedTuple):
    step_logits: torch.Tensor


class FastNet(torch.nn.Module, Network):
    target_maker = None

    def __init__(self, *, audio_dim, visual_dim):
        super().__init__()
        self.arguments = {"audio_dim": audio_dim, "visual_dim": visual_dim}
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, *, audio, video, audio_mask, video_mask):
        return Output(torch.stack([audio.mean(2), video.mean(2)], dim=2) * self.scale)

    def loss(self, output, targets):
        raise NotImplementedError

    def decode(self, output, grids, *, keep=100):
        scores = output.step_logits.float().sigmoid().numpy().astype(float)
        proposals = []
        for b, grid in enumerate(grids):
            starts = grid.start_s + grid.hop_s * np.arange(grid.length)
            segments = np.stack([starts, starts + 0.5], axis=1)
            modalities = scores[b, : grid.length]
            proposals.append(Proposals(segments, modalities.max(axis=1), modalities).best(keep))
        return proposals
'''


def write_split(folder: Path, clips: int, failed: int = 0) -> list[str]:
    """Write `metadata.csv`, `features/`, `fast_net.py` and `fast.ckpt`, and return the words of a prediction.

    Args:
        folder: their folder.
        clips: number of clips.
        failed: number of clips that the store records as failed.
    """
    import sys

    from avloc.core.descriptions import ExtractorDescription, TrainingContext
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.shard_tables import shard_name
    from avloc.feature_extraction.store.shards import ShardWriter
    from avloc.models.checkpoint import write_checkpoint

    files = [f"{k:06d}.mp4" for k in range(clips)]
    rows = "".join(f"{file},0.5,1.0,test\n" for file in files)
    (folder / "metadata.csv").write_text(f"file,start,end,split\n{rows}")
    store, descriptions = FeatureStore(folder / "features"), []
    for name, modality in EXTRACTORS:
        description = ExtractorDescription(name, modality, hop_s=HOP_S, dim=2)
        descriptions.append(description)
        store.prepare(description)
        values = np.random.default_rng(len(descriptions)).normal(size=(4 * STEPS, 2)).astype(np.float16)
        for first in range(0, clips, SHARD_CLIPS):
            names = files[first : first + SHARD_CLIPS]
            path = folder / "features" / name / shard_name(first // SHARD_CLIPS, names)
            with ShardWriter(path, 2, store.fingerprint(name)) as writer:
                for k, file in enumerate(names, start=first):
                    if k % 10 == 3 and k < 10 * failed:
                        writer.fail(file, "generated to fail")
                        continue
                    writer.append(values[k % (3 * STEPS) :][:STEPS])
                    writer.end(file, start_s=0.0)
    (folder / "fast_net.py").write_text(NETWORK)
    sys.path.insert(0, str(folder))
    try:
        from fast_net import FastNet  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("fast_net", None)
    write_checkpoint(
        folder / "fast.ckpt", FastNet(audio_dim=2, visual_dim=2), TrainingContext(HOP_S, tuple(descriptions))
    )
    words = ["predict", "--checkpoint", "fast.ckpt", "--network", "fast_net.FastNet", "--dataset", "csv", "--root", "."]
    return [*words, "--store", "features", *(["--allow-missing"] if failed else [])]

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avloc.checkpoint import write_checkpoint
from avloc.models import BATFD, BATFDPlus


@pytest.fixture(scope="session")
def arguments(tmp_path_factory):
    """What each extractor needs that has no default: small random checkpoints, by the extractor's name."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {**batfd_arguments(folder)}


def batfd_arguments(folder: Path) -> dict[str, dict[str, object]]:
    """A checkpoint of ours for each extractor that is an encoder of BA-TFD or BA-TFD+."""
    torch.manual_seed(0)
    small = {"width": 8, "map_widths": (4, 3), "frames": 32, "durations": 3}
    batfd = BATFD(video_widths=(3, 4, 5, 4), audio_widths=(3, 4, 2), **small)
    plus = BATFDPlus(video_encoder="mvit_t", audio_encoder="vit_t", **small)
    networks = {"batfd_c3d": batfd, "batfd_mvit": plus, "batfd_audio": batfd}
    for name, network in networks.items():
        write_checkpoint(
            folder / name, network, {"hop_s": 0.04, "extractors": [], "clips": {"frames": 32, "fit": "pad"}}
        )
    return {name: {"weights": str(folder / name)} for name in networks}

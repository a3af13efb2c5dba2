"""Losses of the published networks, and inputs for small ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.heads.maps import MapTargetMaker, MapTargets
from avloc.models.batfd.published import convert_state

DATA = Path(__file__).parents[1] / "data" / "batfd"


def _published_targets(frames, durations, n_frames):
    """As `losses.json` describes: clip 0 has a visual fake of 0.2–0.6 s, clip 1 is real."""
    make = MapTargetMaker(durations)
    records = [VideoRecord("x", "test", None, (), (Segment(0.2, 0.6),)), VideoRecord("y", "test")]
    made = [make(r, TimeGrid(0, 0.04, n), frames)[0] for r, n in zip(records, n_frames, strict=True)]
    targets = MapTargets(*(torch.stack([torch.as_tensor(t) for t in column]) for column in zip(*made, strict=True)))
    ends = torch.zeros(2, 2, frames)
    ends[0, 0, 4:7], ends[0, 1, 14:17] = torch.tensor([0.5, 1, 0.5]), torch.tensor([0.5, 1, 0.5])
    return targets._replace(fused_boundaries=ends, modality_boundaries=torch.stack([torch.zeros_like(ends), ends], 1))


@pytest.fixture
def assert_published_losses(published):
    """The named terms of a fixture's loss equal the published ones."""

    def check(name: str, terms: dict[str, str]) -> None:
        given, expected = published(name), json.loads((DATA / "losses.json").read_text())[name]
        network, _ = convert_state(given.state, given.settings)
        with torch.inference_mode():
            output = network(given.video, given.audio)
            targets = _published_targets(given.frames, network.durations, expected["_n_frames"])
            found = network.loss(output, targets)
        for ours, theirs in terms.items():
            assert found[ours].item() == pytest.approx(expected[theirs], rel=2e-5), ours

    return check


@pytest.fixture(scope="session")
def clips():
    """A network and clips' lengths → pixels and log-mels, black and silent behind each clip's end."""

    def make(network, lengths, seed=0):
        torch.manual_seed(seed)
        video = torch.rand(len(lengths), 3, network.frames, 96, 96)
        audio = torch.randn(len(lengths), 64, 4 * network.frames)
        for b, n in enumerate(lengths):
            video[b, :, n:] = 0
            audio[b, :, 4 * n :] = -4.6
        return video, audio

    return make


@pytest.fixture(scope="session")
def cached():
    """Clips' lengths and a padded one → cached features of widths 5 and 7 with masks, as keywords."""

    def make(lengths, padded, seed=3):
        torch.manual_seed(seed)
        video, audio = torch.randn(len(lengths), padded, 5), torch.randn(len(lengths), padded, 7)
        mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
        return {"video": video, "audio": audio, "video_mask": mask, "audio_mask": mask.clone()}

    return make

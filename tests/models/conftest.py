"""Losses of the published networks, and inputs and targets for small ones."""

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
FAKE = Segment(0.08, 0.2)


def _collate(clips):
    return MapTargets(
        *(torch.stack([torch.as_tensor(array) for array in column]) for column in zip(*clips, strict=True))
    )


def _published_targets(frames, durations, n_frames):
    """As `losses.json` describes: clip 0 has a visual fake of 0.2–0.6 s, clip 1 is real."""
    maker = MapTargetMaker(durations)
    records = [VideoRecord("x", "test", None, (), (Segment(0.2, 0.6),)), VideoRecord("y", "test")]
    targets = _collate([maker(r, TimeGrid(0, 0.04, n), frames)[0] for r, n in zip(records, n_frames, strict=True)])
    ends = torch.zeros(2, 2, frames)
    ends[0, 0, 4:7], ends[0, 1, 14:17] = torch.tensor([0.5, 1, 0.5]), torch.tensor([0.5, 1, 0.5])
    return targets._replace(fused_boundaries=ends, modality_boundaries=torch.stack([torch.zeros_like(ends), ends], 1))


@pytest.fixture
def assert_published_losses(published):
    """The named terms of a fixture's loss equal the published ones."""

    def check(name: str, terms: dict[str, str]) -> None:
        fixture, expected = published(name), json.loads((DATA / "losses.json").read_text())[name]
        network, _ = convert_state(fixture.state, fixture.settings)
        with torch.inference_mode():
            output = network(fixture.video, fixture.audio)
            targets = _published_targets(fixture.frames, network.durations, expected["_n_frames"])
            losses = network.loss(output, targets)
        for term, published_term in terms.items():
            assert losses[term].item() == pytest.approx(expected[published_term], rel=2e-5), term

    return check


@pytest.fixture(scope="session")
def map_targets():
    """A function from a network, lengths of two clips and the padded length to targets.

    The audio of the first clip is forged from 0.08 to 0.2 s, or over another segment; the second clip is real.
    """

    def make(network, lengths, padded, segment=FAKE):
        records = [VideoRecord("x", "t", None, (segment,), ()), VideoRecord("y", "t")]
        grids = [TimeGrid(0, 0.04, n) for n in lengths]
        return _collate([network.target_maker(r, g, padded)[0] for r, g in zip(records, grids, strict=True)])

    return make


@pytest.fixture(scope="session")
def make_clips():
    """A function from a network and clips' lengths to pixels and log-mels, black and silent after each clip's end."""

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
def make_features():
    """A function from clips' lengths and a padded one to cached features of widths 5 and 7 with masks, as keywords."""

    def make(lengths, padded, seed=3):
        torch.manual_seed(seed)
        video, audio = torch.randn(len(lengths), padded, 5), torch.randn(len(lengths), padded, 7)
        mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
        return {"video": video, "audio": audio, "video_mask": mask, "audio_mask": mask.clone()}

    return make

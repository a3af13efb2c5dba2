from __future__ import annotations

import pickle

import pytest
import torch

from avloc.core.descriptions import ClipInputFormat, TrainingContext
from avloc.errors import AvlocError, CheckpointError
from avloc.feature_extraction.media.types import Span
from avloc.inference.packaged import PackagedLocalizer
from avloc.inference.settings import LocalizerSettings
from avloc.models import BATFD
from avloc.models.checkpoint import write_checkpoint
from avloc.models.packaged import packaged_checkpoint, packaged_description

SMALL = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (4, 3), "samples": 4}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    context = TrainingContext(0.04, clips=ClipInputFormat(24, "pad"))
    write_checkpoint(tmp_path / "c.ckpt", BATFD(**SMALL, frames=24, durations=9), context)
    return tmp_path / "c.ckpt"


def test_the_recorded_settings_are_json_values():
    settings = LocalizerSettings("best.ckpt", device="cuda", precision="bf16")
    assert settings.recorded(span=Span(1.0, 2.5, 1), prior=0.1, keep=3) == {
        "streams": None,
        "precision": "bf16",
        "decoding": None,
        "keep": 3,
        "start": 1.0,
        "end": 2.5,
        "audio_track": 1,
        "prior": 0.1,
    }
    assert settings.recorded(span=Span(), prior=0.5)["end"] is None  # JSON has no infinity


def test_settings_travel_and_load(checkpoint):
    settings = LocalizerSettings(checkpoint, precision="bf16", decoding="published")
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    localizer = again.load()
    assert (localizer.device, localizer.precision) == ("cpu", "bf16")
    assert localizer.model.arguments["decoding"] == "published"


def test_a_network_in_a_pool_shows_life_with_each_decoded_part(checkpoint):
    calls = []
    localizer = LocalizerSettings(checkpoint).load_for_work(lambda: calls.append(1))
    localizer.pulse()
    assert calls == [1]


def test_wrong_settings_are_refused_as_they_load(tmp_path, checkpoint):
    with pytest.raises(CheckpointError, match="none.ckpt"):
        LocalizerSettings(tmp_path / "none.ckpt").load()
    with pytest.raises(AvlocError, match="device 'warp' cannot be used here"):
        LocalizerSettings(checkpoint, device="warp").load()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (LocalizerSettings("c.ckpt", streams="audio"), "--streams chooses among the networks of the package"),
        (LocalizerSettings(network="my_net.MyNet"), "--network belongs to a checkpoint of your own"),
        (LocalizerSettings(weights={"r3d_18": "x.pth"}), "--weights belongs to a checkpoint of your own"),
        (LocalizerSettings(own_extractors=["my.Extractor"]), "--extractor belongs to a checkpoint of your own"),
        (LocalizerSettings(decoding="published"), "has no boundary maps"),
        (LocalizerSettings(streams="smell"), "want a network of the package, both, audio, visual, got 'smell'"),
    ],
)
def test_options_without_effect_are_refused(settings, message):
    with pytest.raises(AvlocError, match=message):
        settings.load()


def test_the_file_is_the_checkpoint_or_the_packages(checkpoint):
    assert LocalizerSettings(str(checkpoint)).file == checkpoint
    assert LocalizerSettings().file == packaged_checkpoint("both")
    assert LocalizerSettings(streams="audio").file == packaged_checkpoint("audio")


def test_without_a_checkpoint_the_package_judges():
    assert isinstance(LocalizerSettings().load(), PackagedLocalizer)
    localizer = LocalizerSettings(streams="visual").load()
    assert localizer.description == packaged_description("visual")


def test_the_hashes_are_those_of_the_networks_that_may_judge(checkpoint):
    assert LocalizerSettings(checkpoint).network_hashes() == (LocalizerSettings(checkpoint).load().description.sha256,)
    assert LocalizerSettings(streams="audio").network_hashes() == (packaged_description("audio").sha256,)
    names = ("both", "audio", "visual")
    assert LocalizerSettings().network_hashes() == tuple(packaged_description(streams).sha256 for streams in names)

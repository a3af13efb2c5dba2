from __future__ import annotations

import re

import pytest
import torch

from avloc.core.descriptions import ClipInputFormat, ExtractorDescription, TrainingContext
from avloc.errors import CheckpointError
from avloc.models import build_model
from avloc.models.checkpoint import KEY, load_weights, read_checkpoint, write_checkpoint

SMALL = {"audio_dim": 5, "visual_dim": 7, "width": 8, "heads": 2, "levels": 2}
MEL = ExtractorDescription("logmel", "audio", hop_s=0.01, dim=5, parameters={"bands": 5})
CONTEXT = TrainingContext(0.04, extractors=(MEL,), calibration={"clip": (1.5, -0.25)})


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_model("BoundaryTransformer", SMALL)


@pytest.fixture
def damage(network, tmp_path):
    """A function that writes a checkpoint whose entry of avloc has other values, and returns its path."""

    def write(**changes):
        path = tmp_path / "damaged.ckpt"
        write_checkpoint(path, network, CONTEXT)
        content = torch.load(path, weights_only=True)
        content[KEY] |= changes
        torch.save(content, path)
        return path

    return write


def test_checkpoint_is_read_as_it_was_written(network, tmp_path):
    write_checkpoint(tmp_path / "x.ckpt", network, CONTEXT)
    checkpoint = read_checkpoint(tmp_path / "x.ckpt")
    assert (checkpoint.path, checkpoint.model) == (tmp_path / "x.ckpt", "BoundaryTransformer")
    assert checkpoint.arguments == network.arguments
    assert checkpoint.context == CONTEXT
    assert repr(checkpoint).endswith(f"x.ckpt': BoundaryTransformer, {len(network.state_dict())} tensors)")
    torch.manual_seed(1)
    again = build_model(checkpoint.model, checkpoint.arguments)
    load_weights(again, checkpoint)
    for name, weight in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)


def test_clip_format_is_kept(tmp_path):
    small = {"video_widths": [1, 1, 1, 1], "audio_widths": [1, 1, 1], "width": 4, "map_widths": [3, 2], "frames": 12}
    network = build_model("BATFD", small | {"durations": 3, "samples": 3})
    context = TrainingContext(0.04, clips=ClipInputFormat(12, "squeeze"))
    write_checkpoint(tmp_path / "x.ckpt", network, context)
    assert read_checkpoint(tmp_path / "x.ckpt").context == context


def test_weights_of_another_network_are_refused(network, tmp_path):
    write_checkpoint(tmp_path / "x.ckpt", network, CONTEXT)
    other = build_model("BoundaryTransformer", SMALL | {"levels": 3})
    with pytest.raises(CheckpointError, match=r"x\.ckpt: the weights do not fit this BoundaryTransformer"):
        load_weights(other, read_checkpoint(tmp_path / "x.ckpt"))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(path)
    for content in ({"state_dict": {}}, {"state_dict": {}, KEY: {"version": 0}}, [1, 2]):
        torch.save(content, path)
        with pytest.raises(
            CheckpointError, match=r"x\.ckpt: not a checkpoint of `avloc train` .*`avloc convert` first"
        ):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("model", 3),
        ("arguments", [1]),
        ("hop_s", "0.04"),
        ("extractors", None),
        ("extractors", ["logmel"]),
        ("clips", {"frames": 12, "fit": "odd"}),
        ("clips", {"frames": 12, "fit": "pad"}),
        ("calibration", [1]),
        ("calibration", {"clip": [1]}),
        ("calibration", {"clip": ["a", "b"]}),
    ],
)
def test_damaged_entries_are_named(damage, entry, value):
    shown = value[0] if value == ["logmel"] else value
    with pytest.raises(
        CheckpointError, match=rf"a damaged checkpoint, its entry '{entry}' is {re.escape(repr(shown))}"
    ):
        read_checkpoint(damage(**{entry: value}))


def test_damaged_description_of_an_extractor_is_named(damage):
    with pytest.raises(
        CheckpointError, match="a damaged checkpoint, an extractor's description lacks modality, hop_s, dim"
    ):
        read_checkpoint(damage(extractors=[{"name": "logmel", "parameters": {}}]))


def test_missing_weights_are_named(damage):
    path = damage()
    content = torch.load(path, weights_only=True)
    torch.save(content | {"state_dict": None}, path)
    with pytest.raises(CheckpointError, match="a damaged checkpoint, it holds no weights"):
        read_checkpoint(path)


def test_failed_write_leaves_no_file(network, tmp_path, monkeypatch):
    def fail(content, path):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(tmp_path / "x.ckpt", network, CONTEXT)
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning_fabric.utilities.data import AttributeDict

from avloc.core.descriptions import ClipInputFormat, ExtractorDescription, TrainingContext
from avloc.errors import CheckpointError
from avloc.models import build_model, load_published
from avloc.models.batfd.published import convert_state, load_network, read_published
from avloc.models.checkpoint import write_checkpoint

DATA = Path(__file__).parents[2] / "data" / "batfd"
NAMES = ("batfd", "batfd_plus", "batfd_plus_cbg")
STREAMS = {"fusion": "fused", "v": "video", "a": "audio"}


def read_output(output, name):
    """Return the tensor of an output by its published name."""
    if name in ("start", "end"):
        return getattr(output, name)
    stream, _, rest = name.partition("_")
    stream, rest = STREAMS[stream], rest.removeprefix("cbg_")
    if rest.startswith("bm_map_"):
        return getattr(output, f"{stream}_maps")[:, ("p", "c", "p_c").index(rest.removeprefix("bm_map_"))]
    if rest in ("start", "end"):
        return getattr(output, rest if stream == "fused" else f"{stream}_{rest}")
    tensor = getattr(output, f"{stream}_{ {'bm_map': 'map', 'frame_cla': 'logits', 'features': 'features'}[rest] }")
    return tensor[:, None] if rest == "frame_cla" else tensor


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_published_ones(published, name, monkeypatch):
    """In double precision: the rounding of single differs between processors and numbers of threads, by 1e-5 of its own."""
    fixture = published(name)
    network, converted = convert_state(fixture.state, fixture.settings)
    assert (converted.missing, converted.unexpected) == ([], [])
    network, video, audio = network.double(), fixture.video.double(), fixture.audio.double()
    with torch.inference_mode():
        output = network(video, audio)
    monkeypatch.setattr(network, "forward", lambda *_: output)  # a second pass would take as long
    prediction = network.predict(video, audio)
    for key, expected in fixture.expected.items():
        source = prediction if key.startswith("predict_") else output
        tensor = read_output(source, key.removeprefix("predict_"))
        torch.testing.assert_close(
            tensor.double(), expected.double(), atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize(("name", "tensors", "unused"), [("batfd", 60, 0), ("batfd_plus", 972, 88)])
def test_names_and_shapes_of_the_released_sizes(name, tensors, unused):
    description = json.loads((DATA / f"{name}_default_keys.json").read_text())
    state = {key: torch.zeros(shape) for key, shape in description["state_dict"].items()}
    network, converted = convert_state(state, description["hparams"])
    assert (len(converted.weights), len(converted.left_out)) == (tensors, unused)
    assert (converted.missing, converted.unexpected) == ([], [])
    assert set(converted.weights) == set(network.state_dict())
    assert (network.frames, network.durations, network.width) == (512, 40, 256)


def lightning_checkpoint(fixture, **entries):
    return {
        "epoch": 3,
        "pytorch-lightning_version": "1.7.7",
        "state_dict": fixture.state,
        "hyper_parameters": {**fixture.settings, "learning_rate": 1e-5, "distributed": False},
    } | entries


def test_reads_a_lightning_checkpoint(published, tmp_path):
    fixture = published("batfd")
    settings = AttributeDict(fixture.settings | {"learning_rate": 1e-5})
    torch.save(lightning_checkpoint(fixture, hyper_parameters=settings), tmp_path / "published.ckpt")
    network = load_published(tmp_path / "published.ckpt", decoding="published")
    assert not network.training
    assert (network.sampling, network.decoding) == ("published", "published")
    with torch.inference_mode():
        output = network(fixture.video, fixture.audio)
    torch.testing.assert_close(output.fused_map, fixture.expected["fusion_bm_map"], atol=1e-5, rtol=0)
    same = build_model("BATFD", network.arguments)
    same.load_state_dict(network.state_dict())


def test_errors_name_the_problem(published, tmp_path):
    fixture, path = published("batfd"), tmp_path / "x.ckpt"

    def saved(content):
        torch.save(content, path)
        return path

    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_published(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="want a Lightning checkpoint with state_dict and hyper_parameters"):
        load_published(saved(fixture.state))
    with pytest.raises(CheckpointError, match="neither BA-TFD's nor BA-TFD"):
        load_published(saved(lightning_checkpoint(fixture, state_dict={"a.weight": torch.zeros(2)})))
    incomplete = {k: v for k, v in fixture.state.items() if k != "video_frame_classifier.lr_layer.conv.bias"}
    odd = lightning_checkpoint(fixture, state_dict=incomplete | {"odd.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"1 missing \(video_classifier.bias\), 1 unexpected \(odd.weight\)"):
        load_published(saved(odd))
    _, converted = read_published(saved(odd), strict=False)
    assert "BATFD: 59 tensors" in converted.report()
    wrong = fixture.state | {"fusion.v_attn_block.attn_from_bm.conv.bias": torch.zeros(7)}
    with pytest.raises(CheckpointError, match=r"attn_from_bm.conv.bias is \(7,\), want \(20,\)"):
        load_published(saved(lightning_checkpoint(fixture, state_dict=wrong)))
    for settings, message in (
        ({"a_cla_feature_in": 32}, "must be equal, got 64 and 32"),
        ({"frame_classifier": "mlp"}, "must be lr, got 'mlp'"),
        ({"odd": 1}, "unknown hyper-parameters: odd"),
        ({"v_encoder": "x3d"}, "unknown video encoder 'x3d'"),
        ({"ve_features": [-3, 1, 1, 1]}, "cannot be made from"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_published(saved(lightning_checkpoint(fixture, hyper_parameters={**fixture.settings, **settings})))


def test_load_network_returns_the_fit_of_clips(published, tmp_path):
    fixture = published("batfd")
    torch.save(lightning_checkpoint(fixture), tmp_path / "published.ckpt")
    network, fit = load_network(tmp_path / "published.ckpt")
    assert (network.training, fit) == (False, "pad")
    for context, expected in (
        (TrainingContext(0.04, clips=ClipInputFormat(network.frames, "squeeze")), "squeeze"),
        (TrainingContext(0.04, extractors=(ExtractorDescription("mel", "audio", hop_s=0.01, dim=64),)), "pad"),
    ):
        write_checkpoint(tmp_path / "converted.ckpt", network, context)
        again, fit = load_network(tmp_path / "converted.ckpt")
        assert (again.training, fit) == (False, expected)
        assert torch.equal(again.video_classifier.weight, network.video_classifier.weight)
    with pytest.raises(CheckpointError, match="is one of avloc already, not a released one"):
        load_published(tmp_path / "converted.ckpt")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_network(tmp_path / "none.ckpt")


class Unsafe:
    def __reduce__(self):
        return (print, ("executed",))


def test_reading_a_checkpoint_runs_no_code(published, tmp_path, capsys):
    torch.save(lightning_checkpoint(published("batfd"), callbacks=Unsafe()), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        load_published(tmp_path / "x.ckpt")
    assert "executed" not in capsys.readouterr().out

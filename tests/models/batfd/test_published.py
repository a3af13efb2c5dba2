from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning_fabric.utilities.data import AttributeDict

from avloc.errors import CheckpointError
from avloc.models import build_model, load_published
from avloc.models.batfd.published import convert_state, our_name, read_published

DATA = Path(__file__).parents[2] / "data" / "batfd"
NAMES = ("batfd", "batfd_plus", "batfd_plus_cbg")
STREAMS = {"fusion": "fused", "v": "video", "a": "audio"}


def ours(output, name):
    """What a published output is called here."""
    if name in ("start", "end"):
        return getattr(output, name)
    stream, _, rest = name.partition("_")
    stream, rest = STREAMS[stream], rest.removeprefix("cbg_")
    if rest.startswith("bm_map_"):
        return getattr(output, f"{stream}_maps")[:, ("p", "c", "p_c").index(rest.removeprefix("bm_map_"))]
    if rest in ("start", "end"):
        return getattr(output, rest if stream == "fused" else f"{stream}_{rest}")
    found = getattr(output, f"{stream}_{ {'bm_map': 'map', 'frame_cla': 'logits', 'features': 'features'}[rest] }")
    return found[:, None] if rest == "frame_cla" else found


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_published_ones(published, name):
    given = published(name)
    network, found = convert_state(given.state, given.settings)
    assert (found.missing, found.unexpected) == ([], [])
    with torch.inference_mode():
        output = network(given.video, given.audio)
    predicted = network.predict(given.video, given.audio)
    for key, expected in given.expected.items():
        source = predicted if key.startswith("predict_") else output
        got = ours(source, key.removeprefix("predict_"))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize(("name", "tensors", "unused"), [("batfd", 60, 0), ("batfd_plus", 972, 88)])
def test_names_and_shapes_of_the_released_sizes(name, tensors, unused):
    about = json.loads((DATA / f"{name}_default_keys.json").read_text())
    state = {key: torch.zeros(shape) for key, shape in about["state_dict"].items()}
    network, found = convert_state(state, about["hparams"])
    assert (len(found.weights), len(found.left_out), found.missing, found.unexpected) == (tensors, unused, [], [])
    assert set(found.weights) == set(network.state_dict())
    assert (network.frames, network.durations, network.width) == (512, 40, 256)


def test_every_published_name_has_its_own():
    for name in ("batfd", "batfd_plus_cbg", "batfd_plus"):
        keys = json.loads((DATA / f"{name}.json").read_text())["state_dict"]
        names = [our_name(key) for key in keys]
        assert None not in names
        assert len(set(names)) == len(names)
    assert our_name("video_encoder.block0.0.conv.momentum.x") == "video_encoder.convs.0.momentum.x"
    assert our_name("odd.weight") is None


def lightning_checkpoint(given, **more):
    return {
        "epoch": 3,
        "pytorch-lightning_version": "1.7.7",
        "state_dict": given.state,
        "hyper_parameters": {**given.settings, "learning_rate": 1e-5, "distributed": False},
    } | more


def test_reads_a_lightning_checkpoint(published, tmp_path):
    given = published("batfd")
    settings = AttributeDict(given.settings | {"learning_rate": 1e-5})
    torch.save(lightning_checkpoint(given, hyper_parameters=settings), tmp_path / "published.ckpt")
    network = load_published(tmp_path / "published.ckpt", decoding="published")
    assert not network.training
    assert (network.sampling, network.decoding) == ("published", "published")
    with torch.inference_mode():
        output = network(given.video, given.audio)
    torch.testing.assert_close(output.fused_map, given.expected["fusion_bm_map"], atol=1e-5, rtol=0)
    same = build_model("BATFD", network.arguments)
    same.load_state_dict(network.state_dict())


def test_what_does_not_fit_is_said(published, tmp_path):
    given, path = published("batfd"), tmp_path / "x.ckpt"

    def saved(content):
        torch.save(content, path)
        return path

    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_published(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="want a Lightning checkpoint with state_dict and hyper_parameters"):
        load_published(saved(given.state))
    with pytest.raises(CheckpointError, match="neither BA-TFD's nor BA-TFD"):
        load_published(saved(lightning_checkpoint(given, state_dict={"a.weight": torch.zeros(2)})))
    less = {k: v for k, v in given.state.items() if k != "video_frame_classifier.lr_layer.conv.bias"}
    odd = lightning_checkpoint(given, state_dict=less | {"odd.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"1 missing \(video_classifier.bias\), 1 unexpected \(odd.weight\)"):
        load_published(saved(odd))
    _, found = read_published(saved(odd), strict=False)
    assert "BATFD: 59 tensors" in found.report()
    wrong = given.state | {"fusion.v_attn_block.attn_from_bm.conv.bias": torch.zeros(7)}
    with pytest.raises(CheckpointError, match=r"attn_from_bm.conv.bias is \(7,\), want \(20,\)"):
        load_published(saved(lightning_checkpoint(given, state_dict=wrong)))
    for settings, message in (
        ({"a_cla_feature_in": 32}, "must be equal, got 64 and 32"),
        ({"frame_classifier": "mlp"}, "must be lr, got 'mlp'"),
        ({"odd": 1}, "unknown hyper-parameters: odd"),
        ({"v_encoder": "x3d"}, "unknown video encoder 'x3d'"),
        ({"ve_features": [-3, 1, 1, 1]}, "cannot be made from"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_published(saved(lightning_checkpoint(given, hyper_parameters={**given.settings, **settings})))


class Unsafe:
    def __reduce__(self):
        return (print, ("executed",))


def test_no_code_in_a_checkpoint_is_run(published, tmp_path, capsys):
    torch.save(lightning_checkpoint(published("batfd"), callbacks=Unsafe()), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        load_published(tmp_path / "x.ckpt")
    assert "executed" not in capsys.readouterr().out

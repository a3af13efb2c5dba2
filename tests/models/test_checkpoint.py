from __future__ import annotations

import errno
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avloc.core.calibration import PlattFit
from avloc.core.descriptions import ClipInputFormat, ExtractorDescription, NetworkDescription, TrainingContext
from avloc.errors import CheckpointError
from avloc.models import build_model
from avloc.models import checkpoint as module
from avloc.models.checkpoint import (
    KEY,
    load_weights,
    read_checkpoint,
    read_outline,
    weights_sha256,
    write_checkpoint,
)

SMALL = {"audio_dim": 5, "visual_dim": 7, "width": 8, "heads": 2, "levels": 2}
MEL = ExtractorDescription("logmel", "audio", hop_s=0.01, dim=5, parameters={"bands": 5})
CONTEXT = TrainingContext(0.04, extractors=(MEL,), calibration={"clip": PlattFit(1.5, -0.25, 20, 10)})


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


def test_the_outline_is_read_without_weights(network, tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, network, CONTEXT)
    whole = read_checkpoint(path)
    monkeypatch.setattr(module, "weights_sha256", lambda _: pytest.fail("the weights were read"))
    outline = read_outline(path)
    assert (outline.model, outline.arguments, outline.context) == (whole.model, whole.arguments, whole.context)
    assert outline.weights == {}
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="a damaged checkpoint, it was cut off"):
        read_outline(path)


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
        ("calibration", {"clip": [float("nan"), 0.0]}),
        ("hop_s", 0.0),
        ("hop_s", -0.04),
        ("hop_s", float("nan")),
        ("hop_s", 1e-9),
        ("hop_s", float("inf")),
        ("arguments", {1: 2}),
        ("clips", {"frames": 0, "fit": "pad"}),
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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hop_s", 0.0),
        ("hop_s", float("nan")),
        ("hop_s", 1e-9),
        ("dim", 0),
        ("dim", 1 << 40),
        ("layers", -1),
        ("modality", "smell"),
        ("name", "../../etc"),
        ("name", 3),
        ("start_offset_s", float("inf")),
        ("window_s", "x"),
        ("factory", 7),
    ],
)
def test_forged_descriptions_of_extractors_are_refused(damage, key, value):
    with pytest.raises(
        CheckpointError, match=f"a damaged checkpoint, an extractor's description cannot have {key} "
    ) as error:
        read_checkpoint(damage(extractors=[MEL.to_dict() | {key: value}]))
    assert "\n" not in str(error.value)


def test_a_checkpoint_without_an_input_is_refused(damage):
    with pytest.raises(CheckpointError, match="names no extractors and no format of clips"):
        read_checkpoint(damage(extractors=[]))


def test_changed_weights_are_found(network, tmp_path):
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, network, CONTEXT)
    content = torch.load(path, weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name] += 1e-3
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"x\.ckpt: a damaged checkpoint, its weights do not have their sha256"):
        read_checkpoint(path)
    del content[KEY]["weights_sha256"]  # as earlier releases wrote them
    torch.save(content, path)
    assert read_checkpoint(path).model == "BoundaryTransformer"


def test_the_hash_covers_names_types_shapes_and_values():
    one = {"a": torch.arange(6.0), "b": torch.ones(1)}
    others = [
        {"a": torch.arange(6.0), "c": torch.ones(1)},
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)},
        {"a": torch.arange(6), "b": torch.ones(1)},
        {"a": torch.arange(6.0) + 1e-6, "b": torch.ones(1)},
        {"a": torch.arange(6.0)},
    ]
    assert len({weights_sha256(weights) for weights in (one, *others)}) == 6
    assert weights_sha256(one) == weights_sha256(dict(reversed(one.items())))
    expected = hashlib.sha256(b"a torch.bfloat16 ()\n" + b"\x80\x3f").hexdigest()  # 1 as bfloat16
    assert weights_sha256({"a": torch.tensor(1.0, dtype=torch.bfloat16)}) == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"w": 3}, "its weights 'w' are no tensor"),
        ({3: torch.ones(1)}, "its weights 3 are no tensor"),
        ({"w": torch.ones(1).expand(10**9)}, "its weights w claim to be larger than the file"),
    ],
)
def test_forged_weights_are_refused(damage, weights, message):
    path = damage()
    content = torch.load(path, weights_only=True)
    torch.save(content | {"state_dict": weights}, path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_used(network, tmp_path, value):
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, network, CONTEXT)
    content = torch.load(path, weights_only=True)
    name = next(iter(dict(network.named_parameters())))
    content["state_dict"][f"model.{name}"].fill_(value)
    content[KEY]["weights_sha256"] = weights_sha256(content["state_dict"])
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"x\.ckpt: the weights {name} are not finite numbers"):
        load_weights(network, read_checkpoint(path))
    with torch.no_grad():
        dict(network.named_parameters())[name].fill_(value)
    with pytest.raises(CheckpointError, match=rf"y\.ckpt: the weights {name} are not finite numbers"):
        write_checkpoint(tmp_path / "y.ckpt", network, CONTEXT)
    assert not (tmp_path / "y.ckpt").exists()


def test_a_damaged_checkpoint_names_the_whole_one_beside_it(network, tmp_path):
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    for path in (last, best):
        write_checkpoint(path, network, CONTEXT)
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"last\.ckpt: a damaged checkpoint, .*; .*best\.ckpt beside it is whole"):
        read_checkpoint(last)
    flipped = bytearray(content)
    flipped[content.index(b"data/3") + 200] ^= 1
    last.write_bytes(flipped)
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt: a damaged checkpoint, its part .*best\.ckpt beside it is whole"
    ):
        read_checkpoint(last)
    best.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: a damaged checkpoint") as error:
        read_checkpoint(last)
    assert "best.ckpt" not in str(error.value)


def test_missing_weights_are_named(damage):
    path = damage()
    content = torch.load(path, weights_only=True)
    torch.save(content | {"state_dict": None}, path)
    with pytest.raises(CheckpointError, match="a damaged checkpoint, it holds no weights"):
        read_checkpoint(path)


def test_failed_write_leaves_no_file(network, tmp_path, monkeypatch):
    def fail(path, content):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_checkpoint(tmp_path / "x.ckpt", network, CONTEXT)
    assert list(tmp_path.iterdir()) == []


def test_the_rate_of_streams_is_kept(tmp_path, damage):
    mvit = ExtractorDescription("mvit", "visual", hop_s=0.16, dim=7)
    context = TrainingContext(0.04, extractors=(MEL, mvit), native_rate=True)
    rates = {"audio_rows_per_step": 4.0, "visual_rows_per_step": 0.25}
    write_checkpoint(tmp_path / "x.ckpt", build_model("BoundaryTransformer", SMALL | rates), context)
    assert read_checkpoint(tmp_path / "x.ckpt").context == context
    write_checkpoint(tmp_path / "x.ckpt", build_model("BoundaryTransformer", SMALL), context)
    with pytest.raises(CheckpointError, match="damaged checkpoint, the data have audio_rows_per_step 4, the network"):
        read_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="its entry 'native_rate' is 'yes'"):
        read_checkpoint(damage(native_rate="yes"))


def test_a_checkpoint_names_no_other_file(network, damage):
    """A front end's folder of weights would be opened, and its pickle read, because a file says so."""
    options = {"audio_front_end_options": {"weights": "/somewhere"}}
    with pytest.raises(CheckpointError, match="its audio_front_end_options name a file of weights"):
        read_checkpoint(damage(arguments=dict(network.arguments) | options))
    with pytest.raises(CheckpointError, match="its entry 'visual_front_end_options' is 'x'"):
        read_checkpoint(damage(arguments=dict(network.arguments) | {"visual_front_end_options": "x"}))


DESCRIPTION = NetworkDescription("avloc-both", "3", "2026-11-26", "generated speech", threshold=0.62)


def test_the_description_of_a_release_is_kept_with_the_hash_of_its_weights(network, tmp_path):
    write_checkpoint(tmp_path / "x.ckpt", network, CONTEXT, DESCRIPTION)
    checkpoint = read_checkpoint(tmp_path / "x.ckpt")
    state_dict = {f"model.{name}": value for name, value in network.state_dict().items()}
    assert checkpoint.description == replace(DESCRIPTION, sha256=weights_sha256(state_dict))


def test_another_checkpoint_is_described_by_its_class_and_weights(network, tmp_path):
    write_checkpoint(tmp_path / "x.ckpt", network, CONTEXT)
    description = read_checkpoint(tmp_path / "x.ckpt").description
    assert (description.name, description.threshold, len(description.sha256)) == ("BoundaryTransformer", None, 64)


def test_half_precision_halves_parameters_and_keeps_buffers(network, tmp_path):
    """A batch norm's variance below the smallest number of half precision survives, and the network gets full precision."""

    def with_variance(network):
        network.register_buffer("variance", torch.tensor([1e-9]))
        return network

    write_checkpoint(tmp_path / "half.ckpt", with_variance(network), CONTEXT, half=True)
    checkpoint = read_checkpoint(tmp_path / "half.ckpt")
    parameters = dict(network.named_parameters())
    for name, value in checkpoint.weights.items():
        expected = network.state_dict()[name]
        assert value.dtype == (torch.float16 if name in parameters else torch.float32)
        assert torch.equal(value, expected.to(value.dtype))
    again = with_variance(build_model(checkpoint.model, checkpoint.arguments))
    load_weights(again, checkpoint)
    assert {value.dtype for value in again.parameters()} == {torch.float32}
    assert again.variance.item() == torch.tensor(1e-9).item()
    for name, value in again.named_parameters():
        assert torch.allclose(value, parameters[name], rtol=2**-10, atol=2**-24)


def test_weights_too_large_for_half_precision_are_refused(network, tmp_path):
    with torch.no_grad():
        network.step_heads[0].weight[0, 0] = 70_000.0
    with pytest.raises(CheckpointError, match=r"x\.ckpt: the weights step_heads\.0\.weight are not finite numbers"):
        write_checkpoint(tmp_path / "x.ckpt", network, CONTEXT, half=True)


def test_the_only_stream_is_kept(network, tmp_path):
    write_checkpoint(tmp_path / "x.ckpt", network, replace(CONTEXT, modality="audio"))
    assert read_checkpoint(tmp_path / "x.ckpt").context.modality == "audio"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "smell"}, "its entry 'modality' is 'smell'"),
        ({"modality": "visual"}, "its entry 'modality' is 'visual'"),  # its only extractor is of audio
        ({"network": {"name": "x", "threshold": 7}}, "a network's description cannot have threshold '7'"),
        ({"network": ["x"]}, "a damaged checkpoint"),
        ({"network": {}}, "a network's description lacks its name"),
    ],
)
def test_damaged_identities_are_refused(damage, changes, message):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(damage(**changes))


def test_a_tensor_of_equal_elements_takes_the_room_of_one(network, tmp_path):
    write_checkpoint(tmp_path / "used.ckpt", network, CONTEXT, half=True)
    name, weight = max(network.named_parameters(), key=lambda item: item[1].numel())
    assert weight.numel() > 500
    with torch.no_grad():
        weight.zero_()
    write_checkpoint(tmp_path / "unused.ckpt", network, CONTEXT, half=True)
    used, unused = ((tmp_path / f"{file}.ckpt").stat().st_size for file in ("used", "unused"))
    assert used - unused >= 2 * (weight.numel() - 64)  # but for the padding of an archive
    again = build_model("BoundaryTransformer", SMALL)
    load_weights(again, read_checkpoint(tmp_path / "unused.ckpt"))
    assert torch.equal(again.get_parameter(name), torch.zeros_like(weight))


def test_a_fit_of_an_earlier_checkpoint_has_no_prior(network, tmp_path):
    context = replace(CONTEXT, calibration={"clip": (1.5, -0.25)})
    write_checkpoint(tmp_path / "x.ckpt", network, context)
    fit = read_checkpoint(tmp_path / "x.ckpt").context.calibration["clip"]
    assert (fit, fit.prior) == (PlattFit(1.5, -0.25), None)


@pytest.mark.parametrize(
    "fit", [(1.5,), (1.5, -0.25, 3), (1.5, -0.25, 0, 3), (1.5, -0.25, 2.5, 3), (1.5, float("nan"), 2, 3)]
)
def test_a_fit_of_other_numbers_is_damage(network, tmp_path, fit):
    write_checkpoint(tmp_path / "x.ckpt", network, replace(CONTEXT, calibration={"clip": fit}))
    with pytest.raises(CheckpointError, match="a damaged checkpoint, its entry 'calibration' is"):
        read_checkpoint(tmp_path / "x.ckpt")

"""Checkpoints that were cut, changed or forged are refused with one line, or give finite numbers."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError, CheckpointError
from avloc.inference.localizer import Localizer
from avloc.io.weights import load_file
from avloc.models.checkpoint import KEY, read_checkpoint, weights_sha256


def extractor(**changes):
    """Make a forgery that changes the description of the first extractor."""
    return lambda entry: entry["extractors"][0].update(changes)


def entry(**changes):
    """Make a forgery that changes entries of avloc."""
    return lambda values: values.update(changes)


def arguments(**changes):
    """Make a forgery that changes arguments of the network."""
    return lambda values: values["arguments"].update(changes)


FORGED = {
    "hop 0": entry(hop_s=0.0),
    "hop NaN": entry(hop_s=float("nan")),
    "hop infinite": entry(hop_s=float("inf")),
    "hop of a nanosecond": entry(hop_s=1e-9),
    "hop of an hour": entry(hop_s=3600.0),
    "hop negative": entry(hop_s=-0.04),
    "hop a text": entry(hop_s="0.04"),
    "hop true": entry(hop_s=True),
    "no extractors": entry(extractors=[]),
    "extractors a dictionary": entry(extractors={}),
    "extractors of numbers": entry(extractors=[1, 2]),
    "one extractor": lambda values: values["extractors"].pop(),
    "one twice": lambda values: values["extractors"].__setitem__(1, values["extractors"][0]),
    "extractor with a path": extractor(name="../../etc"),
    "extractor unknown": extractor(name="nothing"),
    "extractor of the system": extractor(factory="os.system"),
    "extractor of a dot": extractor(factory=".x"),
    "extractor's arguments": extractor(parameters={"hop_s": 0}),
    "extractor's numbered arguments": extractor(parameters={1: 2}),
    "extractor's window of a day": extractor(parameters={"n_fft": 10**9}),
    "extractor's hop": extractor(hop_s=0.0),
    "extractor's width": extractor(dim=1 << 40),
    "extractor's version": extractor(version=99),
    "extractor's modality": extractor(modality="visual"),
    "extractor's start": extractor(start_offset_s=float("nan")),
    "network of the system": entry(model="os.system"),
    "network a number": entry(model=3),
    "no arguments": entry(arguments={}),
    "arguments a list": entry(arguments=[1]),
    "width negative": arguments(width=-1),
    "width enormous": arguments(width=10**7, heads=1),
    "width a text": arguments(width="x"),
    "no heads": arguments(heads=0),
    "first steps NaN": arguments(first_steps=float("nan")),
    "a million levels": arguments(levels=10**6),
    "a million layers": arguments(stem_layers=10**6),
    "clips beside extractors": entry(clips={"frames": 12, "fit": "pad"}),
    "calibration infinite": entry(calibration={"clip": (float("inf"), 0.0)}),
    "calibration a number": entry(calibration=3),
    "another version": entry(version=2),
    "no entry": lambda values: values.clear(),
}


def refusal(path):
    """The one-line error of using a checkpoint."""
    with pytest.raises(AvlocError) as error:
        Localizer.from_checkpoint(path).source.prepare()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", FORGED)
def test_forged_checkpoints_are_refused(tiny_checkpoint, tiny_set, tmp_path, kind):
    content = copy.deepcopy(load_file(tiny_checkpoint))
    FORGED[kind](content[KEY])
    torch.save(content, tmp_path / "x.ckpt")
    if kind in ("one extractor", "one twice"):  # each can be built; together they are no input
        with pytest.raises(AvlocError, match="needs visual features"):
            Localizer.from_checkpoint(tmp_path / "x.ckpt").localize(next(tiny_set.rglob("*.mp4")))
    else:
        assert refusal(tmp_path / "x.ckpt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny_checkpoint, tmp_path, value):
    content = load_file(tiny_checkpoint)
    next(iter(content["state_dict"].values())).view(-1)[0] = value
    content[KEY]["weights_sha256"] = weights_sha256(content["state_dict"])
    torch.save(content, tmp_path / "x.ckpt")
    assert "are not finite numbers" in refusal(tmp_path / "x.ckpt")


def damage_at_random(path, count, seed):
    """Change and cut a checkpoint; a file that is read must hold the very weights."""
    whole, numbers = path.read_bytes(), random.Random(seed)
    expected = {name: value.numpy() for name, value in read_checkpoint(path).weights.items()}
    refused = 0
    for _ in range(count):
        changed = bytearray(whole)
        if numbers.random() < 0.3:
            del changed[numbers.randrange(len(changed)) :]
        else:
            changed[numbers.randrange(len(changed))] ^= 1 << numbers.randrange(8)
        path.write_bytes(changed)
        try:
            weights = read_checkpoint(path).weights
        except CheckpointError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        assert weights.keys() == expected.keys()
        assert all(np.array_equal(weights[name].numpy(), value) for name, value in expected.items())
    print(f"{count} damaged checkpoints: {refused} refused, {count - refused} without effect on the weights")
    return refused


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(tiny_checkpoint.read_bytes())
    return path


def test_checkpoints_changed_at_random(checkpoint):
    assert damage_at_random(checkpoint, 30, seed=0) > 15


@pytest.mark.slow
def test_a_thousand_checkpoints_changed_at_random(checkpoint):
    assert damage_at_random(checkpoint, 1000, seed=1) > 500

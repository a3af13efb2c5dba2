from __future__ import annotations

import hashlib

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.packaged import packaged_checkpoint, packaged_description


def test_a_checkpoint_of_the_package(describe):
    path = packaged_checkpoint("audio")
    description, facts = describe(path, "checkpoint")
    network = packaged_description("audio")
    assert facts["Trained on"] == network.scope
    assert facts["Network"] == f"{network.name} {network.version} (a BoundaryTransformer)"
    assert facts["SHA-256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["Streams"] == "audio"
    assert facts["Calibration"].startswith("on ")
    assert f"{network.threshold:g}" in facts["Threshold"]
    state = torch.load(path, weights_only=True)["state_dict"]
    assert description.values["parameters"] == sum(value.numel() for value in state.values())
    assert description.commands[0] == f"avloc localize CLIP.mp4 --checkpoint {path} --out timelines"


def test_names_of_a_network_of_both_streams(describe):
    share = packaged_description("both").modality_share
    _, facts = describe(packaged_checkpoint("both"), "checkpoint")
    assert facts["Names"] == f"both if the weaker modality has at least {share:g} of the stronger one’s score"
    _, facts = describe(packaged_checkpoint("audio"), "checkpoint")
    assert not facts.get("Names")


def test_a_checkpoint_of_your_own_network_names_its_class_and_weights(small_checkpoint, describe, tmp_path):
    content = torch.load(small_checkpoint, weights_only=True)
    content["avloc"]["model"] = "MyNet"
    content["avloc"]["extractors"][0]["weights_sha256"] = "ab"
    torch.save(content, tmp_path / "mine.ckpt")
    description, facts = describe(tmp_path / "mine.ckpt", "checkpoint")
    name = content["avloc"]["extractors"][0]["name"]
    assert facts["Trained on"] == "unknown: the checkpoint does not tell"
    assert f" --network MY_PACKAGE.MyNet --weights {name}=FILE " in description.commands[0]


@pytest.mark.parametrize("keys", [("state_dict", "hyper_parameters"), ("weight",)])
def test_a_file_of_torch_is_none_of_avloc(describe, tmp_path, keys):
    value = torch.zeros(3, 5)
    content = {key: {"weight": value} if key == "state_dict" else value for key in keys}
    torch.save(content, tmp_path / "other.pt")
    description, facts = describe(tmp_path / "other.pt", "checkpoint")
    assert description.title == "file of torch, no checkpoint of avloc"
    assert (facts["Parameters"], facts["Content"]) == ("15", ", ".join(keys))
    assert any("avloc convert" in command for command in description.commands) == (len(keys) == 2)


def test_a_damaged_checkpoint_is_named(describe, write):
    with pytest.raises(AvlocError, match=r"best\.ckpt: not a checkpoint"):
        describe(write("best.ckpt", "no weights"), "checkpoint")


def test_a_training_run(describe, write, tmp_path):
    data = {"class_path": "avloc.datasets.FeatureData", "init_args": {"dataset": "lavdf", "root": "R", "store": "a b"}}
    model = {"model": {"class_path": "avloc.models.BATFD"}}
    write("run/run.json", {"data": data, "model": model})
    (tmp_path / "run" / "checkpoints").mkdir()
    description, facts = describe(tmp_path / "run", "run")
    assert (facts["Network"], facts["Dataset"], facts["Checkpoints"]) == ("BATFD", "lavdf R", "none yet")
    assert not description.commands
    best = write("run/checkpoints/best.ckpt", "xyz")
    description, facts = describe(tmp_path / "run", "run")
    assert facts["Checkpoints"] == "best.ckpt (3 B)"
    assert description.commands[1] == (
        f"avloc predict --checkpoint {best} --dataset lavdf --root R --store 'a b' --split test --out predictions.json"
    )
    write("run/run.json", {"data": 3})
    with pytest.raises(AvlocError, match=r"run\.json: not the configuration of a training, it has no data"):
        describe(tmp_path / "run", "run")

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from pytorch_lightning.utilities.parsing import AttributeDict

from avloc.errors import CheckpointError
from avloc.io.weights import load_file


def test_tensors_and_plain_values_come_back(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"weights": {"x": torch.arange(3)}, "name": "n", "steps": [1, None]}, path)
    for content in (load_file(path), load_file(str(path))):
        assert content["weights"]["x"].tolist() == [0, 1, 2]
        assert (content["name"], content["steps"]) == ("n", [1, None])


def test_dictionaries_of_lightning_become_plain_ones(tmp_path):
    torch.save({"hyper_parameters": AttributeDict(width=5)}, tmp_path / "a.ckpt")
    parameters = load_file(tmp_path / "a.ckpt")["hyper_parameters"]
    assert parameters == {"width": 5}
    assert type(parameters) is dict


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"x": Harmful(tmp_path / "touched")}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: not a checkpoint \(.* holds more than tensors"):
        load_file(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Harmful(tmp_path / "touched")))
    with pytest.raises(CheckpointError, match=r"b\.ckpt: not a checkpoint"):
        load_file(tmp_path / "b.ckpt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut"])
def test_files_of_another_format(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.ckpt: not a checkpoint"):
        load_file(tmp_path / "x.ckpt")


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            load_file(path)

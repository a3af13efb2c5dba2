from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.io.pretrained import quiet_transformers, read_pretrained, weight_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("weights")
    return tmp_path


def test_safetensors_come_before_pickles(folder):
    (folder / "pytorch_model.bin").write_text("pickle")
    (folder / "other.safetensors").write_text("no weights of the model")
    assert weight_files(folder) == [folder / "model.safetensors"]
    (folder / "model.safetensors").unlink()
    assert weight_files(folder) == [folder / "pytorch_model.bin"]


class FakeModel:
    """Records the arguments that it is read with, and says that a tensor is missing."""

    arguments: dict

    @classmethod
    def from_pretrained(cls, folder, **arguments):
        cls.arguments = arguments
        return torch.nn.Linear(2, 2), {"missing_keys": ["mask", "weight"]}


def test_reading_is_local_and_runs_no_code_of_a_file(folder):
    """Which files are read is decided here, not by what transformers finds."""
    for name, from_tensors in (("model.safetensors", True), ("pytorch_model.bin", False)):
        (folder / name).write_text("weights")
        assert read_pretrained(FakeModel, folder, "it", unused=("mask", "weight"), config=7).in_features == 2
        expected = {"local_files_only": True, "weights_only": True, "use_safetensors": from_tensors, "config": 7}
        assert FakeModel.arguments == expected | {"output_loading_info": True}
        (folder / "model.safetensors").unlink(missing_ok=True)


def test_missing_tensors_are_named(folder):
    with pytest.raises(AvlocError, match="not weights of a lamp, they lack weight$"):
        read_pretrained(FakeModel, folder, "a lamp", unused=("mask",))


def test_transformers_speaks_again_afterwards():
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet_transformers():
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.ERROR, False)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before

from __future__ import annotations

import os

import pytest
import torch

from avloc.io.weights import load_file
from avloc.training.checkpoint_io import WholeCheckpointIO


def test_a_checkpoint_replaces_the_earlier_one_whole(tmp_path):
    plugin, path = WholeCheckpointIO(), tmp_path / "run" / "last.ckpt"
    for epoch in range(2):
        plugin.save_checkpoint({"epoch": epoch, "weights": torch.arange(3)}, path)
    assert load_file(path)["epoch"] == 1
    assert plugin.load_checkpoint(path, weights_only=True)["epoch"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_no_other_folder_is_used(tmp_path, monkeypatch):
    """The folder for temporary files may be another file system, from which nothing can be renamed."""
    opened = []
    real = os.rename

    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr(
        os, "replace", lambda a, b: (opened.append((os.path.dirname(a), os.path.dirname(b))), real(a, b))
    )
    WholeCheckpointIO().save_checkpoint({"epoch": 1}, tmp_path / "last.ckpt")
    assert opened == [(str(tmp_path), str(tmp_path))]


def test_an_interrupted_write_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    plugin, path = WholeCheckpointIO(), tmp_path / "last.ckpt"
    plugin.save_checkpoint({"epoch": 0}, path)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        plugin.save_checkpoint({"epoch": 1}, path)
    assert load_file(path)["epoch"] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]

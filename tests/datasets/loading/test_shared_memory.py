from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch

from avloc.datasets.loading import shared_memory
from avloc.datasets.loading.batch import Batch, FeatureInputs
from avloc.datasets.loading.shared_memory import SharedCollate, check_shared_memory, share
from avloc.errors import AvlocError


def batch(clips=2):
    values = torch.ones(clips, 5, 3)
    mask = torch.ones(clips, 5, dtype=torch.bool)
    return Batch(FeatureInputs(values, values.clone(), mask, mask.clone()), [], [], None, 0)


def test_a_batch_is_shared_in_a_worker_only(monkeypatch):
    collate = SharedCollate(lambda examples: batch(len(examples)))
    assert not collate([1, 2, 3]).inputs.audio.is_shared()
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: SimpleNamespace(id=0))
    shared = collate([1, 2, 3])
    assert shared.inputs.audio.shape == (3, 5, 3)
    assert all(tensor.is_shared() for tensor in shared.inputs)


def test_targets_are_shared_too():
    both = batch()._replace(targets=FeatureInputs(*(torch.ones(2) for _ in range(4))))
    share(both)
    assert both.targets.audio.is_shared()


def test_full_shared_memory_is_one_line(monkeypatch):
    def fail(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: Success (0)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", fail)
    with pytest.raises(
        AvlocError, match=r"/dev/shm: no room in the shared memory for a batch of 260 B.*--shm-size"
    ) as error:
        share(batch())
    assert "\n" not in str(error.value)


def test_workers_need_some_room_for_their_queues(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory, "FOLDER", str(tmp_path))
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=500, f_frsize=4096))  # 2 MB
    check_shared_memory(0)
    check_shared_memory(1)
    with pytest.raises(AvlocError, match=r"no room in the shared memory, 2\.0 MB are free"):
        check_shared_memory(2)
    monkeypatch.setattr(shared_memory, "FOLDER", str(tmp_path / "none"))  # another system
    check_shared_memory(2)

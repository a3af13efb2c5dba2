from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from avloc.datasets.loading.clip_data import ClipData
from avloc.errors import AvlocError


def test_the_scope_names_the_data_set_and_the_split_for_the_checkpoint(tiny_set):
    assert ClipData(dataset="lavdf", root=str(tiny_set), frames=20).scope == "the split train of lavdf"
    other = ClipData(dataset="lavdf", root=str(tiny_set), frames=20, train_split="dev")
    assert other.scope == "the split dev of lavdf"


def test_progress_within_an_epoch_is_resumed(tiny_set, tiny_store, attach_network, feature_data):
    data = feature_data(tiny_set, tiny_store, batch_size=1)
    files = [batch.records[0].file for batch in data.train_dataloader()]
    attach_network(data)
    data.trainer.current_epoch = 0
    progress = SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(completed=2)))
    data.trainer.fit_loop = SimpleNamespace(epoch_loop=progress)
    assert data.state_dict() == {"epoch": 0, "batches": 2}
    resumed = feature_data(tiny_set, tiny_store, batch_size=1)
    resumed.load_state_dict(data.state_dict())
    assert [batch.records[0].file for batch in resumed.train_dataloader()] == files[2:]


def test_shuffled_labels_move_between_training_clips_only(tiny_set, tiny_store, feature_data):
    plain, shuffled = (feature_data(tiny_set, tiny_store, shuffle_labels=shuffle) for shuffle in (False, True))
    assert shuffled.split("dev").records[0] == plain.split("dev").records[0]
    order = np.random.default_rng(0).permutation(3)
    records = list(plain.split("train").records)
    labels = [record.segments for record in shuffled._records("train", training=True)]
    assert labels == [records[k].segments for k in order]


def test_wrong_settings():
    with pytest.raises(AvlocError, match="want batch_size ≥ 1 and workers ≥ 0, got 0 and 0"):
        ClipData(dataset="lavdf", root=".", batch_size=0)
    with pytest.raises(AvlocError, match="want balance of none, real, modality, got 'x'"):
        ClipData(dataset="lavdf", root=".", balance="x")

from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.motion.flow_grid import pool_flow
from avloc.feature_extraction.extractors.motion.raft import RAFT


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), dtype=np.uint8)


def test_rows_are_the_networks_flow_from_each_frame_before(frames, one_thread):
    extractor = RAFT(random=True, size=128, cells=4, updates=1, batch=2)
    (rows,) = extractor.rows([frames])
    assert rows.shape == (4, 48)
    assert not rows[0].any()
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        flow = extractor.network(pictures[1:2], pictures[2:3], num_flow_updates=1)[-1]
    np.testing.assert_allclose(rows[2], pool_flow(flow.permute(0, 2, 3, 1).numpy(), 4)[0], atol=1e-4)
    assert extractor.rows([frames[:1], frames[:0]])[0].shape == (1, 48)
    assert extractor.rows([frames[:0]])[0].shape == (0, 48)


def test_weights_are_torchvisions(frames, tmp_path, one_thread):
    network = RAFT(random=True, size=128).network
    torch.save(network.state_dict(), tmp_path / "raft.pth")
    extractor = RAFT(weights=str(tmp_path / "raft.pth"), size=128, updates=1)
    (rows,) = extractor.rows([frames[:2]])
    (expected,) = RAFT(random=True, size=128, updates=1).rows([frames[:2]])
    np.testing.assert_array_equal(rows, expected)
    with pytest.raises(AvlocError, match="not a state dict of torchvision's raft_large"):
        RAFT(weights=str(tmp_path / "raft.pth"), kind="large", size=128).load()
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(AvlocError, match=r"other\.pth: not a state dict of torchvision's raft_small"):
        RAFT(weights=str(tmp_path / "other.pth")).load()


def test_arguments_out_of_range(tmp_path):
    with pytest.raises(AvlocError, match="raft needs a local weights file"):
        RAFT()
    with pytest.raises(AvlocError, match="raft: size must be a multiple of cells and of 8 from 128 to 1024, got"):
        RAFT(random=True, size=64)
    with pytest.raises(AvlocError, match="updates and batch must be at least 1, got 0, 8"):
        RAFT(random=True, updates=0)
    with pytest.raises(AvlocError, match="extractor raft: kind must be one of small, large, got 'huge'"):
        RAFT(random=True, kind="huge")

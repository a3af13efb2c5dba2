from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.network import LocalWeights, NetworkExtractor, require_device


class Linear(NetworkExtractor):
    """A linear map of 10 ms of sound."""

    name, modality, hop_s, dim, receptive_field_s = "linear", "audio", 0.01, 2, 0.01

    def _load(self):
        torch.manual_seed(0)
        return torch.nn.Linear(160, 2)

    def rows(self, streams):
        with self.running():
            inputs = [self.on_device(torch.from_numpy(s.reshape(-1, 160))) for s in streams]
            return [self.network(data).float().numpy() for data in inputs]


class Weighted(LocalWeights, Linear):
    """The same of a file."""

    name = "weighted"


def test_network_is_loaded_on_first_use_for_inference_only():
    extractor = Linear()
    assert "network" not in vars(extractor)
    extractor.load()
    assert not extractor.network.training
    assert not any(p.requires_grad for p in extractor.network.parameters())


def test_network_loaded_within_its_first_pass_can_still_move_to_another_device():
    extractor = Linear()
    extractor.rows([np.zeros(160, np.float32)])
    assert not any(p.is_inference() for p in extractor.network.parameters())


def test_pulse_comes_after_each_pass():
    extractor, pulses = Linear(), []
    extractor.pulse = lambda: pulses.append(1)
    extractor.rows([np.zeros(320, np.float32)])
    extractor.rows([np.zeros(160, np.float32)])
    assert len(pulses) == 2


def test_precision_changes_numbers_and_description():
    samples = np.random.default_rng(0).normal(0, 1, 160 * 7).astype(np.float32)
    extractor = Linear()
    full, description = extractor.rows([samples])[0], extractor.describe()
    assert description.precision == "32"
    extractor.to("cpu", "bf16")
    mixed = extractor.rows([samples])[0]
    np.testing.assert_allclose(mixed, full, atol=0.05)
    assert (mixed != full).any()
    assert extractor.describe().precision == "bf16"
    assert extractor.describe().first_difference(description) == "precision"


def test_unknown_device_or_precision():
    with pytest.raises(AvlocError, match="the precision must be one of 32, bf16, 16, got '8'"):
        Linear().to("cpu", "8")
    with pytest.raises(AvlocError, match="device 'toaster' cannot be used here"):
        Linear().to("toaster")


def test_weights_come_from_a_file_or_are_random_on_request(tmp_path):
    with pytest.raises(AvlocError, match="weighted needs a local weights file"):
        Weighted(None)
    (tmp_path / "w.pth").write_bytes(b"abc")
    with pytest.raises(AvlocError, match="weighted needs a local weights file"):
        Weighted(str(tmp_path / "w.pth"), random=True)
    with pytest.raises(AvlocError, match=r"none\.pth: no such weights file for weighted"):
        Weighted(str(tmp_path / "none.pth"))
    assert Weighted(str(tmp_path / "w.pth")).weights_sha256() == hashlib.sha256(b"abc").hexdigest()
    assert Weighted(None, random=True).weights_sha256() is None


def test_the_cpu_can_always_be_used():
    assert require_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["warp", "gpu", "", "cuda:x"])
def test_unknown_devices_are_named_with_those_that_exist(device):
    message = f"device '{device}' cannot be used here: unknown, want cpu, cuda, or one of several GPUs as cuda:1"
    with pytest.raises(AvlocError, match=message):
        require_device(device)


def test_a_gpu_that_is_missing_is_one_line(monkeypatch):
    def zeros(count, device):
        raise RuntimeError("Found no NVIDIA driver on your system. Please check\nthat you have one")

    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(AvlocError) as error:
        require_device("cuda:3")
    assert str(error.value) == (
        "device 'cuda:3' cannot be used here: Found no NVIDIA driver on your system; want cpu, cuda, or one of several GPUs as "
        "cuda:1"
    )

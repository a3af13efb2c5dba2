from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.io.devices import require_device


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

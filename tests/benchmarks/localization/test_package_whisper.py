from __future__ import annotations

import numpy as np
import torch


def test_the_file_has_the_beginning_of_the_encoder(tmp_path, monkeypatch):
    import package_whisper

    from avloc.models.whisper import network as module
    from avloc.models.whisper.four_bits import unpack

    monkeypatch.setattr(module, "LAYERS", 1)
    torch.manual_seed(0)
    network = module.EarlyLayers()
    weights = {f"encoder.{name}": values.contiguous() for name, values in network.state_dict().items()}
    folder = tmp_path / "cache" / "whisper-base"
    folder.mkdir(parents=True)
    from safetensors.torch import save_file

    save_file({**weights, "decoder.layers.0.fc1.weight": torch.ones(3)}, folder / "model.safetensors")
    files = [tmp_path / name for name in ("a.npz", "b.npz")]
    for file in files:
        package_whisper.main(["--cache", str(tmp_path / "cache"), "--file", str(file)])
    assert files[0].read_bytes() == files[1].read_bytes()
    with np.load(files[0]) as packed:
        back = module.build_encoder(unpack(packed)).state_dict()
    assert [*back] == [*network.state_dict()]
    for name, values in network.state_dict().items():
        assert (
            torch.allclose(back[name], values, atol=2e-3, rtol=2e-3)
            or (back[name] - values).std() < 0.12 * values.std()
        )

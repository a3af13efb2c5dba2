from __future__ import annotations

import numpy as np

from avloc.errors import AvlocError


def test_missing_methods_are_left_out_with_a_line_each(tmp_path, monkeypatch):
    from forging import sound_forgers

    def fail(*arguments):
        raise AvlocError("no package")

    monkeypatch.setattr(sound_forgers, "WEIGHTS", tmp_path)
    for name in ("flite_bank", "kokoro_bank"):
        monkeypatch.setattr(sound_forgers, name, fail)
    monkeypatch.setattr(sound_forgers.Codec2, "fetch", fail)
    lines = []
    forgers = sound_forgers.load_forgers(tmp_path / "cache", lines.append)
    assert [*forgers] == ["mel-griffin-lim", "lpc", "band-replication", "opus", "spectral-vocoder"]
    assert [line.split()[1] for line in lines] == [
        "codec2",
        "flite",
        "kokoro",
        "transposed-vocoder",
    ]
    assert lines[0] == "forger codec2 is left out: no package"


def test_present_methods_are_functions_of_samples(tmp_path, monkeypatch):
    from forging import sound_forgers, vocoders

    monkeypatch.setattr(sound_forgers, "WEIGHTS", tmp_path)
    network, file = vocoders.VOCODERS["transposed"]
    vocoders.save_weights(network(), tmp_path / file)
    for name in ("flite_bank", "kokoro_bank"):
        monkeypatch.setattr(sound_forgers, name, lambda cache: np.flip)
    monkeypatch.setattr(sound_forgers.Codec2, "fetch", lambda cache: np.flip)
    lines = []
    forgers = sound_forgers.load_forgers(tmp_path / "cache", lines.append)
    samples = np.random.default_rng(0).normal(0, 0.05, 3300).astype(np.float32)
    assert not lines
    assert len(forgers) == 9
    for forge in forgers.values():
        assert forge(samples).shape == samples.shape

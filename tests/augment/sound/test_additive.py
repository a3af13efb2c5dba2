from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.augment.sound.additive import Babble, Music, Noise, add_at_snr
from avloc.augment.sound.synthesis import COLORS
from avloc.errors import AvlocError

AUGMENTATIONS = [*(Noise(color=color) for color in COLORS), Music(), Babble(), Babble(voices=1)]


def snr_db(clean, noisy):
    """REFERENCE: the mean power of the clip over that of the difference."""
    clean, noisy = clean.astype(np.float64), noisy.astype(np.float64)
    return 10 * np.log10((clean**2).mean() / ((noisy - clean) ** 2).mean())


@pytest.fixture(scope="module")
def musan(tmp_path_factory):
    """MUSAN's layout: each kind is a tone of its own, at another rate; one noise is silent."""
    root = tmp_path_factory.mktemp("musan")
    for kind, place, tone_hz, rate in (
        ("noise", "free-sound", 500, 16_000),
        ("music", "fma", 1000, 22_050),
        ("speech", "librivox", 2000, 8000),
    ):
        folder = root / kind / place
        folder.mkdir(parents=True)
        tone = 0.3 * np.sin(2 * np.pi * tone_hz * np.arange(2 * rate) / rate)
        soundfile.write(folder / f"{kind}-0000.wav", tone, rate)
    soundfile.write(root / "noise" / "free-sound" / "noise-0001.wav", np.zeros(16_000), 16_000)
    return root


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=repr)
@pytest.mark.parametrize("wanted_db", [-5, 0, 12.5, 40])
def test_the_ratio_measured_back(augmentation, wanted_db, speech):
    noise = type(augmentation)(**{"snr_db": wanted_db, **_others(augmentation)})
    assert snr_db(speech, noise(np.random.default_rng(3), speech)) == pytest.approx(wanted_db, abs=0.1)


def _others(augmentation):
    return {name: getattr(augmentation, name) for name in ("color", "voices") if hasattr(augmentation, name)}


@settings(deadline=None, max_examples=40)
@given(wanted_db=st.floats(-10, 60), length=st.integers(1, 3000), seed=st.integers(0, 2**32))
def test_the_ratio_of_any_length(wanted_db, length, seed):
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 0.1, length).astype(np.float32)
    noisy = Noise(snr_db=wanted_db, color="pink")(rng, samples)
    assert snr_db(samples, noisy) == pytest.approx(wanted_db, abs=0.1)


def test_half_the_level_is_6_db_more(speech):
    noisy = Noise(snr_db=10, level=0.5)(np.random.default_rng(3), speech)
    assert snr_db(speech, noisy) == pytest.approx(10 + 20 * np.log10(2), abs=0.1)


@pytest.mark.parametrize(("augmentation", "tone_hz"), [(Noise, 500), (Music, 1000), (Babble, 2000)])
def test_a_folder_of_musan_gives_its_kind(augmentation, tone_hz, musan, speech):
    noisy = augmentation(snr_db=7, folder=str(musan))(np.random.default_rng(3), speech)
    assert snr_db(speech, noisy) == pytest.approx(7, abs=0.1)
    spectrum = np.abs(np.fft.rfft(noisy - speech))
    assert np.argmax(spectrum) * 16_000 / len(speech) == pytest.approx(tone_hz, abs=2)


@pytest.mark.parametrize("augmentation", [Noise, Music, Babble])
def test_a_folder_without_recordings_is_refused_at_once(augmentation, tmp_path):
    with pytest.raises(AvlocError, match="no recordings"):
        augmentation(folder=str(tmp_path))
    with pytest.raises(AvlocError, match="no such folder of recordings"):
        augmentation(folder=str(tmp_path / "none"))


def test_silent_noise_has_no_ratio():
    with pytest.raises(ValueError, match="silent noise"):
        add_at_snr(np.ones(3, np.float32), np.zeros(3), 10)

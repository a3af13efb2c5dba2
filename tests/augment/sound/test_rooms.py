from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.augment.sound.rooms import Room, direct_sample, reverberate, simulate_response
from avloc.errors import AvlocError


@settings(deadline=None, max_examples=30)
@given(
    delay=st.integers(0, 300),
    tail=st.integers(0, 50),
    gain=st.sampled_from([-2.0, 0.01, 1.0, 7.0]),
    seed=st.integers(0, 99),
)
def test_a_unit_impulse_is_the_identity_at_any_delay_and_gain(delay, tail, gain, seed):
    samples = np.random.default_rng(seed).normal(0, 0.1, 500).astype(np.float32)
    response = np.zeros(delay + 1 + tail)
    response[delay] = gain
    assert reverberate(samples, response) == pytest.approx(samples, abs=1e-6)


def test_a_recorded_unit_impulse_is_the_identity(tmp_path, speech):
    impulse = np.zeros(900)
    impulse[441] = 0.5
    soundfile.write(tmp_path / "impulse.wav", impulse, 16_000)
    assert Room(folder=str(tmp_path))(np.random.default_rng(1), speech) == pytest.approx(speech, abs=1e-6)


def _reference_convolution(samples, response, direct):
    return np.array(
        [
            sum(
                samples[n + direct - k] * response[k]
                for k in range(len(response))
                if 0 <= n + direct - k < len(samples)
            )
            for n in range(len(samples))
        ]
    )


def test_echoes_are_those_of_the_response():
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 1, 40).astype(np.float32)
    response = np.array([0, 0.05, 1, 0.3, 0, -0.2])
    wet = _reference_convolution(samples, response, direct=2)
    expected = wet * np.sqrt((samples**2).mean() / (wet**2).mean())
    assert reverberate(samples, response) == pytest.approx(expected, abs=1e-5)


def test_loudness_stays(speech):
    for direct_db in (20, 5, -10):
        wet = Room(reverberation_s=0.8, direct_db=direct_db)(np.random.default_rng(1), speech)
        assert np.mean(wet**2) == pytest.approx(np.mean(speech**2), rel=1e-4)


@pytest.mark.parametrize("reverberation_s", [0.2, 0.6, 1.1])
def test_the_decay_measured_back(reverberation_s):
    """By Schroeder's integral, from −5 to −35 dB."""
    response = simulate_response(np.random.default_rng(2), reverberation_s, -10)
    decay_db = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / (response**2).sum())
    places = np.flatnonzero((decay_db < -5) & (decay_db > -35))
    slope = np.polyfit(places / 16_000, decay_db[places], 1)[0]
    assert -60 / slope == pytest.approx(reverberation_s, rel=0.1)


@pytest.mark.parametrize("direct_db", [-6, 0, 15])
def test_the_direct_sound_measured_back(direct_db):
    response = simulate_response(np.random.default_rng(2), 0.4, direct_db)
    assert response[0] == 1
    assert not response[1:32].any()
    assert 10 * np.log10(1 / (response[1:] ** 2).sum()) == pytest.approx(direct_db, abs=1e-6)


def test_the_direct_sound_comes_before_louder_echoes():
    response = np.zeros(2000)
    response[100], response[102], response[900] = 0.3, -0.5, 1.0
    assert direct_sample(response) == 102
    response += np.random.default_rng(1).normal(0, 0.01, 2000)  # the noise of a recording
    assert direct_sample(response) == 102


def test_a_folder_of_responses_that_is_wrong_is_refused_at_once(tmp_path):
    with pytest.raises(AvlocError, match="no recordings"):
        Room(folder=str(tmp_path))


def test_a_response_of_another_rate_keeps_its_delay(tmp_path, speech):
    impulse = np.zeros(4800)
    impulse[1200] = 0.9
    soundfile.write(tmp_path / "impulse.wav", impulse, 48_000)
    wet = Room(folder=str(tmp_path))(np.random.default_rng(1), speech)
    correlation = [np.dot(np.roll(wet, shift), speech) for shift in (-1, 0, 1)]
    assert np.argmax(correlation) == 1

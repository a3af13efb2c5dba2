from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate

from avloc.augment.sound import codecs
from avloc.augment.sound.codecs import CODECS, SoundCodec, available_codecs, codec_delay, transcode
from avloc.errors import AvlocError

EACH = [(name, bit_rate) for name in available_codecs() for bit_rate in CODECS[name].bit_rates]


def test_pyav_has_the_codecs_of_media_and_telephones():
    assert set(available_codecs()) >= {"opus", "mp3", "aac", "g722", "g726", "alaw", "mulaw", "adpcm"}


@pytest.mark.parametrize(("codec", "bit_rate"), EACH)
def test_nothing_moves_by_more_than_a_millisecond(codec, bit_rate, speech):
    """By correlation with recorded speech that the codec's delay was not measured on, in each half and as a whole."""
    coded = transcode(speech, codec, bit_rate)
    assert coded.shape == speech.shape
    half = len(speech) // 2
    for part in (slice(None), slice(0, half), slice(half, None)):
        original, decoded = speech[part].astype(np.float64), coded[part].astype(np.float64)
        lag = int(np.argmax(correlate(decoded, original, method="fft"))) - (len(original) - 1)
        assert abs(lag) <= 16


@pytest.mark.parametrize(("codec", "bit_rate"), EACH)
def test_a_burst_starts_and_ends_in_its_place(codec, bit_rate):
    """Of noise in the band of all codecs: three quarters of its energy, and not more before it than codecs smear."""
    rng = np.random.default_rng(4)
    burst = np.zeros(16_000)
    window = np.hanning(3200)
    burst[6000:9200] = 0.3 * window * np.convolve(rng.normal(0, 1, 3200), np.hanning(16) / 8, "same")
    coded = transcode(burst.astype(np.float32), codec, bit_rate).astype(np.float64)
    energy = coded**2
    assert energy[6000:9200].sum() > 0.9 * energy.sum()
    center = (np.arange(16_000) * energy).sum() / energy.sum()
    expected = (np.arange(16_000) * burst**2).sum() / (burst**2).sum()
    assert abs(center - expected) < 0.01 * 16_000


@pytest.mark.parametrize(("codec", "bit_rate"), EACH)
def test_the_end_of_a_clip_is_not_cut_off(codec, bit_rate):
    """The last 4 ms of a tone are still in a delaying codec when a clip of whole frames ends."""
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(9600) / 16_000)
    coded = transcode(tone.astype(np.float32), codec, bit_rate).astype(np.float64)
    assert (coded[-64:] ** 2).sum() > 0.05 * (tone[-64:] ** 2).sum()


@pytest.mark.parametrize("codec", available_codecs())
@pytest.mark.parametrize("length", [1, 159, 4097])
def test_short_clips_keep_their_length(codec, length, speech):
    coded = transcode(speech[:length], codec, CODECS[codec].bit_rates[0])
    assert coded.shape == (length,)
    assert np.isfinite(coded).all()


@pytest.mark.parametrize(("codec", "least"), [("g722", 0.99), ("alaw", 0.9), ("mulaw", 0.9), ("adpcm", 0.98)])
def test_waveform_codecs_keep_the_waveform(codec, least, speech):
    coded = SoundCodec(codec=codec)(np.random.default_rng(1), speech)
    assert np.corrcoef(coded, speech)[0, 1] > least
    assert np.dot(coded, speech) / np.dot(speech, speech) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("codec", ["opus", "mp3", "aac"])
def test_fewer_bits_are_a_larger_error(codec, speech):
    bit_rates = CODECS[codec].bit_rates
    errors = [np.mean((transcode(speech, codec, bit_rate) - speech) ** 2) for bit_rate in (bit_rates[0], bit_rates[-1])]
    assert errors[0] > 1.5 * errors[1]


def test_loud_samples_are_clipped_not_wrapped(speech):
    loud = speech * np.float32(1.5 / np.abs(speech).max())
    for codec in ("g722", "adpcm"):
        coded = transcode(loud, codec, 64_000)
        assert np.corrcoef(coded, np.clip(loud, -1, 1))[0, 1] > 0.98


def test_a_bit_rate_is_drawn_from_the_codecs_own(speech, monkeypatch):
    drawn = set()
    monkeypatch.setattr(codecs, "transcode", lambda samples, codec, bit_rate: (drawn.add(bit_rate), samples)[1])
    for seed in range(80):
        SoundCodec(codec="mp3")(np.random.default_rng(seed), speech)
    assert drawn == set(CODECS["mp3"].bit_rates)


def test_other_bit_rates_are_refused():
    with pytest.raises(AvlocError, match="want bit_rate of 16000, 24000, .* for mp3, got 17000"):
        SoundCodec(codec="mp3", bit_rate=17_000)


def test_a_codec_that_pyav_lacks_is_named(monkeypatch, speech):
    lacking = {**CODECS, "amr_nb": CODECS["amr_nb"]._replace(encoder="no_such_encoder")}
    monkeypatch.setattr(codecs, "CODECS", lacking)
    codec_delay.cache_clear()
    assert "amr_nb" not in available_codecs()
    with pytest.raises(
        AvlocError, match="codec amr_nb: this build of PyAV has no no_such_encoder; choose one of opus, "
    ):
        SoundCodec(codec="amr_nb")(np.random.default_rng(1), speech)
    codec_delay.cache_clear()


def test_delays_of_known_codecs():
    """AAC's encoder begins with a frame of 1024 samples; G.722's two filters delay by 22, by its standard."""
    assert codec_delay("aac", 64_000) == 1024
    assert codec_delay("g722", 64_000) == 22

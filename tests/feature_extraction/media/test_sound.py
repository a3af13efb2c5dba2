from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from avloc.feature_extraction.media.sound import WEIGHTS, MonoResampler, downmix_weights


def frame(values, layout, rate=16_000, form="fltp", pts=0):
    """An audio frame of PyAV's from samples (channels, N)."""
    values = np.atleast_2d(np.asarray(values, np.float32))
    if form == "flt":
        values = np.ascontiguousarray(values.T).reshape(1, -1)
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=form, layout=layout)
    made.sample_rate, made.pts, made.time_base = rate, pts, Fraction(1, rate)
    return made


def mixed(*frames, rate=16_000):
    resampler = MonoResampler(rate)
    parts = [part for each in frames for part in resampler.push(each)]
    return np.concatenate([*parts, *resampler.finish()])


def level_db(samples, reference):
    return 20 * np.log10(np.sqrt(np.mean(np.square(samples)) / np.mean(np.square(reference))))


def test_mono_and_stereo_are_the_mean_to_the_last_bit():
    values = np.random.default_rng(0).uniform(-1, 1, (2, 999)).astype(np.float32)
    assert np.array_equal(mixed(frame(values[:1], "mono")), values[0])
    assert np.array_equal(mixed(frame(values, "stereo")), values.mean(axis=0, dtype=np.float32))


@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_speech_in_the_centre_loses_3_db(layout):
    speech = 0.5 * np.sin(np.arange(4000) / 7)
    places = [channel.name for channel in av.AudioLayout(layout).channels]
    values = np.zeros((len(places), 4000))
    values[places.index("FC")] = speech
    assert level_db(mixed(frame(values, layout, form="flt")), speech) == pytest.approx(-3.01, abs=0.01)


def test_each_channel_of_5_1_has_its_weight():
    places = [channel.name for channel in av.AudioLayout("5.1").channels]
    expected = {"FL": 0.5, "FR": 0.5, "FC": 0.7071, "LFE": 0, "BL": 0.3536, "BR": 0.3536}
    for k, place in enumerate(places):
        values = np.zeros((6, 50))
        values[k] = 0.8
        assert mixed(frame(values, "5.1", form="flt")) == pytest.approx(0.8 * expected[place], abs=1e-4)


@pytest.mark.parametrize("channels", [3, 7, 9, 16, 64])
def test_channels_of_unknown_places_are_averaged(channels):
    values = np.tile(np.arange(channels)[:, None] / channels, 40)
    assert mixed(frame(values, f"{channels} channels", form="flt")) == pytest.approx(values[:, 0].mean(), abs=1e-6)


def test_many_planes_are_read_in_place():
    """The planes past the eighth lie outside of the pointers that PyAV reads."""
    values = np.tile(np.arange(16)[:, None] / 16, 40)
    resampler = av.AudioResampler(format="fltp")
    (planar,) = resampler.resample(frame(values, "16 channels", form="flt"))
    assert planar.format.name == "fltp"
    assert mixed(planar) == pytest.approx(values[:, 0].mean(), abs=1e-6)


def test_more_channels_than_ffmpeg_mixes():
    with pytest.raises(ValueError, match="want 1 to 64 channels, got 65"):
        mixed(frame(np.zeros((65, 8)), "65 channels", form="flt"))


def test_weights_of_every_named_place():
    for layout in ("quad", "6.1", "hexadecagonal", "22.2"):
        places = [channel.name for channel in av.AudioLayout(layout).channels]
        assert set(places) <= set(WEIGHTS)
        assert downmix_weights(places).tolist() == pytest.approx([WEIGHTS[place] for place in places])
    assert downmix_weights(["FL", "FR", "somewhere"]).tolist() == pytest.approx([1 / 3] * 3)
    assert downmix_weights([]).tolist() == []


def test_rate_layout_and_format_change_on_the_way():
    def tone(rate):
        return 0.5 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate)

    samples = mixed(
        frame([tone(44_100)] * 2, "stereo", 44_100),
        frame(tone(48_000), "mono", 48_000),
        frame(tone(16_000), "mono", 16_000, form="flt"),
    )
    assert len(samples) == pytest.approx(48_000, abs=20)
    for second in range(3):
        part = samples[second * 16_000 + 500 : (second + 1) * 16_000 - 500]
        assert level_db(part, tone(16_000)) == pytest.approx(0, abs=0.1)
    assert np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples) == pytest.approx(500, abs=1)


@pytest.mark.parametrize(
    ("rate", "message"),
    [(1, "want 1000 to 1000000 samples per second, got 1"), (2**31 - 1, "got 2147483647")],
)
def test_rates_that_only_a_header_claims(rate, message):
    with pytest.raises(ValueError, match=message):
        mixed(frame(np.zeros(8), "mono", rate))


def test_frames_that_become_gigabytes():
    with pytest.raises(ValueError, match="want at most 100 s per frame, got 200 s"):
        mixed(frame(np.zeros(200_000), "mono", 1_000))

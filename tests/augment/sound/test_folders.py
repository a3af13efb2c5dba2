from __future__ import annotations

import numpy as np
import pytest
import soundfile

from avloc.augment.sound import folders
from avloc.augment.sound.folders import (
    draw_excerpt,
    noise_files,
    read_excerpt,
    read_response,
    response_files,
    to_sample_rate,
)
from avloc.errors import AvlocError


def write(path, values, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, values, rate, subtype="FLOAT" if path.suffix == ".wav" else None)


@pytest.fixture
def ramp():
    return np.linspace(0.001, 0.9, 900, dtype=np.float32)


def test_musan_is_split_by_kind_and_other_folders_are_not(tmp_path, ramp):
    for name in ("music/fma/b.wav", "noise/free-sound/a.wav", "speech/librivox/c.WAV"):
        write(tmp_path / "musan" / name, ramp)
    (tmp_path / "musan" / "README").write_text("text")
    write(tmp_path / "plain" / "deep" / "d.flac", ramp)
    write(tmp_path / "plain" / "e.wav", ramp)
    for kind, name in (("music", "b.wav"), ("noise", "a.wav"), ("speech", "c.WAV")):
        assert [path.name for path in noise_files(str(tmp_path / "musan"), kind)] == [name]
    assert [path.name for path in noise_files(str(tmp_path / "plain"), "music")] == ["d.flac", "e.wav"]
    assert [path.name for path in noise_files(str(tmp_path / "musan" / "speech"), "noise")] == ["c.WAV"]


def test_a_kind_that_musan_lacks_is_refused(tmp_path, ramp):
    write(tmp_path / "noise" / "a.wav", ramp)
    with pytest.raises(AvlocError, match="music: no recordings"):
        noise_files(str(tmp_path), "music")


def test_noises_among_the_responses_are_left_out(tmp_path, ramp):
    for name in (
        "simulated_rirs/smallroom/Room001/Room001-00001.wav",
        "real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav",
        "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav",
        "pointsource_noises/noise-free-sound-0000.wav",
    ):
        write(tmp_path / "RIRS_NOISES" / name, ramp)
    names = [path.name for path in response_files(str(tmp_path / "RIRS_NOISES"))]
    assert names == ["Room001-00001.wav", "RVB2014_type1_rir_largeroom1_far_angla.wav"]
    plain = tmp_path / "plain" / "x_noise_1.wav"
    write(plain, ramp)
    with pytest.raises(AvlocError, match="no impulse responses, only noises"):
        response_files(str(plain.parent))


@pytest.mark.parametrize(("place", "first"), [(0.0, 0), (0.5, 250), (1.0, 500)])
def test_an_excerpt_lies_where_it_is_drawn(tmp_path, ramp, place, first):
    write(tmp_path / "a.wav", ramp)
    assert read_excerpt(tmp_path / "a.wav", place, 400) == pytest.approx(ramp[first : first + 400])


def test_a_short_recording_is_repeated(tmp_path, ramp):
    write(tmp_path / "a.wav", ramp[:3])
    assert read_excerpt(tmp_path / "a.wav", 0.7, 8) == pytest.approx([*ramp[:3], *ramp[:3], *ramp[:2]])


def test_channels_are_averaged_and_rates_are_changed(tmp_path):
    seconds = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * 440 * seconds)
    write(tmp_path / "a.wav", np.stack([tone, 0 * tone], axis=1), 44_100)
    excerpt = read_excerpt(tmp_path / "a.wav", 0.0, 12_345)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(12_345) / 16_000)
    assert excerpt.shape == (12_345,)
    assert excerpt[100:-100] == pytest.approx(expected[100:-100], abs=2e-3)


def test_a_response_is_its_first_channel(tmp_path):
    write(tmp_path / "a.wav", np.array([[1.0, 0.2], [0.5, 0.9]]))
    assert read_response(tmp_path / "a.wav").tolist() == [1.0, 0.5]
    write(tmp_path / "b.wav", np.array([[0.0, 0.2], [0.0, 0.9]]))
    with pytest.raises(AvlocError, match=r"b.wav: a silent impulse response"):
        read_response(tmp_path / "b.wav")


def test_damaged_and_empty_files_are_named(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF nothing")
    write(tmp_path / "b.wav", np.zeros(0))
    for reader in (read_response, lambda path: read_excerpt(path, 0.5, 10)):
        with pytest.raises(AvlocError, match=r"a.wav: cannot be read"):
            reader(tmp_path / "a.wav")
    with pytest.raises(AvlocError, match=r"b.wav: has no samples"):
        read_excerpt(tmp_path / "b.wav", 0.5, 10)


def test_silent_excerpts_are_drawn_again_and_then_refused(tmp_path, ramp):
    for k in range(3):
        write(tmp_path / f"silent-{k}.wav", np.zeros(50))
    with pytest.raises(AvlocError, match=f"{folders.DRAWS} excerpts of noise in a row are silent"):
        draw_excerpt(np.random.default_rng(1), str(tmp_path), "noise", 20)
    write(tmp_path / "more" / "silent.wav", np.zeros(50))
    write(tmp_path / "more" / "loud.wav", ramp)
    for seed in range(9):
        assert draw_excerpt(np.random.default_rng(seed), str(tmp_path / "more"), "noise", 20).any()


def test_resampling_there_and_back_moves_nothing(speech):
    from scipy.signal import correlate

    for rate in (8000, 11_025, 48_000):
        back = to_sample_rate(to_sample_rate(speech.astype(float), 16_000, rate), rate)[: len(speech)]
        assert np.argmax(correlate(back, speech.astype(float))) == len(speech) - 1


def test_samples_that_are_not_finite_are_refused(tmp_path):
    samples = np.ones(400, np.float32)
    samples[7] = np.nan
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    for read in (lambda: read_response(tmp_path / "x.wav"), lambda: read_excerpt(tmp_path / "x.wav", 0.0, 400)):
        with pytest.raises(AvlocError, match="x.wav: has samples that are not finite"):
            read()

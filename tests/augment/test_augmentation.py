"""The promises of all augmentations, tried on each; tests of a single one lie beside its file's path."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from avloc.augment.augmentation import SoundAugmentation, to_pixels
from avloc.augment.catalog import PICTURE, SOUND
from avloc.augment.sound.amplitude import Gain
from avloc.errors import AvlocError

sounds = pytest.mark.parametrize("sound", SOUND.values(), ids=SOUND)
pictures = pytest.mark.parametrize("picture", PICTURE.values(), ids=PICTURE)


def generator(seed=5):
    return np.random.default_rng(seed)


@sounds
@settings(max_examples=12, deadline=None)
@given(
    length=st.integers(0, 900),
    scale=st.sampled_from([1e-6, 0.1, 1.0, 30.0]),
    level=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_sound_of_any_length_and_loudness_keeps_shape_and_type(sound, length, scale, level, seed):
    samples = (scale * generator(seed).uniform(-1, 1, length)).astype(np.float32)
    before = samples.copy()
    augmented = sound(level=level)(generator(seed), samples)
    assert augmented.shape == (length,)
    assert augmented.dtype == np.float32
    assert np.isfinite(augmented).all()
    assert np.array_equal(samples, before)


@pictures
@settings(max_examples=12, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(0, 4), st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(1, 20), st.sampled_from([1, 3])),
    ),
    level=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_pictures_of_any_size_keep_shape_and_type(picture, shape, level, seed):
    frames = generator(seed).integers(0, 256, shape).astype(np.uint8)
    before = frames.copy()
    augmented = picture(level=level)(generator(seed), frames)
    assert augmented.shape == shape
    assert augmented.dtype == np.uint8
    assert np.array_equal(frames, before)


@sounds
def test_level_0_and_silence_return_the_samples_themselves(sound, speech):
    assert sound(level=0)(generator(), speech) is speech
    for silence in (np.zeros(0, np.float32), np.zeros(1, np.float32), np.zeros(4001, np.float32)):
        assert sound()(generator(), silence) is silence


@pytest.mark.parametrize("name", ["Noise", "Music", "Babble"])
def test_noise_fills_silent_seconds_of_a_clip_that_is_not_silent(name, speech):
    samples = speech.copy()
    samples[1000:9001] = 0
    assert (SOUND[name](snr_db=10)(generator(), samples)[1000:9001] != 0).mean() > 0.9


@pictures
def test_level_0_and_no_frames_return_the_frames_themselves(picture, frames):
    assert picture(level=0)(generator(), frames) is frames
    empty = np.zeros((0, 5, 7, 3), np.uint8)
    assert picture()(generator(), empty) is empty


@sounds
def test_single_samples_and_very_short_sounds(sound):
    for samples in (np.float32([0.3]), np.float32([0, -0.7]), np.float32([0, 0, 1e-30])):
        augmented = sound()(generator(), samples)
        assert augmented.shape == samples.shape
        assert np.isfinite(augmented).all()


@sounds
def test_defaults_change_speech(sound, speech):
    assert not np.array_equal(sound()(generator(), speech), speech)


@pictures
def test_defaults_change_pictures(picture, frames):
    assert not np.array_equal(picture()(generator(), frames), frames)


@sounds
def test_the_same_generator_gives_the_same_sound(sound, speech):
    first, second = (sound()(generator(7), speech[:9000]) for _ in range(2))
    assert np.array_equal(first, second)


@pictures
def test_the_same_generator_gives_the_same_picture(picture, frames):
    first, second = (picture()(generator(7), frames) for _ in range(2))
    assert np.array_equal(first, second)


@sounds
@pytest.mark.parametrize("seed", [1, 2])
def test_sound_is_not_moved(sound, speech, seed):
    """In the part of 0.3 s that correlates best in each second, so that a drift would show too."""
    augmented = sound()(generator(seed), speech)
    for second in range(3):
        part = slice(16_000 * second, 16_000 * (second + 1))
        correlation = correlate(augmented[part].astype(np.float64), speech[part].astype(np.float64), method="fft")
        assert abs(int(np.argmax(correlation)) - (16_000 - 1)) <= 16  # 1 ms


@pictures
def test_frames_are_not_moved(picture, frames):
    """The brightness of flicker stays in step; each frame is most like itself, and a dropped one like one before."""
    flicker = np.repeat(generator(1).integers(90, 160, 60).astype(np.uint8), 20 * 20).reshape(60, 20, 20)
    series = [clip.mean(axis=(1, 2)) for clip in (picture()(generator(3), flicker), flicker)]
    correlation = np.correlate(*(values - values.mean() for values in series), mode="full")
    assert np.argmax(correlation) == 59
    if picture.__name__ == "Crop":
        return
    augmented = picture()(generator(3), frames).astype(float)
    vectors = [(a - a.mean(axis=0)).reshape(9, -1) for a in (augmented, frames.astype(float))]
    nearest = np.argmax(vectors[0] @ vectors[1].T / np.linalg.norm(vectors[1], axis=1), axis=1)
    moved = nearest - np.arange(9)
    assert (moved <= 0).all() if picture.__name__ == "HeldFrames" else (moved == 0).all()


@pytest.mark.parametrize("sound", [s for s in SOUND.values() if s.BLENDS], ids=lambda s: s.__name__)
def test_a_level_mixes_input_and_output(sound, speech):
    speech = speech[:5001]
    full = sound()(generator(), speech)
    half = sound(level=0.5)(generator(), speech)
    np.testing.assert_allclose(half, (full + speech) / 2, atol=1e-6)


@pytest.mark.parametrize("picture", [p for p in PICTURE.values() if p.BLENDS], ids=lambda p: p.__name__)
def test_a_level_mixes_pixels(picture, frames):
    full = picture()(generator(), frames).astype(float)
    quarter = picture(level=0.25)(generator(), frames)
    np.testing.assert_allclose(quarter, 0.25 * full + 0.75 * frames, atol=0.5)


@sounds
def test_views_of_arrays_are_sounds_too(sound, speech):
    for view in (speech[:8000:2], speech[4000:0:-1]):
        expected = sound()(generator(), np.ascontiguousarray(view))
        assert np.array_equal(sound()(generator(), view), expected)


@pictures
def test_views_of_arrays_are_pictures_too(picture, frames):
    for view in (frames[:, ::2, ::-1], np.asfortranarray(frames), frames.transpose(0, 2, 1, 3), frames[..., 1]):
        view.flags.writeable = False
        expected = picture()(generator(), np.array(view, order="C"))
        assert np.array_equal(picture()(generator(), view), expected)


def test_subclasses_of_users_may_have_parameters_of_any_type():
    """Also in modules that do not postpone annotations."""
    annotations = {"gains": tuple[float, float] | None, "gain_db": float}
    members = {"__annotations__": annotations, "gains": (1, 2), "gain_db": 3.0, "change": lambda self, rng, x: 2 * x}
    decorate = dataclass(frozen=True, slots=True, kw_only=True)
    doubled = decorate(type("Doubled", (SoundAugmentation,), members))
    assert doubled(gains=(1, 3))(generator(), np.float32([1, 2])).tolist() == [2, 4]
    with pytest.raises(AvlocError, match="want a float as gain_db, got 'x'"):
        doubled(gain_db="x")


@pytest.mark.parametrize("augmentation", [*SOUND.values(), *PICTURE.values()], ids=lambda a: a.__name__)
def test_augmentations_are_values(augmentation):
    assert augmentation() == pickle.loads(pickle.dumps(augmentation()))
    assert hash(augmentation()) == hash(augmentation())
    assert replace(augmentation(), level=0.5).level == 0.5
    with pytest.raises(FrozenInstanceError):
        augmentation().level = 0.5


@pytest.mark.parametrize("augmentation", [*SOUND.values(), *PICTURE.values()], ids=lambda a: a.__name__)
def test_parameters_outside_of_their_limits_are_refused(augmentation):
    for name, (low, high) in {"level": (0.0, 1.0), **augmentation.LIMITS}.items():
        for value in (low - 1, high + 1):
            if np.isfinite(value):
                with pytest.raises(AvlocError, match=f"want {name} of .* got {value!r}"):
                    augmentation(**{name: value})
        with pytest.raises(AvlocError, match=f"want (a \\w+ as )?{name}"):
            augmentation(**{name: float("nan")})
    for name in augmentation.CHOICES:
        with pytest.raises(AvlocError, match=f"want {name} of .* got 'none of them'"):
            augmentation(**{name: "none of them"})


@pytest.mark.parametrize(("value", "wanted"), [("loud", "float"), (True, "float"), (None, "float")])
def test_parameters_of_another_type_are_refused(value, wanted):
    with pytest.raises(AvlocError, match=f"want a {wanted} as gain_db, got {value!r}"):
        Gain(gain_db=value)


@pytest.mark.parametrize("samples", [np.zeros((2, 5), np.float32), np.zeros(5), np.zeros(5, np.int16)])
def test_other_arrays_are_no_sound(samples):
    with pytest.raises(ValueError, match=r"want \(N,\) float32 samples, got "):
        Gain()(generator(), samples)


@pytest.mark.parametrize("shape", [(5, 5), (1, 5, 5, 2), (1, 5, 5, 4), (1, 1, 5, 5, 3)])
def test_other_arrays_are_no_picture(shape):
    with pytest.raises(ValueError, match=r"want \(T, H, W\), .* uint8 frames, got "):
        PICTURE["Grey"]()(generator(), np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        PICTURE["Grey"]()(generator(), np.zeros((1, 5, 5, 3), np.float32))


def test_pixels_are_rounded_to_the_nearest_level():
    assert to_pixels(np.array([0.49, 0.51, 254.5, 254.6, -9, 999])).tolist() == [0, 1, 254, 255, 0, 255]

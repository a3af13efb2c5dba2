from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import stft

from avloc.augment.augmentation import SoundAugmentation
from avloc.augment.catalog import PICTURE, SOUND
from avloc.augment.recipe import Recipe, clip_generator
from avloc.augment.robustness import LEVELS, corruption_recipe, corruptions
from avloc.augment.sound.codecs import available_codecs
from avloc.errors import AvlocError

NAMES = [*corruptions()]


def distance(clip, changed):
    """Mean squared difference, of pixels or of levels in the spectrogram."""
    if clip.ndim == 1:
        clip, changed = (20 * np.log10(1e-4 + np.abs(stft(c, nperseg=512)[2])) for c in (clip, changed))
    return float(np.mean((np.asarray(changed, float) - np.asarray(clip, float)) ** 2))


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_level_is_further_from_the_clip(name, speech, frames):
    if name == "amr_nb" and "amr_nb" not in available_codecs():
        pytest.skip("this build of PyAV has no AMR-NB")
    is_sound = isinstance(corruptions()[name][0], SoundAugmentation)
    clip = speech if is_sound else np.tile(frames.repeat(3, axis=1).repeat(3, axis=2), (3, 1, 1, 1))
    distances = []
    for level in (0, *LEVELS):
        recipe = corruption_recipe(name, level)
        apply = recipe.sound if is_sound else recipe.picture
        changed = apply(clip_generator(1, "a.mp4", modality="audio" if is_sound else "visual"), clip)
        assert changed.shape == clip.shape
        distances.append(distance(clip, changed))
    assert distances[0] == 0
    assert 0 < distances[1] < distances[2] < distances[3]


def test_a_corruption_leaves_the_other_stream_alone():
    assert corruption_recipe("h264", 2).audio == ()
    assert corruption_recipe("opus", 2).visual == ()
    assert all(corruption_recipe(name, 0) == Recipe() for name in NAMES)


def test_a_corruption_is_its_augmentation():
    for name in NAMES:
        for level in LEVELS:
            recipe = corruption_recipe(name, level)
            drawn = (*recipe.draw_sound(np.random.default_rng(1)), *recipe.draw_picture(np.random.default_rng(1)))
            assert drawn == (corruptions()[name][level - 1],)


def test_every_augmentation_is_a_corruption():
    classes = {type(augmentation) for levels in corruptions().values() for augmentation in levels}
    assert classes == {*SOUND.values(), *PICTURE.values()}


@pytest.mark.parametrize("level", [-1, 4, 1.5])
def test_other_levels_are_refused(level):
    with pytest.raises(AvlocError, match=f"corruption hum: want level 0 to 3, got {level}"):
        corruption_recipe("hum", level)


def test_other_names_are_refused():
    with pytest.raises(AvlocError, match="unknown corruption 'fire', want one of white_noise, "):
        corruption_recipe("fire", 1)

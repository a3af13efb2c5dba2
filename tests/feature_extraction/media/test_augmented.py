from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from avloc.augment import Brightness, Gain, Noise, Range, Recipe, Step, clip_generator, read_recipe
from avloc.core.timeline import Segment
from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.media.augmented import MediaAugmentation
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import BATFD_FORMAT, WHOLE, Clip, VideoFormat

GREY, COLOR = VideoFormat(6, 9, "gray"), VideoFormat(5, 7)
RECIPE = Recipe(
    audio=(Step(Noise, 1.0, {"snr_db": Range(0, 20)}),), visual=(Step(Brightness, 1.0, {"factor": Range(0.3, 0.9)}),)
)
NOTHING = Recipe(audio=(Step(Noise, 0.0),), visual=(Step(Brightness, 1.0, {"level": 0.0}),))


def clip(**parts):
    random = np.random.default_rng(1)
    frames = {
        GREY: random.integers(40, 250, (11, 6, 9)).astype(np.uint8),
        COLOR: random.integers(40, 250, (11, 5, 7, 3)).astype(np.uint8),
        BATFD_FORMAT: random.uniform(-0.02, 1.02, (11, 4, 4, 3)).astype(np.float32),
    }
    samples = random.normal(0, 0.1, 7001).astype(np.float32)
    return Clip(Path("a.mp4"), 25, 16_000, **{"frames": frames, "samples": samples, "audio_start_s": 0.05, **parts})


def test_sound_and_all_formats_are_augmented():
    plain = clip()
    copy = MediaAugmentation(RECIPE, 3, seed=5)(plain, "a.mp4")
    expected = RECIPE.sound(clip_generator(5, "a.mp4", 3, modality="audio"), plain.samples)
    np.testing.assert_array_equal(copy.samples, expected)
    (drawn,) = RECIPE.draw_picture(clip_generator(5, "a.mp4", 3, modality="visual"))
    for image_format in (GREY, COLOR):  # the same augmentation for both
        np.testing.assert_allclose(copy.frames[image_format], plain.frames[image_format] * drawn.factor, atol=1)
    floats = copy.frames[BATFD_FORMAT]
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, np.clip(plain.frames[BATFD_FORMAT], 0, 1) * drawn.factor, atol=2 / 255)
    assert (copy.audio_start_s, copy.video_grid, copy.path) == (0.05, plain.video_grid, plain.path)


def test_copies_and_clips_differ():
    first = MediaAugmentation(RECIPE, 1)(clip(), "a.mp4").samples
    np.testing.assert_array_equal(first, MediaAugmentation(RECIPE, 1)(clip(), "a.mp4").samples)
    for augmentation, file in (
        (MediaAugmentation(RECIPE, 2), "a.mp4"),
        (MediaAugmentation(RECIPE, 1, seed=1), "a.mp4"),
        (MediaAugmentation(RECIPE, 1), "b.mp4"),
    ):
        assert (first != augmentation(clip(), file).samples).any()


def test_nothing_changes_without_a_change():
    plain = clip()
    copy = MediaAugmentation(NOTHING, 1)(plain, "a.mp4")
    assert copy.samples is plain.samples
    for image_format, images in plain.frames.items():
        np.testing.assert_array_equal(copy.frames[image_format], images)  # floats are not rounded either


def test_spans_without_data_stay_silent():
    gaps = {"audio": [Segment(0.0, 0.1), Segment(0.2, 0.25)], "visual": []}
    samples = MediaAugmentation(RECIPE, 1)(clip(gaps=gaps), "a.mp4").samples
    silent = np.flatnonzero(samples == 0)
    assert silent.tolist() == [*range(800), *range(2400, 3200)]


def test_clips_without_a_stream():
    for parts in ({"samples": None}, {"frames": {}}, {"samples": np.zeros(0, np.float32), "frames": {}}):
        copy = MediaAugmentation(RECIPE, 1)(clip(**parts), "a.mp4")
        assert copy.frames.keys() == clip(**parts).frames.keys()
        assert (copy.samples is None) == (parts.get("samples", 0) is None)


def test_a_file_is_decoded_and_augmented(tmp_path, frames, beep):
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, beep)
    recipe = Recipe(audio=(Step(Gain, 1.0, {"gain_db": -6.0206}),))
    copy = MediaAugmentation(recipe, 1).decode(path, "a.mp4", [GREY], audio=True, backend="pyav", span=WHOLE)
    plain = decode(path, [GREY])
    np.testing.assert_allclose(copy.samples, plain.samples / 2, atol=1e-6)
    np.testing.assert_array_equal(copy.frames[GREY], plain.frames[GREY])


def test_a_description_tells_recipes_copies_and_seeds_apart():
    described = [
        MediaAugmentation(RECIPE, 1),
        MediaAugmentation(RECIPE, 2),
        MediaAugmentation(RECIPE, 1, seed=1),
        MediaAugmentation(NOTHING, 1),
        MediaAugmentation(read_recipe("light"), 1),
        MediaAugmentation(read_recipe("strong"), 1),
    ]
    texts = [json.dumps(augmentation.describe()) for augmentation in described]
    assert len(set(texts)) == 6
    assert json.loads(texts[0]) == MediaAugmentation(RECIPE, 1).describe()
    again = pickle.loads(pickle.dumps(described[4]))
    assert json.dumps(again.describe()) == texts[4]


def test_folders_become_absolute(tmp_path, monkeypatch):
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "musan").mkdir()
    soundfile.write(tmp_path / "musan" / "a.wav", np.ones(160), 16_000)
    recipe = Recipe(audio=(Step(Noise, 0.5, {"folder": "musan"}), Step(Noise, 0.5)), visual=RECIPE.visual)
    absolute = MediaAugmentation(recipe, 1).absolute().recipe
    assert [step.parameters.get("folder") for step in absolute.audio] == [str(tmp_path / "musan"), None]
    assert absolute.visual == recipe.visual

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avloc.augment import (
    Blur,
    Brightness,
    Choice,
    Gain,
    Grey,
    Noise,
    Range,
    Recipe,
    Saturation,
    SoundCodec,
    Step,
    clip_generator,
)
from avloc.core.descriptions import ExtractorDescription
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.examples.augmentation import make_augmenter
from avloc.datasets.examples.example import cut_example, make_example
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Features

SOUND = ExtractorDescription("waveform", "audio", hop_s=0.01, dim=160, dtype="int16")
CROPS = ExtractorDescription("mouth", "visual", hop_s=0.04, dim=25, dtype="uint8")
FEATURES = ExtractorDescription("residual_grid", "visual", hop_s=0.04, dim=25)
HALVED = Recipe(audio=(Step(Gain, 1.0, {"gain_db": 20 * np.log10(0.5)}),))
NOISY = Recipe(
    audio=(Step(Noise, 0.9, {"snr_db": Range(0, 20), "color": Choice(("white", "pink"))}),),
    visual=(Step(Brightness, 0.9, {"factor": Range(0.3, 0.9)}),),
)


def example(file="a.mp4", rows=131, crops=33, gaps=(), native_rate=True, **segments):
    """A loud clip of `rows` rows of samples and `crops` crops."""
    random = np.random.default_rng(1)
    audio = random.integers(-20000, 20000, (rows, 160)).astype(np.int16)
    visual = random.integers(40, 250, (crops, 25)).astype(np.uint8)
    features = {
        "audio": [Features(audio, TimeGrid(0.0, 0.01, rows), gaps)],
        "visual": [Features(visual, TimeGrid(0.0, 0.04, crops))],
    }
    return make_example(VideoRecord(file, "train", **segments), features, 0.04, native_rate=native_rate)


def test_samples_are_augmented_as_they_are():
    clip = example(audio_segments=(Segment(0.2, 0.4),))
    augmented = make_augmenter(HALVED, [SOUND, CROPS])(clip, epoch=0)
    np.testing.assert_allclose(augmented.streams[0], clip.streams[0] / 2, atol=0.51)
    assert augmented.streams[0].dtype == np.int16
    np.testing.assert_array_equal(augmented.streams[1], clip.streams[1])
    assert (augmented.record, augmented.grid, augmented.rows) == (clip.record, clip.grid, clip.rows)


def test_the_augmentation_is_that_of_the_recipe():
    clip = example()
    samples = clip.streams[0][:131].reshape(-1).astype(np.float32) / 32768
    expected = NOISY.sound(clip_generator(7, "a.mp4", 3, modality="audio"), samples)
    frames = clip.streams[1].reshape(-1, 5, 5)
    expected_frames = NOISY.picture(clip_generator(7, "a.mp4", 3, modality="visual"), frames)
    augmented = make_augmenter(NOISY, [SOUND, CROPS], seed=7)(clip, epoch=3)
    rounded = np.clip(np.rint(expected * 32768), -32768, 32767)
    np.testing.assert_array_equal(augmented.streams[0][:131].reshape(-1), rounded)
    np.testing.assert_array_equal(augmented.streams[1], expected_frames.reshape(-1, 25))


def test_seed_epoch_and_clip_decide():
    def augmented(seed=1, epoch=2, file="a.mp4", **options):
        return make_augmenter(NOISY, [SOUND, CROPS], seed=seed)(example(file, **options), epoch).streams

    first = augmented()
    for again in (augmented(), augmented(visual_segments=(Segment(0.1, 0.5),))):  # forged or not
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)
    for other in (augmented(seed=2), augmented(epoch=3), augmented(file="b.mp4")):
        assert (first[0] != other[0]).any()
        assert (first[1] != other[1]).any()


def test_a_clip_drawn_again_in_an_epoch_gets_other_augmentations():
    augment = make_augmenter(NOISY, [SOUND, CROPS], seed=1)
    draws = [augment(example(), epoch, repeat).streams for epoch in (0, 1) for repeat in range(4)]
    for k, (one, other) in enumerate(zip(draws[0], augment(example(), 0).streams, strict=True)):
        np.testing.assert_array_equal(one, other)  # the first draw is that of any epoch
        assert len({draw[k].tobytes() for draw in draws}) > 5  # some draw nothing
        np.testing.assert_array_equal(draws[7][k], augment(example(), 1, 3).streams[k])


def test_a_window_gets_the_augmentations_of_its_clip():
    clip = example()
    augment = make_augmenter(HALVED, [SOUND, CROPS])
    whole, part = augment(clip, 0), augment(cut_example(clip, 5, 11), 0)
    np.testing.assert_array_equal(part.streams[0], whole.streams[0][20:64])


def test_gaps_stay_empty():
    clip = example(rows=130, crops=40, gaps=((0, 7), (50, 61)))
    augmented = make_augmenter(NOISY, [SOUND, CROPS])(clip, 4)
    missing = ~clip.rows[0].present
    assert np.flatnonzero(missing).tolist() == [*range(7), *range(50, 61), *range(130, 160)]
    assert not augmented.streams[0][missing].any()
    assert (augmented.streams[0][~missing] != clip.streams[0][~missing]).mean() > 0.9
    np.testing.assert_array_equal(augmented.rows[0].present, clip.rows[0].present)


def test_nothing_changes_without_a_change():
    clip = example()
    for recipe in (
        Recipe(audio=(Step(Noise, 1.0, {"level": 0.0}),), visual=(Step(Blur, 1.0, {"level": 0.0}),)),
        Recipe(audio=(Step(Noise, 0.0),), visual=(Step(Blur, 0.0),)),
    ):
        augmented = make_augmenter(recipe, [SOUND, CROPS])(clip, 0)
        for one, other in zip(augmented.streams, clip.streams, strict=True):
            np.testing.assert_array_equal(one, other)


def test_clips_without_sound_or_picture():
    for rows, crops in ((0, 33), (131, 0), (0, 0)):
        clip = example(rows=rows, crops=crops)
        augmented = make_augmenter(NOISY, [SOUND, CROPS])(clip, 0)
        assert [s.shape for s in augmented.streams] == [s.shape for s in clip.streams]
        assert not rows or (augmented.streams[0] != clip.streams[0]).any()
        assert rows or not augmented.streams[0].any()


def test_a_codec_moves_nothing():
    """A click stays at its sample, to 1 ms; a loud sample is clipped and does not wrap."""
    rows = np.zeros((200, 160), np.int16)
    rows[90:100] = (32767 * np.sin(np.arange(1600) * 0.3).reshape(10, 160)).astype(np.int16)
    clip = example(rows=200)
    clip = replace(clip, streams=(rows, clip.streams[1]))
    recipe = Recipe(audio=(Step(SoundCodec, 1.0, {"codec": "opus"}), Step(Gain, 1.0, {"gain_db": 6})))
    samples = make_augmenter(recipe, [SOUND])(clip, 0).streams[0].reshape(-1)
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 8000)
    assert abs(loud[0] - 14400) <= 16
    assert abs(loud[-1] - 15999) <= 16
    assert abs(int(samples.max())) > 30000
    correlation = np.corrcoef(samples[14400:16000], rows[90:100].reshape(-1))[0, 1]
    assert correlation > 0.9


def test_a_stream_of_features_stays_and_is_reported():
    augmenter = make_augmenter(NOISY, [SOUND, FEATURES])
    assert augmenter.streams == {"audio": "waveform"}
    assert augmenter.idle_steps == {"residual_grid": 1}
    assert make_augmenter(NOISY, [SOUND]).idle_steps == {}
    assert pickle.loads(pickle.dumps(augmenter)) == augmenter


@pytest.mark.parametrize("name", ["light", "strong"])
def test_presets_serve_grey_mouths_without_their_colours(name):
    augmenter = make_augmenter(name, [SOUND, CROPS])
    assert augmenter.streams == {"audio": "waveform", "visual": "mouth"}
    colours = sum(step.augmentation in (Grey, Saturation) for step in augmenter.recipe.visual)
    assert augmenter.idle_steps == {"mouth": colours}
    assert colours > 0
    clip = example()
    changed = [(augmenter(clip, epoch).streams[1] != clip.streams[1]).any() for epoch in range(8)]
    assert any(changed)


def test_colours_alone_leave_a_grey_stream_out():
    augmenter = make_augmenter(Recipe(NOISY.audio, (Step(Grey),)), [SOUND, CROPS])
    assert (augmenter.streams, augmenter.idle_steps) == ({"audio": "waveform"}, {"mouth": 1})


def test_a_recipe_is_read_by_name_or_path(tmp_path):
    (tmp_path / "soft.yaml").write_text("audio: [{name: Gain, gain_db: -6}]")
    assert make_augmenter(tmp_path / "soft.yaml", [SOUND]).recipe.audio[0].augmentation is Gain
    assert len(make_augmenter("light", [SOUND]).recipe.audio) == 8


def test_streams_and_recipes_that_do_not_fit():
    with pytest.raises(AvlocError, match="augment: none of residual_grid holds samples or pixels; train on waveform"):
        make_augmenter(NOISY, [FEATURES])
    for step in (Step(Grey), Step(Saturation, 0.0)):
        with pytest.raises(AvlocError, match="has no steps that change mouth; want visual steps, and for grey frames"):
            make_augmenter(Recipe(visual=(step,)), [CROPS])
    with pytest.raises(AvlocError, match="augment: the recipe has no steps that change waveform; want audio steps"):
        make_augmenter(Recipe(visual=(Step(Blur),)), [SOUND, FEATURES])
    with pytest.raises(AvlocError, match="waveform must be the only audio stream, has logspec"):
        make_augmenter(NOISY, [SOUND, replace(SOUND, name="logspec", dtype="float16")])
    with pytest.raises(AvlocError, match=r"none\.yaml: no such recipe"):
        make_augmenter(Path("none.yaml"), [SOUND])
    averaged = replace(example(), rows=())
    with pytest.raises(
        AvlocError, match="waveform is augmented at its own rate; want a network or data with native_rate"
    ):
        make_augmenter(NOISY, [SOUND])(averaged, 0)

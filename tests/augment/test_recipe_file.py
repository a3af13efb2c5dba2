from __future__ import annotations

import numpy as np
import pytest

from avloc.augment.catalog import PICTURE, SOUND
from avloc.augment.recipe import Choice, Range, clip_generator
from avloc.augment.recipe_file import PRESETS, RECIPES, read_recipe
from avloc.augment.sound.codecs import available_codecs
from avloc.errors import AvlocError


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "recipe.yaml").write_text(text)
        return tmp_path / "recipe.yaml"

    return write


def test_a_file_becomes_steps(write):
    recipe = read_recipe(
        write(
            """
audio:
  - {name: Noise, probability: 0.25, snr_db: [5, 25], color: {choice: [white, pink]}}
  - {name: Gain, gain_db: -6}
visual:
  - {name: Downscale, scale: {log: [0.2, 1.0]}}
"""
        )
    )
    noise, gain = recipe.audio
    assert (noise.augmentation, noise.probability) == (SOUND["Noise"], 0.25)
    assert noise.parameters == {"snr_db": Range(5, 25), "color": Choice(("white", "pink"))}
    assert (gain.probability, gain.parameters) == (1.0, {"gain_db": -6})
    assert recipe.visual[0].parameters == {"scale": Range(0.2, 1.0, log=True)}


@pytest.mark.parametrize("text", ["audio:\n", "{}", "visual: []"])
def test_streams_can_be_left_out(write, text):
    assert read_recipe(write(text)).audio == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "want a mapping of audio and visual to lists of entries, got None"),
        ("[1, 2]", "want a mapping of audio and visual"),
        ("sound: []", "unknown sound; want a mapping of audio and visual"),
        ("audio: 3", "want a list of entries as audio, got 3"),
        ("audio: [Noise]", "audio entry 1: want a mapping with name, probability and parameters, got 'Noise'"),
        ("audio: [{snr_db: 3}]", "audio entry 1: want a mapping with name"),
        ("audio: [{name: Noize}]", "audio entry 1: want a name of Noise, Music, .*, got 'Noize'"),
        ("audio: [{name: [Noise]}]", r"audio entry 1: want a name of .*, got \['Noise'\]"),
        ("audio: [{name: H264}]", "audio entry 1: want a name of .*, got 'H264'"),
        ("audio: [{name: Gain}, {name: Noise, snr: 3}]", r"audio entry 2 \(Noise\): unknown snr; has level, snr_db"),
        ("audio: [{name: Noise, 3: 3}]", r"audio entry 1 \(Noise\): unknown 3; has level"),
        ("audio: [{name: Noise, snr_db: loud}]", r"audio entry 1 \(Noise\): want a float as snr_db, got 'loud'"),
        (
            "audio: [{name: Noise, snr_db: [1, 2, 3]}]",
            r"\(Noise\): want a value, \[low, high\], .* as snr_db, got \[1, 2, 3\]",
        ),
        ("audio: [{name: Noise, snr_db: [low, high]}]", r"\(Noise\): want a value, \[low, high\]"),
        ("audio: [{name: Noise, snr_db: {log: 3}}]", r"\(Noise\): want a value, \[low, high\]"),
        ("audio: [{name: Noise, snr_db: {choice: 3}}]", r"\(Noise\): want a value, \[low, high\]"),
        ("audio: [{name: Noise, color: {choice: []}}]", r"\(Noise\): want at least one value"),
        ("audio: [{name: Noise, color: {choice: [[1]]}}]", r"\(Noise\): want a str as color, got \[1\]"),
        (
            "audio: [{name: Noise, snr_db: [9, 3]}]",
            r"\(Noise\): snr_db: want two numbers, the smaller one first, got 9 and 3",
        ),
        ("audio: [{name: Noise, snr_db: [.nan, 3]}]", r"\(Noise\): snr_db: want two numbers"),
        ("audio: [{name: Noise, probability: 2}]", r"\(Noise\): want probability of 0 to 1, got 2"),
        ("visual: [{name: H264, crf: [30, 90]}]", r"visual entry 1 \(H264\): want crf of 1 to 51, got 90"),
        ("audio: [{name: Noise, folder: /no/such}]", r"\(Noise\): /no/such: no such folder"),
        ("audio: [", "not a YAML file"),
        ("audio: !!python/object/apply:os.system ['true']", "not a YAML file"),
        ("a: 2001-99-99", "not a YAML file"),
        ("[" * 2000, "not a YAML file"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(write, text, message):
    path = write(text)
    with pytest.raises(AvlocError, match=message) as error:
        read_recipe(path)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).count("\n") == 0


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(AvlocError, match="none.yaml: no such recipe; name a YAML file, or one of light, strong"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(AvlocError, match=f"{tmp_path}: cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"audio: \xff")
    with pytest.raises(AvlocError, match="latin.yaml: not a YAML file"):
        read_recipe(tmp_path / "latin.yaml")


def test_every_recipe_of_the_package_is_a_preset():
    assert sorted(path.stem for path in RECIPES.iterdir()) == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run_with_every_pyav_and_keep_clips_whole(name, speech, frames):
    recipe = read_recipe(name)
    for step in recipe.audio:
        codec = step.parameters.get("codec")
        used = codec.values if isinstance(codec, Choice) else (codec,) if codec else ()
        assert set(used) <= set(available_codecs()) - {"amr_nb", "g723"}
    changed = 0
    for copy in range(6):
        samples = recipe.sound(clip_generator(1, "a.mp4", copy, modality="audio"), speech)
        images = recipe.picture(clip_generator(1, "a.mp4", copy, modality="visual"), frames)
        assert (samples.shape, samples.dtype) == (speech.shape, np.float32)
        assert (images.shape, images.dtype) == (frames.shape, np.uint8)
        assert np.isfinite(samples).all()
        changed += (samples is not speech) + (images is not frames)
    assert changed >= 8


def test_strong_uses_every_augmentation_but_none_twice():
    names = [step.augmentation.__name__ for step in (*read_recipe("strong").audio, *read_recipe("strong").visual)]
    assert sorted(names) == sorted([*SOUND, *PICTURE])

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.augment.picture.codecs import H264
from avloc.augment.picture.color import Brightness, PixelNoise
from avloc.augment.recipe import Choice, Range, Recipe, Step, clip_generator
from avloc.augment.sound.additive import Noise
from avloc.augment.sound.amplitude import Clipping, Gain
from avloc.augment.sound.bandwidth import BandLimit
from avloc.augment.sound.codecs import SoundCodec
from avloc.augment.sound.rooms import Room
from avloc.errors import AvlocError

RECIPE = Recipe(
    audio=(
        Step(Noise, 0.5, {"snr_db": Range(5, 25), "color": Choice(("white", "pink", "hum"))}),
        Step(Gain, 0.5, {"gain_db": Range(-6, 6)}),
    ),
    visual=(Step(Brightness, 0.5, {"factor": Range(0.5, 1.5, log=True)}), Step(PixelNoise, 0.5, {"sigma": 4})),
)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**63), clip=st.text(), copy=st.integers(0, 99))
def test_the_same_seed_clip_and_copy_give_the_same_draw(seed, clip, copy):
    first, second = (clip_generator(seed, clip, copy, modality="audio") for _ in range(2))
    assert RECIPE.draw_sound(first) == RECIPE.draw_sound(second)
    assert first.random() == second.random()


def test_seed_clip_copy_and_modality_each_change_the_draw():
    draws = [
        clip_generator(1, "a.mp4", 0, modality="audio").random(),
        clip_generator(2, "a.mp4", 0, modality="audio").random(),
        clip_generator(1, "b.mp4", 0, modality="audio").random(),
        clip_generator(1, "a.mp4", 1, modality="audio").random(),
        clip_generator(1, "a.mp4", 0, modality="visual").random(),
    ]
    assert len(set(draws)) == 5


def test_another_process_draws_the_same():
    code = (
        "from avloc.augment import clip_generator; print(clip_generator(3, 'ü/a.mp4', 2, modality='visual').random())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) == clip_generator(3, "ü/a.mp4", 2, modality="visual").random()


def test_names_that_are_not_utf8_have_generators():
    assert clip_generator(1, "\udcff.mp4", modality="audio").random() >= 0


def test_wrong_modalities_and_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="want modality audio or visual, got 'sound'"):
        clip_generator(1, "a.mp4", modality="sound")
    with pytest.raises(ValueError):
        clip_generator(-1, "a.mp4", modality="audio")


def test_steps_apply_in_order(speech):
    recipe = Recipe(audio=(Step(Gain, 1, {"gain_db": 20}), Step(Clipping, 1, {"clip_db": 6})))
    rng = np.random.default_rng(1)
    expected = Clipping(clip_db=6)(rng, Gain(gain_db=20)(rng, speech))
    assert np.array_equal(recipe.sound(np.random.default_rng(2), speech), expected)


def test_the_pulse_comes_after_each_applied_step(speech, frames):
    never = Step(Gain, 0.0, {"gain_db": -6})
    recipe = Recipe((Step(Clipping, 1.0), never, Step(Gain, 1.0)), (Step(Brightness, 1.0),) * 3)
    pulses = []
    recipe.sound(clip_generator(1, "a", modality="audio"), speech, lambda: pulses.append("audio"))
    recipe.picture(clip_generator(1, "a", modality="visual"), frames, lambda: pulses.append("visual"))
    assert pulses == ["audio"] * 2 + ["visual"] * 3


def test_a_clip_is_reproduced(speech, frames):
    for apply, modality, clip in ((RECIPE.sound, "audio", speech), (RECIPE.picture, "visual", frames)):
        results = [apply(clip_generator(5, "a.mp4", copy, modality=modality), clip) for copy in (3, 3, 8)]
        assert np.array_equal(results[0], results[1])
        assert not np.array_equal(results[0], results[2])
        assert results[0].shape == clip.shape


def test_an_empty_recipe_returns_the_clip_itself(speech, frames):
    rng = np.random.default_rng(1)
    assert Recipe().sound(rng, speech) is speech
    assert Recipe().picture(rng, frames) is frames


def test_probabilities_and_ranges_are_kept():
    step = RECIPE.audio[0]
    draws = [step.draw(np.random.default_rng(seed)) for seed in range(600)]
    applied = [draw for draw in draws if draw]
    assert len(applied) / 600 == pytest.approx(0.5, abs=0.07)
    ratios = np.array([noise.snr_db for noise in applied])
    assert 5 <= ratios.min() < 6
    assert 24 < ratios.max() <= 25
    assert ratios.mean() == pytest.approx(15, abs=1)
    assert {noise.color for noise in applied} == {"white", "pink", "hum"}


def test_the_ends_of_probability():
    assert not any(Step(Gain, 0).draw(np.random.default_rng(seed)) for seed in range(50))
    assert all(Step(Gain, 1).draw(np.random.default_rng(seed)) for seed in range(50))


def test_a_probability_does_not_change_later_draws():
    always, never = (
        Recipe(audio=(Step(Noise, p, {"snr_db": Range(5, 25)}), Step(Gain, 1, {"gain_db": Range(-6, 6)})))
        for p in (1, 0)
    )
    assert always.draw_sound(np.random.default_rng(4))[-1] == never.draw_sound(np.random.default_rng(4))[-1]


def test_draws_do_not_depend_on_the_clip(speech):
    """A window of a clip gets the augmentations of the clip."""
    recipe = Recipe(audio=(Step(Noise, 1, {"snr_db": Range(5, 25)}), Step(Gain, 1, {"gain_db": Range(-30, 30)})))
    long, short = (recipe.sound(np.random.default_rng(4), speech[:n]) for n in (40_000, 999))
    gain_db = recipe.draw_sound(np.random.default_rng(4))[1].gain_db
    for part, n in ((long, 40_000), (short, 999)):
        ratio = np.sqrt((part.astype(float) ** 2).mean() / (speech[:n].astype(float) ** 2).mean())
        assert 20 * np.log10(ratio) == pytest.approx(gain_db, abs=2)


def test_a_room_does_not_depend_on_the_noise_before_it(speech):
    recipe = Recipe(audio=(Step(Noise, 1, {"snr_db": 100.0}), Step(Room, 1)))
    long, short = (recipe.sound(np.random.default_rng(4), speech[:n]) for n in (40_000, 16_000))
    assert np.corrcoef(long[:16_000], short)[0, 1] > 0.999


def test_values_that_do_not_go_together_are_refused():
    codecs, rates = Choice(("opus", "mp3", "aac")), Choice((16_000, 12_000, 24_000))
    with pytest.raises(AvlocError, match="12000"):
        Step(SoundCodec, 1, {"codec": codecs, "bit_rate": rates})
    with pytest.raises(AvlocError, match="at most 4096 combinations of values, got 10000"):
        Step(BandLimit, 1, {"low_hz": Choice(tuple(range(100, 200))), "high_hz": Choice(tuple(range(4000, 4100)))})


def test_whole_numbers_are_drawn_whole_with_both_ends():
    drawn = {Step(H264, 1, {"crf": Range(20, 23)}).draw(np.random.default_rng(seed)).crf for seed in range(60)}
    assert drawn == {20, 21, 22, 23}
    drawn = {
        Step(H264, 1, {"crf": Range(20, 23, log=True)}).draw(np.random.default_rng(seed)).crf for seed in range(60)
    }
    assert drawn == {20, 21, 22, 23}


def test_a_logarithmic_range_has_its_median_in_the_geometric_middle():
    rng = np.random.default_rng(1)
    values = [Range(1, 100, log=True).draw(rng, whole=False) for _ in range(2000)]
    assert np.median(values) == pytest.approx(10, rel=0.15)
    assert 1 <= min(values) <= max(values) <= 100


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(5, 3), "want two numbers, the smaller one first, got 5 and 3"),
        (lambda: Range(0, float("inf")), "want two numbers"),
        (lambda: Range(0, 3, log=True), "want numbers above 0 on a logarithmic scale, got 0"),
        (lambda: Choice(()), "want at least one value"),
        (lambda: Step(Gain, 1.5), "want probability of 0 to 1, got 1.5"),
        (lambda: Step(Gain, "often"), "want a number as probability, got 'often'"),
        (lambda: Step(Gain, True), "want a number as probability, got True"),
        (lambda: Step(Gain, 1, {"loudness": 3}), "unknown loudness; has level, gain_db"),
        (lambda: Step(Gain, 1, {"gain_db": Range(-5, 500)}), "want gain_db of -60 to 60, got 500"),
        (lambda: Step(Noise, 1, {"color": Choice(("white", "blue"))}), "want color of .*, got 'blue'"),
        (lambda: Step(H264, 1, {"crf": Range(20.5, 23)}), "want whole numbers as crf, got 20.5 to 23"),
        (lambda: Step(BandLimit, 1, {"low_hz": Range(0, 5000), "high_hz": 4000}), "want low_hz below high_hz"),
        (
            lambda: Step(SoundCodec, 1, {"codec": Choice(("opus", "mp3")), "bit_rate": 6000}),
            "want bit_rate of .* for mp3, got 6000",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_when_it_is_made(make, message):
    with pytest.raises(AvlocError, match=message):
        make()


def test_recipes_travel_to_worker_processes():
    assert pickle.loads(pickle.dumps(RECIPE)) == RECIPE


def test_a_digest_tells_recipes_apart():
    assert pickle.loads(pickle.dumps(RECIPE)).digest() == RECIPE.digest()
    assert len(RECIPE.digest()) == 16
    explicit = Recipe(audio=(Step(Gain, 1.0, {"gain_db": Gain().gain_db, "level": 1.0}),))
    assert explicit.digest() == Recipe(audio=(Step(Gain),)).digest()  # a default is a parameter like others
    first, second = Step(Gain, 1.0, {"gain_db": 3.0}), Step(Noise)
    recipes = [
        Recipe(),
        RECIPE,
        explicit,
        Recipe(audio=(first, second)),
        Recipe(audio=(second, first)),
        Recipe(audio=(Step(Gain, 0.5, {"gain_db": 3.0}), second)),
        Recipe(audio=(Step(Gain, 1.0, {"gain_db": Range(3.0, 4.0)}), second)),
        Recipe(visual=(Step(Brightness),)),
    ]
    assert len({recipe.digest() for recipe in recipes}) == len(recipes)

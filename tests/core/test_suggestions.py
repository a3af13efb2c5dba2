from __future__ import annotations

import pytest

from avloc.core.suggestions import closest, did_you_mean

VERBS = ["demo", "synth", "data", "extract", "store", "train", "predict", "evaluate"]


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("exract", VERBS, "extract"),
        ("Evaluate", VERBS, "evaluate"),
        ("eval", VERBS, "evaluate"),
        ("predcit", VERBS, "predict"),
        ("fly", VERBS, None),
        ("", VERBS, None),
        ("--", VERBS, None),
        ("extract", [], None),
        ("avdeepfake1m+", ["avdeepfake1m", "avdeepfake1m++"], "avdeepfake1m++"),
        ("av-deepfake-1m", ["avdeepfake1m", "avdeepfake1m++"], "avdeepfake1m"),
        ("log_spec", ["logmel", "logspec"], "logspec"),
        ("--extractor", ["--extractors", "--root"], "--extractors"),
        ("--btach-size", ["--batch-size", "--seed"], "--batch-size"),
        ("s", ["synth", "data"], None),  # one letter is no beginning
    ],
)
def test_the_closest_name(name, known, expected):
    assert closest(name, known) == expected


def test_the_beginning_of_two_names_is_none_of_them():
    assert closest("re", ["real_extractor", "residual_grid"]) is None


def test_a_hint_is_empty_without_a_match():
    assert did_you_mean("tset", ["train", "dev", "test"]) == " (did you mean test?)"
    assert did_you_mean("zzz", ["train"]) == ""

from __future__ import annotations

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment


@pytest.fixture
def groups(small_truth):
    from scoring.subsets import group_masks

    masks = group_masks(small_truth, unseen={"coded", "kokoro"}, neural={"kokoro"})
    return {
        group: {value: "".join(np.array(small_truth.table.files)[mask]) for value, mask in values.items()}
        for group, values in masks.items()
    }


def test_a_property_of_fakes_selects_them_with_all_real_clips(groups):
    assert groups[""] == {"all clips": "abcd"}
    assert groups["modality"] == {"audio": "ab", "visual": "ac", "both": "ad"}
    assert groups["change"] == {"replace": "abcd"}


def test_kinds_of_methods_need_all_of_a_clip(groups):
    # The last clip's sound is neural and its mouth is not: it is in neither `neural` nor `unseen neural`.
    assert groups["methods"] == {"seen": "ab", "unseen": "acd"}


def test_a_method_has_the_clips_that_it_forged_alone(groups):
    assert groups["audio method"] == {"lpc": "ab"}
    assert groups["visual method"] == {"coded": "ac"}


def test_a_length_needs_all_fakes_of_a_clip(groups):
    # The third clip has fakes of 1 s and of 0.1 s.
    assert groups["length"] == {"> 0.8 s": "abd"}


def test_a_property_of_the_recording_selects_forged_and_real_clips(groups):
    assert groups["speaker"] == {"x": "ab", "y": "cd"}
    assert groups["language"] == {"it": "abcd"}
    assert groups["fps"] == {"25": "abcd"}


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (0.1, "< 0.2 s"),
        (0.2, "0.2–0.4 s"),
        (0.399, "0.2–0.4 s"),
        (0.4, "0.4–0.8 s"),
        (0.8, "> 0.8 s"),
        (1.5, "> 0.8 s"),
    ],
)
def test_ranges_of_length(seconds, name):
    from scoring.subsets import length_name

    for start_s in (0.0, 1.1, 7.3):
        record = VideoRecord("x", "test", audio_segments=(Segment(start_s, round(start_s + seconds, 3)),))
        assert length_name(record) == name
    assert length_name(VideoRecord("x", "test")) is None

from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.speech.network import SpeechNetwork, chosen_layers, plan_passes
from avloc.models.front_ends.speech_encoder import Timing

pytestmark = pytest.mark.usefixtures("one_thread")


class Means(SpeechNetwork):
    """Two hidden states of one number: the means of each row's 4 samples, and the same negated."""

    name, pads = "means", True
    timing, shape = Timing(hop=2, reach=4), (2, 1)

    def _load(self):
        return torch.nn.Identity()

    def states(self, data, mask):
        self.masks.append(mask)
        means = data.unfold(1, 4, 2).mean(dim=2, keepdim=True)
        return [(means, -means)[k] for k in self.numbers]

    def __init__(self, layers="last", mean=False, batch_s=60):
        super().__init__(layers, mean, batch_s)
        self.masks = []


def test_chosen_layers():
    assert chosen_layers("all", 3) == [0, 1, 2]
    assert chosen_layers("last", 3) == [2]
    assert chosen_layers("2+0", 3) == [2, 0]
    assert chosen_layers("0-1+3", 4) == [0, 1, 3]
    for text in ("", "x", "1,2", "-1"):
        with pytest.raises(AvlocError, match=f"layers must be all, last, or numbers .* got '{text}'"):
            chosen_layers(text, 3)
    for text in ("3", "1+1", "2-1"):
        with pytest.raises(AvlocError, match="layers must name some of 0 to 2, each once"):
            chosen_layers(text, 3)


def test_passes_are_bounded():
    assert plan_passes([9, 4, 9, 8], 18, padded=True) == [[0, 2], [3], [1]]
    assert plan_passes([9, 4, 9, 8], 8, padded=True) == [[0], [2], [3], [1]]
    assert plan_passes([9, 4, 9, 4], 99, padded=False) == [[0, 2], [1, 3]]
    assert plan_passes([], 9, padded=True) == []


def test_layers_lie_side_by_side_or_are_averaged():
    samples = np.float32([1, 1, 1, 1, 3, 3, 5])
    assert Means("all").rows([samples])[0].tolist() == [[1, -1], [2, -2]]
    assert Means("0").rows([samples])[0].tolist() == [[1], [2]]
    assert Means("all", mean=True).rows([samples])[0].tolist() == [[0], [0]]
    assert (Means("all").layers, Means("all").dim) == (2, 2)
    assert (Means("all", mean=True).layers, Means("all", mean=True).dim) == (1, 1)
    assert Means("all").parameters() == {"layers": "all", "mean": False}


def test_streams_in_one_pass_are_as_alone():
    extractor = Means("0")
    streams = [np.arange(n, dtype=np.float32) for n in (8, 10, 3)]
    rows = extractor.rows(streams)
    assert [r[:, 0].tolist() for r in rows] == [[1.5, 3.5, 5.5], [1.5, 3.5, 5.5, 7.5], [0.75]]
    assert [None if mask is None else mask.sum(dim=1).tolist() for mask in extractor.masks] == [[10, 8], None]
    assert extractor.rows([]) == []


def test_timing_attributes():
    extractor = Means()
    assert extractor.hop_s == 2 / 16000
    assert extractor.receptive_field_s == 4 / 16000
    assert extractor.start_offset_s == 1 / 16000
    assert extractor.context_s == pytest.approx(2)


def test_impossible_settings():
    with pytest.raises(AvlocError, match="extractor means: batch_s must be at least 1, got 0"):
        Means(batch_s=0)
    with pytest.raises(AvlocError, match="layers must be all, last"):
        Means("first")
    with pytest.raises(AvlocError, match="extractor means: layers must name some of 0 to 1"):
        Means("2").load()

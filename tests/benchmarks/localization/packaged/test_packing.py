from __future__ import annotations

import pytest
import torch

from avloc.core.descriptions import NetworkDescription
from avloc.datasets.loading.batch import Batch, FeatureInputs
from avloc.errors import AvlocError
from avloc.io.files import write_json
from avloc.models import BoundaryTransformer
from avloc.models.packaged import STREAMS


@pytest.fixture
def packing():
    from packaged import packing

    return packing


@pytest.fixture
def looks(packing, monkeypatch):
    """The lines that the packing adds to the ledger."""
    lines = []
    monkeypatch.setattr(packing.ledger, "append", lambda *line: lines.append(line))
    return lines


def test_half_precision_may_change_little(packing, scores):
    near = scores._replace(clip_scores={name: score + 0.01 for name, score in scores.clip_scores.items()})
    assert packing.largest_change(scores, near) == pytest.approx(0.01)
    far = scores._replace(clip_scores={**scores.clip_scores, "f": 0.5})
    with pytest.raises(AvlocError, match=r"changes a clip's best score by 0\.400, want at most 0\.02"):
        packing.largest_change(scores, far)


def test_networks_that_are_too_large_are_refused(packing, tmp_path, monkeypatch):
    for streams in STREAMS:
        (tmp_path / f"{streams}.ckpt").write_bytes(bytes(10 + (streams == "audio")))
    assert packing.check_size(tmp_path) == 31
    monkeypatch.setattr(packing, "MOST_BYTES", 10)
    with pytest.raises(AvlocError, match=r"audio\.ckpt: 11 bytes, want at most 10"):
        packing.check_size(tmp_path)


def test_a_look_at_the_test_split_of_the_corpus_is_noted(packing, looks, tmp_path):
    training = {"seed": 5, "config": "demo"}
    data = packing.Data("avdeepfake1m", tmp_path, tmp_path)
    description = NetworkDescription("avloc-audio", "1", sha256="0123456789abcdef" * 4)
    packing.note_look(description, data, training, "")
    assert looks == []  # no corpus
    write_json(tmp_path / "corpus.json", {"version": 3, "clips": 2400})
    packing.note_look(description, data, training, "abc")
    assert looks == [((3, 2400, "avloc-audio 0123456789ab", 5, "demo", 0.0), "abc")]


def test_parameters_without_effect_are_cleared(packing):
    torch.manual_seed(0)
    network = BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2, levels=2).eval()
    torch.nn.init.normal_(network.missing_modality_embedding)
    torch.nn.init.normal_(network.branches[0].evidence.out.weight)  # 0 before any training
    mask = torch.ones(2, 19, dtype=torch.bool)
    inputs = FeatureInputs(torch.randn(2, 19, 5), torch.zeros(2, 19, 7), mask, torch.zeros_like(mask))
    before = network(**inputs._asdict())
    unused = packing.clear_unused(network, [Batch(inputs, [], [], None, 0)])
    names = [name for name, _ in network.named_parameters() if name.startswith("stems.1.")]
    assert names
    assert set(names) <= set(unused)
    assert len(unused) < 2 * len(names)  # nearly all others have an effect
    for a, b in zip(before, network(**inputs._asdict()), strict=True):
        assert torch.equal(a, b)
    assert not any(parameter.any() for parameter in network.stems[1].parameters())

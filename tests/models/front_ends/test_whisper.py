from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.speech.packaged_whisper import PackagedWhisper
from avloc.models.front_ends.whisper import WhisperFrontEnd


def trained(front_end, x, mask, clock):
    """The parameters of the network that get a gradient, by name."""
    front_end.train()
    front_end(x, mask, clock).square().sum().backward()
    return {name for name, p in front_end.network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_gradients_reach_the_network_only_where_it_learns(front_end_of, stream_of):
    x, mask, clock, _, _ = stream_of("whisper", 7, clips=2)
    assert trained(front_end_of("whisper"), x, mask, clock) == set()
    top = trained(front_end_of("whisper", tuning="top", top_layers=2), x, mask, clock)
    assert {name.split(".")[1] for name in top} == {"1", "2"}
    lora = trained(front_end_of("whisper", tuning="lora", rank=2), x, mask, clock)
    # At first B is 0, and so is the gradient of A.
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    assert lora == {f"layers.{k}.self_attn.{name}.up" for k in range(3) for name in names}
    everything = trained(front_end_of("whisper", tuning="all"), x, mask, clock)
    assert {name.split(".")[0] for name in everything} == {"conv1", "conv2", "layers"}
    assert {name.split(".")[1] for name in everything if name.startswith("layers.")} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("tuning", "learning"),
    [
        ("frozen", [False] * 4),
        ("lora", [True, True, True, False]),
        ("top", [True, False, False, False]),
        ("all", [True] * 4),
    ],
)
def test_groups_are_the_layers_from_the_top_down(tuning, learning, front_end_of):
    front_end = front_end_of("whisper", tuning=tuning)
    groups = front_end.pretrained_groups()
    assert [len(group) > 0 for group in groups] == learning
    members = [id(p) for group in groups for p in group]
    assert sorted(members) == sorted(id(p) for p in front_end.network.parameters() if p.requires_grad)
    if tuning == "top":
        assert {id(p) for p in groups[0]} == {id(p) for p in front_end.network.layers[2].parameters()}


def test_hidden_states_are_those_of_the_extractor(front_end_of, stream_of):
    """Rows lie 10 ms later: those of the extractor of a stream that begins so much later."""
    front_end = front_end_of("whisper", width=2048)
    front_end.norms = torch.nn.ModuleList(torch.nn.Identity() for _ in range(4))
    front_end.project = torch.nn.Identity()
    x, mask, _, _, _ = stream_of("whisper", 9)
    x[:, :6] = x[:, -6:] = 0
    with torch.no_grad():
        (rows,), present = front_end.encode(x, mask)
    assert present.sum() == 18
    samples = x.flatten().numpy().astype(np.float32) / 2**15
    (expected,) = PackagedWhisper(layers="all").rows([samples[160:]])
    np.testing.assert_allclose(rows[1:-1, :512], expected[1:-1, :512], atol=1e-3)
    error, shifted = (np.linalg.norm(rows[1:-1].numpy() - expected[part]) for part in (slice(1, -1), slice(2, None)))
    assert error < 0.2 * shifted  # attention sees the ends of the stream, too


def test_a_checkpoint_brings_its_own_weights(front_end_of, stream_of):
    front_end = front_end_of("whisper", tuning="lora", rank=3)
    with torch.no_grad():
        for parameter in front_end.parameters():
            parameter += 0.01
    again = WhisperFrontEnd(rows_per_step=4.0, width=8, **front_end.options)
    again.load_state_dict(front_end.state_dict())
    x, mask, clock, _, _ = stream_of("whisper", 5)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(x, mask, clock), front_end(x, mask, clock))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tuning": "some"}, "front end whisper: tuning must be one of frozen, lora, top, all, got 'some'"),
        ({"tuning": "top", "top_layers": 4}, "front end whisper: top_layers must be 1 to 3, got 4"),
        ({"tuning": "lora", "rank": 0}, "front end whisper: rank must be 1 to 1024, got 0"),
    ],
)
def test_wrong_options(options, message, front_end_of):
    with pytest.raises(AvlocError, match=message):
        front_end_of("whisper", **options)

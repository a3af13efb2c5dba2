from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.front_ends.speech import SpeechFrontEnd
from avloc.models.front_ends.speech_encoder import random_encoder

KINDS = ["wavlm", "wav2vec2"]


def trained(front_end, x, mask, clock):
    """The parameters of the network that get a gradient, by name."""
    front_end.train()
    front_end(x, mask, clock).square().sum().backward()
    return {name for name, p in front_end.network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_network_only_where_it_learns(kind, front_end_of, stream_of):
    x, mask, clock, _, _ = stream_of(kind, 7, clips=2)
    assert trained(front_end_of(kind), x, mask, clock) == set()
    top = trained(front_end_of(kind, tuning="top", top_layers=1), x, mask, clock)
    assert top
    assert all(name.startswith("encoder.layers.2.") for name in top)
    lora = trained(front_end_of(kind, tuning="lora", rank=2), x, mask, clock)
    # At first B is 0, and so is the gradient of A.
    assert lora == {
        f"encoder.layers.{k}.attention.{name}.up"
        for k in range(3)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj")
    }
    everything = trained(front_end_of(kind, tuning="all"), x, mask, clock)
    assert {name.split(".")[0] for name in everything} == {"feature_extractor", "feature_projection", "encoder"}
    assert {name.split(".")[2] for name in everything if name.startswith("encoder.layers.")} == {"0", "1", "2"}


@pytest.mark.parametrize("tuning", ["lora", "top", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_changes_no_gradient(kind, tuning, front_end_of, stream_of):
    x, mask, clock, _, _ = stream_of(kind, 7)
    gradients = []
    for checkpointing in (False, True):
        front_end = front_end_of(kind, tuning=tuning, top_layers=2, checkpointing=checkpointing)
        kept = [module.gradient_checkpointing for module in front_end.network.encoder.layers]
        assert kept == [checkpointing] * 3
        trained(front_end, x, mask, clock)
        gradients.append({n: p.grad for n, p in front_end.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_updates_change_nothing(kind, front_end_of, stream_of):
    x, mask, clock, _, _ = stream_of(kind, 7)
    outputs = []
    for tuning in ("frozen", "lora", "top", "all"):
        front_end = front_end_of(kind, tuning=tuning, top_layers=1)
        reference = front_end_of(kind)
        front_end.layer_weights, front_end.project = reference.layer_weights, reference.project
        with torch.no_grad():
            outputs.append(front_end(x, mask, clock))
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0])


def test_frames_are_those_of_the_network_on_the_samples(front_end_of, stream_of):
    """40 samples of silence come first; frame k is then centred on rows 2k and 2k + 1."""
    front_end = front_end_of("wav2vec2", normalize=True)
    x, mask, _, _, _ = stream_of("wav2vec2", 5)
    samples = x.float().flatten() / 32768
    samples = (samples - samples.mean()) / (samples.var(unbiased=False) + 1e-7).sqrt()
    samples = torch.nn.functional.pad(samples, (40, 40))[None]
    with torch.no_grad():
        output = front_end.network(samples, output_hidden_states=True)
        mixed = torch.stack(output.hidden_states).mean(0)  # equal weights at first
        expected = front_end.project(front_end.norm(mixed))
        embeddings, present = front_end.encode(x, mask)
    assert present.shape == (1, 10)
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=1e-4)


def test_a_frozen_network_has_no_dropout_in_training(front_end_of, stream_of, settings_of):
    settings = settings_of("wav2vec2") | {"hidden_dropout": 0.5}
    front_end = front_end_of("wav2vec2", settings=settings).train()
    x, mask, clock, _, _ = stream_of("wav2vec2", 7)
    torch.testing.assert_close(front_end(x, mask, clock), front_end(x, mask, clock))
    assert not front_end.network.training
    assert front_end_of("wav2vec2", settings=settings, tuning="all").train().network.training


@pytest.mark.parametrize("kind", ["wavlm", "xls_r"])
def test_groups_of_parameters_fall_from_the_top_layer(kind, front_end_of):
    front_end = front_end_of(kind, tuning="all")
    groups = front_end.pretrained_groups()
    names = {id(p): name for name, p in front_end.network.named_parameters()}
    learned = {name for name, p in front_end.network.named_parameters() if p.requires_grad}
    assert len(groups) == 4
    assert sorted(names[id(p)] for group in groups for p in group) == sorted(learned)
    for k, group in enumerate(groups[:3]):
        own = {names[id(p)] for p in group if names[id(p)].startswith("encoder.layers.")}
        assert all(name.startswith(f"encoder.layers.{2 - k}.") for name in own)
    assert ("encoder.layer_norm.weight" in {names[id(p)] for p in groups[0]}) == (kind == "xls_r")
    assert "masked_spec_embed" not in learned
    assert [bool(group) for group in front_end_of(kind, tuning="top", top_layers=2).pretrained_groups()] == [
        True,
        True,
        False,
        False,
    ]
    assert not any(front_end_of(kind).pretrained_groups())


def test_options_keep_no_path(tmp_path, settings_of, stream_of):
    random_encoder(settings_of("wavlm")).network.save_pretrained(tmp_path / "w")
    front_end = SpeechFrontEnd(rows_per_step=4.0, width=8, weights=str(tmp_path / "w"))
    assert str(tmp_path) not in str(front_end.options)
    assert front_end.options["settings"]["model_type"] == "wavlm"
    again = SpeechFrontEnd(rows_per_step=4.0, width=8, **front_end.options)
    again.load_state_dict(front_end.state_dict())
    x, mask, clock, _, _ = stream_of("wavlm", 5)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(x, mask, clock), front_end.eval()(x, mask, clock))


@pytest.mark.parametrize("kind", ["wavlm", "wav2vec2", "hubert", "xls_r"])
def test_clips_of_unequal_length_share_a_pass(kind, front_end_of, stream_of):
    """Of the base sizes, too, whose first norm is over the whole stream; gradients are those of the clips alone."""
    x, mask, *_ = stream_of(kind, 9, clips=3)
    mask[1, 12:] = mask[2, 20:] = False
    for checkpointing in (False, True):
        front_end = front_end_of(kind, tuning="all", checkpointing=checkpointing).train()
        batches = []
        front_end.network.register_forward_pre_hook(lambda _, inputs, sizes=batches: sizes.append(len(inputs[0])))
        front_end.encode(x, mask)[0].square().sum().backward()
        assert batches == [3]
        together = {name: p.grad.clone() for name, p in front_end.named_parameters() if p.grad is not None}
        front_end.zero_grad()
        for b in range(3):
            front_end.encode(x[b : b + 1], mask[b : b + 1])[0].square().sum().backward()
        for name, p in front_end.named_parameters():
            if name in together:
                torch.testing.assert_close(together[name], p.grad, atol=1e-4, rtol=1e-3)


def test_the_norm_of_the_first_convolution_keeps_its_name(front_end_of):
    """Checkpoints hold it once, under the name that transformers gives it."""
    names = [name for name in front_end_of("wav2vec2").state_dict() if "norm" in name and "feature_extractor" in name]
    assert names == [f"network.feature_extractor.conv_layers.0.layer_norm.{name}" for name in ("weight", "bias")]
    assert not any("clip_norm" in name for name in front_end_of("wav2vec2").state_dict())


def test_wrong_options(settings_of):
    settings = settings_of("wavlm")
    for options, message in (
        ({}, "give either weights"),
        ({"settings": settings, "weights": "w"}, "give either weights"),
        ({"settings": settings, "tuning": "half"}, "tuning must be one of frozen, lora, top, all, got 'half'"),
        ({"settings": settings, "tuning": "top", "top_layers": 4}, "top_layers must be 1 to 3, got 4"),
        ({"settings": settings | {"conv_stride": [3] * 7}}, "does not fit to rows of 160"),
    ):
        with pytest.raises(AvlocError, match=message):
            SpeechFrontEnd(rows_per_step=4.0, width=8, **options)

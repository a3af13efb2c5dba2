from __future__ import annotations

import pytest
import torch

from avloc.models.boundary_transformer.pooled_evidence import PARTS, PooledEvidence, interval_means, segment_parts

B, T, P, E = 2, 19, 5, 3


def _reference_mean(values, mask, low, high):
    """Sum steps by their share within [low, high), one by one."""
    total, weight = torch.zeros(values.shape[1]), 0.0
    for k in range(len(values)):
        share = max(0.0, min(k + 1, high) - max(k, low)) * bool(mask[k])
        total, weight = total + share * values[k], weight + share
    return total / weight if weight > 1e-3 else torch.zeros(values.shape[1])


def test_means_equal_a_plain_loop():
    torch.manual_seed(0)
    values, mask = torch.randn(B, T, E), torch.rand(B, T) < 0.8
    starts = torch.rand(B, P, 4) * 25 - 3  # some before the clip, some behind its end
    intervals = torch.stack([starts, starts + torch.rand(B, P, 4) * 9], -1)
    means = interval_means(values, mask, intervals)
    assert means.shape == (B, P, 4, E)
    for b, p, k in torch.cartesian_prod(torch.arange(B), torch.arange(P), torch.arange(4)).tolist():
        expected = _reference_mean(values[b], mask[b], *intervals[b, p, k].tolist())
        torch.testing.assert_close(means[b, p, k], expected, atol=2e-4, rtol=1e-3)


def test_means_by_hand():
    values = torch.tensor([[[1.0], [2.0], [4.0], [100.0]]])
    mask = torch.tensor([[True, True, True, False]])
    intervals = torch.tensor([[[[0.0, 2.0], [0.5, 1.5], [2.5, 4.0], [3.0, 4.0], [-5.0, 0.0], [1.0, 1.0]]]])
    assert interval_means(values, mask, intervals).flatten().tolist() == pytest.approx([1.5, 1.5, 4.0, 0, 0, 0])


def test_parts_by_hand():
    parts = segment_parts(torch.tensor([[[10.0, 11.0]]]))
    assert parts.shape == (1, 1, PARTS, 2)
    assert parts[0, 0, 0].tolist() == [8.0, 10.0]  # a short segment still has two steps beside it
    assert parts[0, 0, -1].tolist() == [11.0, 13.0]
    assert parts[0, 0, 2:-2, 0].tolist() == pytest.approx([10, 10 + 1 / 3, 10 + 2 / 3])


def test_starts_neutral():
    """A new network's second look changes nothing."""
    evidence = PooledEvidence(width=4, channels=E, outputs=2)(
        torch.randn(B, T, 4), torch.ones(B, T, dtype=torch.bool), torch.rand(B, P, 2).cumsum(-1) * 6
    )
    assert evidence.logits.shape == (B, P, 2)
    assert not evidence.logits.any()
    assert not evidence.offsets.any()


def _trained_head():
    torch.manual_seed(0)
    head = PooledEvidence(width=4, channels=E, outputs=1)
    torch.nn.init.normal_(head.out.weight)
    return head


def test_gradients_reach_the_stream_and_not_the_segments():
    x, segments = torch.randn(B, T, 4, requires_grad=True), torch.tensor([[[4.0, 9.5]]] * B, requires_grad=True)
    _trained_head()(x, torch.ones(B, T, dtype=torch.bool), segments).logits.sum().backward()
    assert segments.grad is None
    touched = x.grad.abs().sum((0, 2)) > 1e-5  # running sums leave a rest of 1e-8
    assert touched.nonzero().flatten().tolist() == list(range(1, 13))  # 2.75 steps before to 2.75 behind


def test_padding_changes_nothing():
    head, x = _trained_head(), torch.randn(1, T, 4)
    segments, mask = torch.tensor([[[2.5, 7.0], [12.0, 19.0]]]), torch.ones(1, T, dtype=torch.bool)
    padded = torch.cat([x, torch.full((1, 7, 4), 9.0)], 1)
    longer = torch.cat([mask, torch.zeros(1, 7, dtype=torch.bool)], 1)
    torch.testing.assert_close(
        head(padded, longer, segments).logits, head(x, mask, segments).logits, atol=1e-5, rtol=1e-4
    )


def test_half_precision_keeps_long_sums():
    """Sums of thousands of steps are not rounded to eight bits."""
    torch.manual_seed(0)
    values = torch.rand(1, 4000, 1).bfloat16() + 1
    mask = torch.ones(1, 4000, dtype=torch.bool)
    mean = interval_means(values, mask, torch.tensor([[[[3990.0, 3996.0]]]]))
    assert mean.item() == pytest.approx(values[0, 3990:3996].float().mean().item(), rel=1e-2)


def test_intervals_that_are_not_finite_are_no_index():
    intervals = torch.tensor([[[[float("nan"), 2.0], [float("-inf"), float("inf")]]]])
    means = interval_means(torch.arange(5.0)[None, :, None], torch.ones(1, 5, dtype=torch.bool), intervals)
    assert means.flatten().tolist() == [0.5, 2.0]

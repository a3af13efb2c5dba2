from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.batfd.boundary_sampling import cell_sampling, first_starts

T, D, N = 13, 4, 3


def _reference_weights(kind):
    """Plain loops, as the description has it: (D, T, N, T)."""
    weights = np.zeros((D, T, N, T))
    for d in range(D):
        for t in range(T):
            if not (t < T - 1 and d < min(T - 1 - t, D)):
                continue
            low, high = (t, d + 1) if kind == "published" else (t, t + d + 1)
            length = high - low
            a, b = low - length / 2, high + length / 2
            for n in range(N):
                x = a + n * (b - a) / (N - 1)
                if not 0 <= x <= T - 1:
                    continue
                if kind == "proposal" and x == int(x):
                    weights[d, t, n, int(x)] = 1
                else:
                    weights[d, t, n, math.floor(x)] += 1 - (x - math.floor(x))
                    weights[d, t, n, math.ceil(x)] += 1 - (math.ceil(x) - x)
    return torch.from_numpy(weights).float()


@pytest.mark.parametrize("kind", ["published", "proposal"])
def test_equal_to_plain_loops(kind):
    weights = _reference_weights(kind)
    table = torch.randn(N, T, 5)
    expected = torch.einsum("dtnf,nfk->tdk", weights, table)
    whole = cell_sampling(T, D, N, kind)
    got = whole(table.flatten(0, 1)).unflatten(0, (T, D))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    some = first_starts(7, T, D, N, kind)
    torch.testing.assert_close(some(table.flatten(0, 1)), expected[:7].flatten(0, 1), atol=1e-5, rtol=1e-5)
    parts = [some.rows.part(0, 9) @ table.flatten(0, 1), some.rows.part(9, 28) @ table.flatten(0, 1)]
    torch.testing.assert_close(torch.cat(parts), some(table.flatten(0, 1)))


@pytest.mark.parametrize("starts", [7, T])
def test_gradients_are_those_of_the_dense_product(starts):
    weights = _reference_weights("proposal")
    table = torch.randn(N, T, 5, requires_grad=True)
    upstream = torch.randn(starts, D, 5)
    (torch.einsum("dtnf,nfk->tdk", weights, table)[:starts] * upstream).sum().backward()
    wanted, table.grad = table.grad, None
    got = first_starts(starts, T, D, N, "proposal")(table.flatten(0, 1)).unflatten(0, (starts, D))
    (got * upstream).sum().backward()
    torch.testing.assert_close(table.grad, wanted, atol=1e-5, rtol=1e-5)


def test_by_hand():
    """Cell (0, 2) is [2, 3]: points at 1.5, 2.5, 3.5."""
    ramp = torch.arange(T, dtype=torch.float32)[None, :, None].repeat(N, 1, 1)
    ramp[1:] = 0
    assert cell_sampling(T, D, N, "proposal")(ramp.flatten(0, 1)).unflatten(0, (T, D))[2, 0].item() == 1.5
    # Published, [2, d + 1]: for d = 2 points at 1.5, 2.5, 3.5; for d = 0, of length −1, at 2.5, 1.5, 0.5; for d = 1 all
    # at 2, a frame, which counts twice.
    twice = cell_sampling(T, D, N, "published")(ramp.flatten(0, 1)).unflatten(0, (T, D))
    assert twice[2, :3, 0].tolist() == [2.5, 4.0, 1.5]


def test_wrong_sizes():
    with pytest.raises(AvlocError, match="want frames ≥ 2, durations ≥ 1, samples ≥ 2"):
        cell_sampling(T, D, 1, "proposal")
    with pytest.raises(AvlocError, match="got 13, 4, 3 and 'odd'"):
        cell_sampling(T, D, N, "odd")

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.batfd.boundary_sampling import SparseRows, cell_sampling, first_starts

T, D, N = 13, 4, 3


def _reference_weights(kind):
    """Plain loops over the description: (D, T, N, T)."""
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
def test_sampling_equals_plain_loops(kind):
    weights = _reference_weights(kind)
    table = torch.randn(N, T, 5)
    expected = torch.einsum("dtnf,nfk->tdk", weights, table)
    whole = cell_sampling(T, D, N, kind)
    sampled = whole(table.flatten(0, 1)).unflatten(0, (T, D))
    torch.testing.assert_close(sampled, expected, atol=1e-5, rtol=1e-5)
    first = first_starts(7, T, D, N, kind)
    torch.testing.assert_close(first(table.flatten(0, 1)), expected[:7].flatten(0, 1), atol=1e-5, rtol=1e-5)
    slices = [first.rows.slice(0, 9) @ table.flatten(0, 1), first.rows.slice(9, 28) @ table.flatten(0, 1)]
    torch.testing.assert_close(torch.cat(slices), first(table.flatten(0, 1)))


@pytest.mark.parametrize("starts", [7, T])
def test_gradients_equal_those_of_the_dense_product(starts):
    weights = _reference_weights("proposal")
    table = torch.randn(N, T, 5, requires_grad=True)
    upstream = torch.randn(starts, D, 5)
    (torch.einsum("dtnf,nfk->tdk", weights, table)[:starts] * upstream).sum().backward()
    expected, table.grad = table.grad, None
    sampled = first_starts(starts, T, D, N, "proposal")(table.flatten(0, 1)).unflatten(0, (starts, D))
    (sampled * upstream).sum().backward()
    torch.testing.assert_close(table.grad, expected, atol=1e-5, rtol=1e-5)


def test_cells_by_hand():
    """Cell (0, 2) is [2, 3]: points at 1.5, 2.5, 3.5."""
    ramp = torch.arange(T, dtype=torch.float32)[None, :, None].repeat(N, 1, 1)
    ramp[1:] = 0
    assert cell_sampling(T, D, N, "proposal")(ramp.flatten(0, 1)).unflatten(0, (T, D))[2, 0].item() == 1.5
    # Published, [2, d + 1]: for d = 2 points at 1.5, 2.5, 3.5; for d = 0, of length −1, at 2.5, 1.5, 0.5; for d = 1 all
    # at 2, a frame, which counts twice.
    published = cell_sampling(T, D, N, "published")(ramp.flatten(0, 1)).unflatten(0, (T, D))
    assert published[2, :3, 0].tolist() == [2.5, 4.0, 1.5]


def test_sparse_rows_by_hand():
    rows = SparseRows(torch.tensor([2, 0, 2]), torch.tensor([1.0, 0.5, 3.0]), torch.tensor([0, 1, 1, 3]))
    identity = torch.eye(3)
    assert (rows @ identity).tolist() == [[0, 0, 1], [0, 0, 0], [0.5, 0, 3]]
    assert (rows.first(2) @ identity).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert (rows.slice(1, 3) @ identity).tolist() == [[0, 0, 0], [0.5, 0, 3]]
    assert (rows.transposed(3) @ identity).tolist() == [[0, 0, 0.5], [0, 0, 0], [1, 0, 3]]


def test_sampling_is_computed_once():
    whole = cell_sampling(T, D, N, "proposal", "cpu")
    assert cell_sampling(T, D, N, "proposal", "cpu") is whole
    assert first_starts(T, T, D, N, "proposal", "cpu") is whole
    assert first_starts(7, T, D, N, "proposal", "cpu").rows.weights.data_ptr() == whole.rows.weights.data_ptr()


def test_wrong_sizes():
    with pytest.raises(AvlocError, match="want frames ≥ 2, durations ≥ 1, samples ≥ 2"):
        cell_sampling(T, D, 1, "proposal")
    with pytest.raises(AvlocError, match="got 1, 4, 3 and 'proposal'"):
        cell_sampling(1, D, N, "proposal")
    with pytest.raises(AvlocError, match="got 13, 4, 3 and 'odd'"):
        cell_sampling(T, D, N, "odd")

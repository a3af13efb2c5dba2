from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.models.stream_clock import StreamClock, check_rows_per_step, split_stride, stream_clocks

STEP_S = 0.04
HOPS_S = (0.01, 0.02, 0.04, 0.16, 1 / 29.97)


def clock_of(grid, rows):
    """The clock of one clip of a batch."""
    phase = torch.tensor([(rows.start_s - grid.start_s) / rows.hop_s], dtype=torch.float32)
    return StreamClock(grid.hop_s / rows.hop_s, phase, torch.ones(1, grid.length, dtype=torch.bool))


@pytest.mark.parametrize("hop_s", HOPS_S)
@pytest.mark.parametrize("start_s", [0.0, 0.013, -0.1, 0.31])
def test_step_masks_are_those_of_the_time_grid(hop_s, start_s):
    grid = TimeGrid(0.2, STEP_S, 57)
    rows = TimeGrid(start_s, hop_s, 9).over(grid)
    present = np.random.default_rng(3).random(rows.length) < 0.6
    mask = clock_of(grid, rows).step_mask(torch.from_numpy(present)[None])
    np.testing.assert_array_equal(mask[0].numpy(), rows.present_at(present, grid))


@pytest.mark.parametrize("hop_s", HOPS_S)
def test_rows_that_hold_their_time_give_steps_that_hold_theirs(hop_s):
    grid = TimeGrid(0.0, STEP_S, 57)
    rows = TimeGrid(0.013, hop_s, 9).over(grid)
    x = torch.from_numpy(rows.centers_s())[None, :, None].float()
    y = clock_of(grid, rows).to_steps(x, torch.ones(1, rows.length, dtype=torch.bool))[0, :, 0]
    inner = slice(4, -4)  # at the ends the nearest row is held
    np.testing.assert_allclose(y.numpy()[inner], grid.centers_s()[inner], atol=1e-6)


def test_absent_rows_have_no_weight():
    clock = StreamClock(1.0, torch.tensor([0.25]), torch.ones(1, 3, dtype=torch.bool))
    x, mask = torch.tensor([[[8.0], [4.0], [999.0]]]), torch.tensor([[True, True, False]])
    # Rows cover 0.25–1.25, 1.25–2.25, 2.25–3.25: step 0 has its middle in row 0, and a quarter of the row before it.
    assert clock.to_steps(x, mask).flatten().tolist() == [8.0, 5.0, 4.0]
    assert clock.step_mask(mask).tolist() == [[True, True, False]]
    assert not clock.to_steps(x, torch.zeros_like(mask)).any()


def test_streams_on_steps_need_no_clock():
    x, mask = torch.ones(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    audio, video = stream_clocks({}, (x, None), (x, None), None)
    assert audio.to_steps(x, mask) is x
    assert video.step_mask(mask) is mask


def test_streams_at_another_rate_are_refused():
    x, phase, steps = torch.ones(1, 20, 3), torch.zeros(1), torch.ones(1, 5, dtype=torch.bool)
    rates = {"audio_rows_per_step": 4.0, "visual_rows_per_step": 1.0}
    with pytest.raises(AvlocError, match="takes audio features averaged to its steps; see native_rate"):
        stream_clocks({}, (x, phase), (x, phase), steps)
    with pytest.raises(AvlocError, match="takes audio features at 4 rows per step, with phases"):
        stream_clocks(rates, (x, None), (x, None), None)
    with pytest.raises(AvlocError, match="want 5 visual rows for 5 steps, got 20"):
        stream_clocks(rates, (x, phase), (x, phase), steps)
    with pytest.raises(AvlocError, match=r"equal \(B, T\)"):
        stream_clocks({}, (x, None), (x[:, :7], None), None)
    for rate in (0.001, 1e9, float("nan")):
        with pytest.raises(AvlocError, match="want rows per step within 1/64 and 64"):
            check_rows_per_step(rate)


@pytest.mark.parametrize(
    ("rows_per_step", "strides"),
    [(1.0, [1, 1, 1]), (2.0, [1, 1, 2]), (16.0, [2, 2, 4]), (5.3, [1, 1, 5]), (0.25, [1, 1, 1])],
)
def test_strides_of_three_layers(rows_per_step, strides):
    assert split_stride(rows_per_step, 3) == strides


TWO_HOURS = 180_000  # steps


@pytest.mark.parametrize("rows_per_step", [4.0, 29.97 / 25, 0.25, 1.0, 3.7])
@pytest.mark.parametrize("stride", [1, 4])
def test_times_of_a_long_clip_equal_those_of_float64(rows_per_step, stride):
    phase = torch.tensor([0.0, 0.3, -0.5, 0.4999, -2.25])
    clock = StreamClock(rows_per_step, phase, torch.ones(len(phase), TWO_HOURS, dtype=torch.bool))
    exact = (np.arange(TWO_HOURS) + 0.5) * rows_per_step - phase.double().numpy()[:, None]
    for position, expected in (
        (clock.middles(), exact),
        (clock.middles().in_groups(stride), exact / stride - 0.5),
    ):
        assert position.share.dtype == torch.float32
        assert ((position.share >= 0) & (position.share <= 1)).all()
        np.testing.assert_allclose(position.row.numpy() + position.share.double().numpy(), expected, rtol=0, atol=3e-7)


def test_step_masks_of_a_long_clip_are_those_of_the_time_grid():
    grid = TimeGrid(0.0, STEP_S, TWO_HOURS)
    rows = TimeGrid(0.013, 1 / 29.97, 9).over(grid)
    present = np.random.default_rng(3).random(rows.length) < 0.6
    mask = clock_of(grid, rows).step_mask(torch.from_numpy(present)[None])
    np.testing.assert_array_equal(mask[0].numpy(), rows.present_at(present, grid))


class _WithoutFloat64(TorchDispatchMode):
    """Count float64 tensors that are made on a device other than the CPU, as MPS refuses them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                assert tensor.dtype != torch.float64, func
        return result


def test_no_float64_reaches_the_device():
    phase, inside = torch.zeros(2, device="meta"), torch.ones(2, 19, dtype=torch.bool, device="meta")
    clock = StreamClock(4.0, phase, inside)
    with _WithoutFloat64():
        assert clock.step_mask(torch.ones(2, 76, dtype=torch.bool, device="meta")).shape == (2, 19)
        x, mask = torch.zeros(2, 38, 3, device="meta"), torch.ones(2, 38, dtype=torch.bool, device="meta")
        assert clock.to_steps(x, mask, 2).dtype == torch.float32

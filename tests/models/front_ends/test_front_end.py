"""The contract that all front ends keep: time, masks, neighbours in a batch, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from avloc.errors import AvlocError
from avloc.models.front_ends.front_end import FrontEnd, check_options, join_samples
from avloc.models.stream_clock import StreamClock
from avloc.models.whisper import network as whisper_network


@pytest.mark.parametrize("start_s", [0.0, 0.0037])
def test_an_impulse_appears_at_its_time(front_end_name, front_end_of, stream_of, inputs_alone, start_s):
    """The mean over random filters of the time of the response is the impulse's, and its step responds.

    The transformer of a speech network sees the whole stream: its input is looked at alone.
    """
    responses = []
    for seed in range(12):
        x, mask, clock, grid, rows = stream_of(front_end_name, 25, start_s=start_s, seed=seed)
        row = rows.length // 3
        changed = x.clone()
        if front_end_name == "lips":
            changed[0, row] = changed[0, row].flip(0)
        else:
            changed[0, row, 78:82] += 600
        front_end = front_end_of(front_end_name, seed=seed)
        inputs_alone(front_end)
        with torch.no_grad():
            response = (front_end(changed, mask, clock) - front_end(x, mask, clock)).square().sum(-1)[0]
        response = response.double().numpy()
        assert response[int(grid.to_steps(rows.centers_s()[row]))] > 0
        responses.append(response / response.max())
    mean = np.mean(responses, axis=0)
    weights = mean * (mean > 0.4 * mean.max())  # a norm over the clip changes all steps a little
    # Symmetric in the mean: a layer that were half a step late would shift it.
    assert (weights * grid.centers_s()).sum() / weights.sum() == pytest.approx(rows.centers_s()[row], abs=0.015)


def make_symmetrical(front_end):
    """Give each filter the same weights in both directions of time; layers and their strides stay."""
    with torch.no_grad():
        for name, module in front_end.named_modules():
            if (
                "pos_conv" in name
            ):  # of an even number of frames in the published networks, which no code of ours can centre
                for parameter_name, parameter in module.named_parameters():
                    if not parameter_name.endswith("original1"):  # whose length divides it
                        parameter.zero_()
            elif isinstance(module, nn.Conv1d):
                module.weight.copy_((module.weight + module.weight.flip(2)) / 2)
            elif name == "motion":
                module.weight.copy_((module.weight + module.weight.flip(1)) / 2)
            elif isinstance(module, nn.Conv2d) and "blocks_2d" not in name:
                sign = torch.ones(module.in_channels)
                if (
                    module.in_channels % 3 == 0
                ):  # the delay of a bin's energy has the other sign when time runs backwards
                    sign[2::3] = -1
                module.weight.copy_((module.weight + sign[None, :, None, None] * module.weight.flip(2)) / 2)


@pytest.mark.parametrize("start_s", [0.0, 0.0037])
def test_time_runs_alike_in_both_directions(
    front_end_name, front_end_of, stream_of, inputs_alone, monkeypatch, start_s
):
    """With symmetrical filters, a stream backwards gives the steps backwards: no layer, stride or window shifts the time.

    A row of 10 ms more or less is far more than the tolerance, as a shifted stream shows; the window of a spectrum is half a
    sample off its middle.
    """
    front_end = front_end_of(front_end_name, layers=1)
    make_symmetrical(front_end)
    inputs_alone(front_end)  # a transformer knows which frame came first
    monkeypatch.setattr(whisper_network, "positions", lambda rows, device: torch.zeros(()))
    x, mask, clock, _, rows = stream_of(front_end_name, 11, start_s=start_s)
    assert rows.length == 11 * round(clock.rows_per_step)
    backwards = x.flip(1) if front_end_name == "lips" else x.flip(1, 2)
    with torch.no_grad():
        forth = front_end(x, mask, clock)
        back = front_end(backwards, mask, clock._replace(phase=-clock.phase)).flip(1)
        late = front_end(backwards, mask, clock._replace(phase=1 - clock.phase)).flip(1)
    error = (back - forth).square().mean().sqrt()
    shifted = (late - forth)[:, 1:-1].square().mean().sqrt()
    assert error < 0.2 * shifted


def test_padding_and_neighbours_have_no_effect(front_end_name, front_end_of, stream_of):
    """Clips of unequal length, one with a gap and one without any row, equal themselves alone."""
    front_end = front_end_of(front_end_name, layers=1)
    x, mask, clock, _, rows = stream_of(front_end_name, 19, clips=4)
    per_step = rows.length // 19
    for clip, steps in ((1, 11), (2, 0)):
        mask[clip, steps * per_step :] = False
        clock.inside[clip, max(1, steps) :] = False
    mask[3, 5 * per_step : 8 * per_step] = False
    with torch.no_grad():
        together = front_end(x, mask, clock)
        x[~mask] = 99  # what lies outside of the mask does not matter
        torch.testing.assert_close(front_end(x, mask, clock), together)
        for clip, steps in enumerate((19, 11, 1, 19)):
            part = slice(clip, clip + 1), slice(0, steps * per_step)
            alone = StreamClock(clock.rows_per_step, clock.phase[part[0]], clock.inside[part[0], :steps])
            output = front_end(x[part], mask[part], alone)
            torch.testing.assert_close(output[0], together[clip, :steps], atol=2e-5, rtol=1e-4)
    assert together.isfinite().all()
    assert not together[2].any()
    assert not together[1, 11:].any()


def test_gradients_reach_every_parameter_that_learns(front_end_name, front_end_of, stream_of):
    front_end = front_end_of(front_end_name, layers=1).train()
    x, mask, clock, _, _ = stream_of(front_end_name, 7, clips=2)
    front_end(x, mask, clock).square().sum().backward()
    untouched = [name for name, p in front_end.named_parameters() if p.requires_grad and p.grad is None]
    assert untouched == []


def test_a_batch_without_any_row_trains(front_end_name, front_end_of, stream_of):
    """As one process of several may get it: every parameter has a gradient, and none is NaN."""
    front_end = front_end_of(front_end_name, layers=1).train()
    x, mask, clock, _, _ = stream_of(front_end_name, 5, clips=2)
    output = front_end(x, torch.zeros_like(mask), clock)
    assert not output.any()
    output.sum().backward()
    for name, parameter in front_end.named_parameters():
        assert not parameter.requires_grad or (parameter.grad is not None and parameter.grad.isfinite().all()), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_train(front_end_name, front_end_of, stream_of, dtype):
    """As Lightning's `bf16-true` casts a module, buffers included."""
    x, mask, clock, _, _ = stream_of(front_end_name, 7, clips=2)
    with torch.no_grad():
        expected = front_end_of(front_end_name, layers=1)(x, mask, clock)
    front_end = front_end_of(front_end_name, layers=1).to(dtype)
    output = front_end(x, mask, clock)
    assert output.dtype == dtype
    assert (output - expected).abs().max() < 0.15 * expected.abs().max()
    front_end.train()(x, mask, clock).float().square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in front_end.parameters())


def test_a_front_end_is_made_again_from_its_options(front_end_name, front_end_of, stream_of):
    front_end = front_end_of(front_end_name)
    same = front_end_of(front_end_name, seed=1, **front_end.options)
    same.load_state_dict(front_end.state_dict())
    x, mask, clock, _, _ = stream_of(front_end_name, 5)
    with torch.no_grad():
        torch.testing.assert_close(same(x, mask, clock), front_end(x, mask, clock))


def test_samples_outside_of_the_mask_are_silence():
    x = torch.full((1, 2, 3), float("nan"))
    x[0, 1] = 0.5
    assert join_samples(x, torch.tensor([[False, True]])).tolist() == [[0, 0, 0, 0.5, 0.5, 0.5]]


def test_a_front_end_needs_a_rate():
    with pytest.raises(AvlocError, match="takes its stream at its own rate"):
        FrontEnd(rows_per_step=None, width=4, layers=0, dropout=0.0)
    with pytest.raises(AvlocError, match="want rows per step within"):
        FrontEnd(rows_per_step=100.0, width=4, layers=0, dropout=0.0)


def test_numbers_out_of_range_are_named():
    with pytest.raises(AvlocError, match="front end raw: filters must be 1 to 9, got 10"):
        check_options("raw", {"kernel": (5, 1, 9), "filters": (10, 1, 9)})


@pytest.mark.parametrize("value", [float("nan"), 6.0, True, "6", None, [6]])
def test_numbers_must_be_whole(value):
    with pytest.raises(AvlocError, match="front end raw: filters must be a whole number, got"):
        check_options("raw", {"filters": (value, 1, 9)})


@pytest.mark.parametrize("value", [1, 0.0, "no", None])
def test_switches_must_be_true_or_false(value):
    with pytest.raises(AvlocError, match="front end raw: phase must be true or false, got"):
        check_options("raw", {}, {"phase": value})

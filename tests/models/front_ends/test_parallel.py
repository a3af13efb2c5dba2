from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.front_ends.catalog import find_front_end
from avloc.models.front_ends.parallel import ParallelFrontEnd
from avloc.models.front_ends.raw import RawFrontEnd

RAW = {"name": "raw", "filters": 6, "kernel": 100}
SPECTROGRAM = {"name": "spectrogram", "n_fft": 320, "channels": 2}


def test_the_output_is_the_sum(stream_of):
    torch.manual_seed(1)
    front_end = ParallelFrontEnd(rows_per_step=4.0, width=8, front_ends=[RAW, SPECTROGRAM, RAW]).eval()
    x, mask, clock, _, _ = stream_of("parallel", 11, start_s=0.0037, clips=3)
    mask[1, 17:] = mask[2, :9] = False
    with torch.no_grad():
        parts = sum(part(x, mask, clock) for part in front_end.front_ends)
        torch.testing.assert_close(front_end(x, mask, clock), parts)


def test_the_coarser_embeddings_are_held(front_end_of, stream_of):
    """Of two strides the output has the shorter one, and at the steps it is the sum."""
    front_end = front_end_of("parallel")
    fine, coarse = front_end.front_ends
    assert (front_end.stride, fine.stride, coarse.stride) == (2, 2, 4)
    x, mask, clock, _, _ = stream_of("parallel", 9)
    with torch.no_grad():
        embeddings, present = front_end.encode(x, mask)
        held = coarse.encode(x, mask)[0].repeat_interleave(2, dim=1)
        torch.testing.assert_close(embeddings, fine.encode(x, mask)[0] + held)
        sum_at_steps = fine(x, mask, clock) + coarse(x, mask, clock)
        torch.testing.assert_close(front_end(x, mask, clock), sum_at_steps, atol=1e-5, rtol=1e-4)
    assert present.shape == (1, 18)


def test_it_is_found_whole_and_options_make_it_again():
    front_end = ParallelFrontEnd(rows_per_step=4.0, width=8, layers=1, front_ends=[RAW, SPECTROGRAM])
    assert find_front_end(torch.nn.ModuleList([front_end]), "audio") is front_end
    assert [part["name"] for part in front_end.options["front_ends"]] == ["raw", "spectrogram"]
    again = ParallelFrontEnd(rows_per_step=4.0, width=8, layers=1, **front_end.options)
    again.load_state_dict(front_end.state_dict())
    assert isinstance(again.front_ends[0], RawFrontEnd)


def test_pretrained_parts_learn_at_rates_of_their_own(front_end_of):
    from avloc.training.parameter_groups import PretrainedRates, parameter_groups

    whisper = {"name": "whisper", "tuning": "top", "top_layers": 2}
    front_end = front_end_of("parallel", front_ends=[whisper, RAW])
    groups = parameter_groups(front_end, 1e-3, PretrainedRates(lr=1e-4, layer_decay=0.5))
    rates = {group["lr"]: sum(p.numel() for p in group["params"]) for group in groups if group["pretrained"]}
    assert set(rates) == {1e-4, 5e-5}
    assert len({*rates.values()}) == 1  # layers of equal size


@pytest.mark.parametrize(
    ("front_ends", "message"),
    [
        ([], "want 2 to 8 front_ends, got 0"),
        ([RAW], "want 2 to 8 front_ends, got 1"),
        ("raw", "front_ends must be a list of names and options, got 'raw'"),
        ([{"filters": 3}, RAW], "front_ends must be a list of names and options"),
        ([RAW, {"name": "parallel", "front_ends": [RAW, RAW]}], "must not be parallel themselves"),
        ([RAW, {"name": "mfcc"}], "unknown front end 'mfcc'"),
        ([RAW, {"name": "lips"}], "front end lips takes the visual stream"),
        ([RAW, {"name": "raw", "width": 3}], "front end raw has no option 'width'"),
    ],
)
def test_wrong_options(front_ends, message):
    with pytest.raises(AvlocError, match=message):
        ParallelFrontEnd(rows_per_step=4.0, width=8, front_ends=front_ends)

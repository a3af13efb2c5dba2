from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import TimeGrid
from avloc.datasets.examples.example import FeatureExample
from avloc.inference import windowed_network
from avloc.inference.windowed_network import Handlers, NotFiniteError, WindowedNetwork


class Source:
    """Clips of one number per step at 2 steps per second, the sound's being the clip's own number."""

    hop_s, windows, batch_size = 0.5, True, 3

    def collate(self, examples):
        longest = max(example.grid.length for example in examples)
        video = torch.stack([torch.from_numpy(np.resize(e.streams[0], (longest, 1))) for e in examples])
        inputs = SimpleNamespace(_asdict=lambda: {"video": video})
        batch = SimpleNamespace(inputs=inputs, grids=[example.grid for example in examples])
        batch.to = lambda device: batch
        return batch


class Echo:
    """The number of a step is its logit."""

    longest_steps, longest_segment_steps = None, 3

    def __call__(self, video):
        return SimpleNamespace(step_logits=video.expand(-1, -1, 2))


def example(length, number, sound=True):
    streams = tuple(np.full((length, 1), number, np.float32) for _ in range(2))
    masks = (np.full(length, sound), np.ones(length, bool))
    return FeatureExample(VideoRecord(f"{number}", "t"), TimeGrid(0.0, 0.5, length), streams, masks, length / 2)


@pytest.fixture
def windowed(monkeypatch):
    monkeypatch.setattr(windowed_network, "WINDOW_S", 4.0)
    return WindowedNetwork(Echo(), Source(), "cpu", "32")


def test_batches_keep_the_order_and_long_clips_come_alone(windowed):
    handlers = Handlers(
        batch=lambda examples: [(example.record.file, len(examples)) for example in examples],
        windows=lambda windows: [(window.begin, window.example.grid.length, window.last) for window in windows],
        failure=lambda example, problem: problem,
    )
    clips = [example(length, k) for k, length in enumerate((8, 1, 2, 3, 15, 5))]
    assert list(windowed.run(clips, None, handlers)) == [
        ("0", 3),
        ("1", 3),
        ("2", 3),
        ("3", 1),
        [(0, 8, False), (5, 8, False), (10, 5, True)],  # 8 steps, of which the longest segment, 3, are shared
        ("5", 1),
    ]


def test_each_step_is_answered_once(windowed):
    handlers = Handlers(
        batch=list,
        windows=lambda windows: [(first, end) for _, first, end in windowed.answers(windows)],
        failure=lambda example, problem: problem,
    )
    for length in range(9, 40):
        (answers,) = windowed.run([example(length, 1)], None, handlers)
        assert answers[0][0] == 0
        assert answers[-1][1] == length
        assert [end for _, end in answers[:-1]] == [first for first, _ in answers[1:]]


def test_what_is_not_finite_costs_one_clip(windowed):
    def outputs(examples):
        return [float(output.fakeness[0, 1]) for output in windowed.infer(examples, lambda *_: [None] * len(examples))]

    handlers = Handlers(outputs, list, lambda example, problem: f"{example.record.file}: {problem}")
    clips = [example(2, 0.0), example(3, np.nan), example(1, 0.0)]
    assert list(windowed.run(clips, None, handlers)) == [0.5, "nan: the network's output holds NaN or infinity", 0.5]


def test_a_missing_modality_has_no_fakeness_and_a_decoding_may_refuse(windowed):
    def refuse(output, grids):
        raise windowed_network.AvlocError("no")

    (output,) = windowed.infer([example(2, 0.0, sound=False)], lambda *_: ["decoded"])
    np.testing.assert_array_equal(output.fakeness, [[np.nan, 0.5]] * 2)
    assert output.decoded == "decoded"
    assert windowed.infer([], refuse) == []
    with pytest.raises(NotFiniteError, match="no"):
        windowed.infer([example(2, 0.0)], refuse)


def test_rows_of_a_long_clip(windowed):
    assert [windowed.shares(steps) for steps in (1, 8, 9, 17)] == [1, 1, 2, 3]

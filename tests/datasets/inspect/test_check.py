from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.inspect import check
from avloc.datasets.inspect.check import PROBLEM_KINDS, check_clips
from avloc.datasets.readers.table import TableBuilder
from avloc.datasets.synthetic.encode import write_mp4

SOUND = np.zeros(48_000, dtype=np.float32)


@pytest.fixture
def root(tmp_path, frames):
    """Clips of 3 s by the frames, each with one fault, and the records that they contradict."""
    long = np.concatenate([frames, frames, frames[:15]])
    root = tmp_path / "set"
    write_mp4(root / "good.mp4", long, SOUND)
    write_mp4(root / "long.mp4", long, SOUND)
    write_mp4(root / "past.mp4", long, SOUND)
    write_mp4(root / "silent.mp4", long, None)
    write_mp4(root / "blind.mp4", None, SOUND)
    write_mp4(root / "fast.mp4", np.concatenate([long, frames[:15]]), SOUND, fps=30)
    (root / "broken.mp4").write_text("none")
    (tmp_path / "secret.mp4").write_text("x")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    return root


@pytest.fixture
def table():
    builder = TableBuilder()
    for name in ("good", "silent", "blind", "fast", "broken", "link", "gone"):
        builder.add(f"{name}.mp4", "train", duration_s=3.0)
    builder.add("long.mp4", "train", duration_s=3.5)
    builder.add("past.mp4", "train", audio=[(2.0, 3.01)], visual=[(2.0, 2.5), (2.9, 3.5)])
    return builder.build()


def test_each_fault_is_one_problem(root, table):
    calls = []
    problems = list(check_clips(root, table, workers=3, progress=calls.append))
    assert [(p.kind, p.file) for p in problems] == [
        ("no sound", "silent.mp4"),
        ("no picture", "blind.mp4"),
        ("fps", "fast.mp4"),
        ("unreadable", "broken.mp4"),
        ("outside", "link.mp4"),
        ("missing", "gone.mp4"),
        ("length", "long.mp4"),
        ("segment", "past.mp4"),
    ]
    assert sum(calls) == len(table)
    details = {p.kind: p.detail for p in problems}
    assert details["fps"] == "30 frames per second"
    assert details["length"].startswith("3.50 s in the metadata, 3.0")
    assert details["segment"].startswith("visual [2.9, 3.5] in a file of 3.0")
    assert {p.kind for p in problems} == PROBLEM_KINDS.keys()


def test_batches_keep_the_order(root, table, monkeypatch):
    expected = list(check_clips(root, table))
    monkeypatch.setattr(check, "CLIPS_IN_FLIGHT", 2)
    assert list(check_clips(root, table, workers=2)) == expected


def test_sample_is_a_function_of_the_seed(root, table):
    calls = []
    first = list(check_clips(root, table, sample=4, seed=1, progress=calls.append))
    assert len(calls) == 4
    assert first == list(check_clips(root, table, sample=4, seed=1))
    assert set(first) < set(check_clips(root, table))
    assert list(check_clips(root, table, sample=99)) == list(check_clips(root, table))


def test_no_clips(root):
    assert list(check_clips(root, TableBuilder().build())) == []

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch


def test_relative_difference_by_hand():
    from gpu_measures import relative_difference

    assert relative_difference([1.0, 3.0, -8.0], [1.0, 4.0, -8.0]) == 0.125
    assert relative_difference([0.5], [0.0]) == 0.5
    assert relative_difference([np.nan, 1.0], [np.nan, 2.0]) == 0.5
    assert relative_difference([], []) == 0.0
    with pytest.raises(ValueError, match=r"want values of shape \(2,\), got \(3,\)"):
        relative_difference([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="1 of 2 values are NaN, or the reference's are"):
        relative_difference([np.nan, 1.0], [1.0, 1.0])


def test_timed_rows_on_the_cpu_have_no_memory():
    from gpu_measures import QUICK, Setting, timed_rows

    calls = []
    setting = Setting("cpu", Path("unused"), QUICK, workers=1)
    (row,) = timed_rows("check", "measure", lambda: calls.append(1), setting, 0.5)
    assert len(calls) == QUICK.repeats + 1
    assert (row.check, row.measure, row.unit, row.difference) == ("check", "measure", "ms", 0.5)
    assert 0 <= row.value < 1000


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast(precision, dtype):
    from gpu_measures import autocast

    with autocast("cpu", precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_files_of_a_setting_are_sorted(tmp_path):
    from gpu_measures import QUICK, Setting

    for name in ("test/1.mp4", "dev/2.mp4", "dev/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert Setting("cpu", tmp_path, QUICK, 1).files == ["dev/2.mp4", "test/1.mp4"]


def test_quick_form_is_never_larger():
    from gpu_measures import FULL, QUICK

    for field in fields(FULL):
        quick, full = getattr(QUICK, field.name), getattr(FULL, field.name)
        if field.name == "video_stride":  # a longer stride means fewer windows
            assert quick > full
        elif isinstance(full, int):
            assert quick <= full

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest


def test_table_line_shows_both_sides_and_their_ratio():
    from batfd import table_line

    line = table_line("sampling", 0.5, 0.01, "≥ 10")
    assert line.split() == ["sampling", "0.500", "s", "0.010", "s", "50.0×", "(want", "≥", "10)"]
    assert "250.000 ms      1.000 ms" in table_line("x", 0.25, 0.001, "", "ms")


def test_random_segments_are_whole_steps_within_the_clip():
    from batfd import random_segments

    random = np.random.default_rng(0)
    drawn = [random_segments(random, 4.0, 0.02) for _ in range(50)]
    assert {len(segments) for segments in drawn} == {1, 2, 3}
    for segments in drawn:
        lengths = np.diff(segments, axis=1)[:, 0]
        assert segments.max() <= 4.0
        assert (lengths >= 0.16 - 1e-9).all()
        assert (lengths < 1.6).all()
        np.testing.assert_allclose(lengths / 0.02, np.rint(lengths / 0.02), atol=1e-6)
        assert (segments[1:, 0] - segments[:-1, 1] > 0.2).all()
    assert random_segments(random, 0.0, 0.04).shape == (0, 2)


def test_aligned_decoding_loses_nothing_on_frames():
    from batfd import oracle_ap

    assert oracle_ap(0.04, "aligned", records=5) == pytest.approx({0.5: 1.0, 0.75: 1.0, 0.9: 1.0, 0.95: 1.0})
    assert oracle_ap(0.04, "published", records=5)[0.95] < 0.9


def test_peak_memory_is_the_work_alone():
    from batfd import peak_mb

    assert 30 < peak_mb(partial(partial, os.urandom, 32_000_000)) < 60


def test_measured_process_that_dies(capfd):
    from batfd import peak_mb

    with pytest.raises(RuntimeError, match="died"):
        peak_mb(partial(partial, os._exit, 1))


def test_options():
    from batfd import BATFDOptions, parse

    assert parse([]) == BATFDOptions(only=None, repeats=5)
    assert parse(["--only", "lists", "--repeats", "2"]) == BATFDOptions(only="lists", repeats=2)
    with pytest.raises(SystemExit):
        parse(["--only", "gpu"])

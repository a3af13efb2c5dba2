from __future__ import annotations

import json
from dataclasses import asdict

import pytest


@pytest.fixture
def result():
    from tables import COLUMNS, SUBSETS, RunResult

    def build(seed, value):
        return RunResult(
            system="frame_wise",
            title="frame-wise, thresholds",
            seed=seed,
            epochs=6,
            parameters=1_234_567,
            train_s=10.0 + seed,
            validation_ap=0.5,
            scores={subset: dict.fromkeys(COLUMNS, value) for subset in SUBSETS},
            threads=1,
        )

    return build


def test_results_are_read_by_system_and_seed(tmp_path, result):
    from tables import read_results

    (tmp_path / "runs").mkdir()
    for seed in (1, 0):
        (tmp_path / "runs" / f"frame_wise-{seed}.json").write_text(json.dumps(asdict(result(seed, 0.5))))
    (tmp_path / "runs" / "frame_wise_slow-0.json").write_text("another system's")
    assert read_results(tmp_path, ["actionformer", "frame_wise"]) == {"frame_wise": [result(0, 0.5), result(1, 0.5)]}


def test_score_table_has_means_and_deviations_in_percent(result):
    from tables import score_table

    lines = score_table({"frame_wise": [result(0, 0.25), result(1, 0.75)]}, "audio")
    assert lines[0] == "\n**audio**, strict, percent\n"
    assert lines[-1] == "| frame-wise, thresholds | 2 |" + " 50.0 ± 35.4 |" * 5
    assert {line.count("|") for line in lines[1:]} == {8}


def test_cost_table_has_parameters_and_times(result):
    from tables import cost_table

    *_, line = cost_table({"frame_wise": [result(0, 0.5), result(1, 0.5), result(3, 0.5)]}, threads=1)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:3] == ["frame-wise, thresholds", "1.23 M", "11 s (1 threads)"]
    assert all(float(cell.removesuffix(" ms")) > 0 for cell in cells[3:])


def test_speed_of_a_small_network():
    from systems import System
    from tables import measure_speed

    small = System("frame_wise.FrameWise", "small", {"audio_dim": 7, "visual_dim": 5, "width": 16, "heads": 2})
    speed = measure_speed(small, threads=1, repeats=2)
    assert speed.network_ms > 0
    assert speed.decode_ms > 0


def test_percent_of_one_value_has_no_deviation():
    from tables import format_percent

    assert format_percent([0.1234]) == "12.3"

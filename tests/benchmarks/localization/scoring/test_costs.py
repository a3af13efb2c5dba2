from __future__ import annotations

import pytest


@pytest.fixture
def result():
    from comparing.experiment import RunResult

    def build(system="frame_wise", seed=0, budget="short"):
        return RunResult(
            system=system,
            seed=seed,
            budget=budget,
            epochs=6 + seed,
            parameters=1_234_567,
            train_s=10.0 + seed,
            validation={"ap": 0.4, "ap@0.5": 0.5, "ap@0.95": 0.125, "ar@10": 0.25},
            thresholds={"score": 0.5, "share": 0.5},
            threads=1,
        )

    return build


def test_table_of_costs(result):
    from scoring.costs import cost_table

    tried = {"frame_wise": [result()], "frame_wise_slow": [result("frame_wise_slow")], "tridet": [result("tridet")]}
    table = cost_table({"frame_wise": [result(seed=k) for k in (0, 1, 3)]}, tried, threads=1)
    [(label, cells)] = table.rows
    assert label == ("frame-wise, thresholds",)
    assert [cell[0] for cell in cells[:4]] == ["1.23 M", "2", "7", "11 s"]
    assert all(float(cell[0].removesuffix(" ms")) > 0 for cell in cells[4:])
    assert table.name == "costs-short"


def test_settings_are_counted_by_network(result):
    from scoring.costs import count_settings

    names = ("boundary_transformer", "boundary_transformer_slow", "no_cross", "version_0_1", "audio_alone")
    tried = {name: [result(name)] for name in names} | {"wide": []}
    # Version 0.1's network is the same class; every setting of it that was trained counts.
    assert count_settings("boundary_transformer", tried) == 4
    assert count_settings("audio_alone", tried) == 1


def test_trials_are_those_of_seed_0(result):
    from scoring.costs import trials_table

    table = trials_table({"tridet": [result("tridet", 1)], "frame_wise_slow": [result("frame_wise_slow")]})
    assert [(label[0], [cell[0] for cell in cells]) for label, cells in table.rows] == [
        ("frame-wise, thresholds, rate 1e-3", ["0.001", "40.0", "50.0", "12.5", "25.0"])
    ]


def test_speed_of_a_small_network():
    from comparing.system import System
    from scoring.costs import measure_speed

    small = System(
        "peers.frame_wise.FrameWise", "small", "s", {"audio_dim": 7, "visual_dim": 5, "width": 16, "heads": 2}
    )
    speed = measure_speed(small, threads=1, repeats=2)
    assert speed.network_ms > 0
    assert speed.decode_ms > 0


@pytest.mark.parametrize("rates", [{}, {"audio_rows_per_step": 4.0, "visual_rows_per_step": 0.5}])
def test_inputs_come_at_the_rates_of_the_network(rates):
    from scoring.costs import random_inputs

    inputs = random_inputs({"audio_dim": 7, "visual_dim": 5, **rates}, 19)
    assert inputs.audio.shape == (1, 76 if rates else 19, 7)
    assert ("step_mask" in inputs._fields) == bool(rates)

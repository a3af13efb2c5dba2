from __future__ import annotations

import math

import pytest
import yaml


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        "BATFD",
        "BATFDPlus",
        "extraction, wavlm_base_plus",
        pytest.param("extraction, mvit_v2_s", marks=pytest.mark.slow),  # in short: the one above
        "training",
        "training through Lightning",
        "fine-tuning",
        "localize",
    ],
)
def test_check_runs_on_the_cpu_and_agrees_with_itself(name, tiny_set):
    from gpu_checks import CHECKS
    from gpu_measures import QUICK, Setting

    (check,) = (check for check in CHECKS if check.name == name)
    clips = tiny_set if check.needs_clips else tiny_set / "none"
    rows = check.run(Setting("cpu", clips, QUICK, workers=1))
    assert rows
    for row in rows:
        assert row.check == name
        assert row.measure
        assert math.isfinite(row.value)
        assert row.value > 0
    differences = {row.measure: row.difference for row in rows if row.difference is not None}
    for measure, difference in differences.items():
        assert difference <= (1e-6 if "float32" in measure else 0.1), measure
    assert bool(differences) == (name != "training through Lightning")


def test_every_check_is_tested_and_has_a_name_of_its_own():
    from gpu_checks import CHECKS

    (mark,) = (m for m in test_check_runs_on_the_cpu_and_agrees_with_itself.pytestmark if m.name == "parametrize")
    names = [name if isinstance(name, str) else name.values[0] for name in mark.args[1]]
    assert [check.name for check in CHECKS] == names


def test_network_is_the_demos(benchmarks):
    from gpu_checks import DEMO

    config = yaml.safe_load((benchmarks.parent / "configs" / "demo.yaml").read_text())
    arguments = config["model"]["model"]["init_args"]
    assert arguments == {**DEMO, "width": 96}

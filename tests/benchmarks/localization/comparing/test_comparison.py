from __future__ import annotations

import pytest

from avloc.errors import AvlocError


@pytest.fixture
def finish(tmp_path):
    """A function that leaves the result of a run of a system with a validation AP."""
    from comparing.experiment import RunResult, Task, asdict

    from avloc.io.files import write_json

    def write(system, ap, seed=0, budget="short"):
        task = Task(system, seed, budget, tmp_path)
        result = RunResult(system, seed, budget, 6, 1000, 10.0, {"ap": ap}, {"score": 0.5, "share": 0.5}, 1)
        write_json(task.result_file, asdict(result))
        return task

    return write


def parse(folder, *words):
    from run import parse

    return parse(["--out", str(folder), *words])


def test_unknown_names_are_refused():
    from comparing.comparison import SYSTEM_GROUPS, parse_names

    first = parse_names("ablation", SYSTEM_GROUPS, "systems")[:2]
    assert first == ("boundary_transformer", "boundary_transformer_ranges")
    with pytest.raises(
        AvlocError, match="unknown systems narrow, flat; want main, .*, all, or other names with commas"
    ):
        parse_names("narrow,wide,flat", SYSTEM_GROUPS, "systems")
    with pytest.raises(AvlocError, match="unknown systems tridont; want main, .*, all, tridet, .*or other names"):
        parse_names("tridont", SYSTEM_GROUPS, "systems")


def test_tasks_are_whole_seeds(tmp_path):
    words = ["--systems", "tridet,frame_wise", "--seeds", "0,1", "--jobs", "2", "--cores", "6"]
    tasks = parse(tmp_path, *words).tasks()
    assert [(t.system, t.seed) for t in tasks] == [("tridet", 0), ("frame_wise", 0), ("tridet", 1), ("frame_wise", 1)]
    assert {(t.threads, t.budget, t.device) for t in tasks} == {(3, "short", "cpu")}


def test_a_comparison_takes_the_chosen_settings(tmp_path, finish):
    for system, ap in (("tridet", 0.4), ("tridet_slow", 0.5), ("ummaformer", 0.2), ("ummaformer_ranges", 0.3)):
        finish(system, ap)
    settings = parse(tmp_path).settings()
    assert [*settings] == [*parse(tmp_path).systems]
    changed = {name: setting for name, setting in settings.items() if name != setting}
    assert changed == {"tridet": "tridet_slow", "ummaformer": "ummaformer_ranges"}
    tasks = parse(tmp_path, "--systems", "tridet,tridet_slow,wide", "--seeds", "2", "--budgets", "long").tasks()
    assert [task.system for task in tasks] == ["tridet_slow", "wide"]


@pytest.mark.parametrize("group", ["trials", "ablation", "all"])
def test_groups_of_settings_are_taken_as_they_are(tmp_path, finish, group):
    from comparing.main_systems import MAIN

    for name in MAIN:
        finish(name, 0.4)
        finish(f"{name}_slow", 0.5)
    options = parse(tmp_path, "--systems", group)
    assert options.choices() == {}
    assert all(name == setting for name, setting in options.settings().items())


def test_a_choice_needs_seed_0_and_the_short_budget(tmp_path, finish):
    finish("tridet", 0.4)
    finish("tridet_slow", 0.5, seed=1)
    finish("tridet_slow", 0.5, budget="long")
    choice = parse(tmp_path).choices()["tridet"]
    assert (choice.chosen, choice.missing) == ("tridet", ["tridet_slow", "tridet_decoding"])


def test_choices_rest_on_the_mean_over_the_seeds(tmp_path, finish):
    for seed, ap in enumerate((0.3, 0.5, 0.1)):
        finish("tridet", ap, seed=seed)
    finish("tridet_slow", 0.29)
    finish("tridet_decoding", 0.28)
    finish("tridet_decoding", 0.34, seed=2)
    choice = parse(tmp_path).choices()["tridet"]
    assert choice.trials == pytest.approx({"tridet": 0.3, "tridet_slow": 0.29, "tridet_decoding": 0.31})
    assert choice.chosen == "tridet_decoding"


def test_finished_runs_are_found_by_system(tmp_path, finish):
    from comparing.comparison import finished

    task = finish("tridet_slow", 0.5, seed=1)
    settings = {"tridet": "tridet_slow", "frame_wise": "frame_wise"}
    assert finished(parse(tmp_path), settings, "short") == {"tridet": [task]}


def test_missing_runs_are_named(tmp_path, finish):
    from comparing.comparison import describe_missing

    options = parse(tmp_path, "--systems", "tridet,frame_wise", "--seeds", "0,3")
    assert describe_missing(options, "short") == (
        "Missing: tridet seeds 0, 3 (not trained); frame_wise seeds 0, 3 (not trained)."
    )
    tasks = [finish(name, 0.4, seed) for name in options.systems for seed in (0, 3)]
    assert describe_missing(options, "short") == ""
    for task in tasks:
        for shift_s in (0.0, 0.013):
            path = task.predictions_file("test", shift_s)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert describe_missing(options, "short", "test", 0.013) == ""
    tasks[0].predictions_file("test", 0.013).unlink()
    tasks[3].predictions_file("test").unlink()
    assert describe_missing(options, "short", "test") == "Missing: frame_wise seed 3 (no predictions of test)."
    reason = "no predictions of test with and without a shift of 13 ms"
    expected = f"Missing: tridet seed 0 ({reason}); frame_wise seed 3 ({reason})."
    assert describe_missing(options, "short", "test", 0.013) == expected

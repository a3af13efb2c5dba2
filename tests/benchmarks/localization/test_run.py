from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from avloc.core.records import VideoRecord
from avloc.errors import AvlocError


def test_options():
    from run import parse

    options = parse(["--out", "x", "--systems", "main", "--seeds", "3,4", "--quick", "--budgets", "all"])
    assert options.seeds == (3, 4)
    assert options.systems == (
        "boundary_map", "actionformer", "ummaformer", "tridet", "frame_wise", "boundary_transformer",
        "version_0_1", "audio_alone", "visual_alone", "clip_labels_only",
    )  # fmt: skip
    assert options.budgets == ("short", "long")
    assert (options.folder.name, options.group) == ("quick", "main")
    options = parse(["--out", "x", "--systems", "wide,no_cross"])
    assert (options.systems, options.group) == (("wide", "no_cross"), "selected")
    groups = "main, ablation, trials, front_ends, visual_front_ends, pretrained, held_back, all"
    with pytest.raises(AvlocError, match=f"unknown systems narrow; want {groups}, or other names with commas"):
        parse(["--out", "x", "--systems", "wide,narrow"])
    with pytest.raises(AvlocError, match="unknown budgets endless; want all, short, long"):
        parse(["--out", "x", "--budgets", "endless"])


@pytest.fixture
def benchmark_run(monkeypatch, small_corpus):
    """Run the command on a prepared folder, with training and prediction replaced by files."""
    import corpus
    import run
    from comparing import experiment
    from scoring import ledger

    from avloc.io.files import write_json

    calls, better = [], []

    def train(task):
        calls.append(("train", task.system, task.seed, task.budget))
        keep(task, "val")
        ap = 0.6 if task.system in better else 0.5
        validation = dict.fromkeys(["ap", "ap@0.5", "ap@0.75", "ap@0.9", "ap@0.95", "ar@10"], ap)
        result = experiment.RunResult(
            task.system, task.seed, task.budget, 6, 1000, 10.0, validation, {"score": 0.5, "share": 0.5}, 1
        )
        write_json(task.result_file, experiment.asdict(result))
        return task.name

    def keep(task, split, shift_s=0.0):
        from avloc.core.proposals import Proposals
        from avloc.core.timeline import segment_array

        clips = []
        for record in corpus.read_records(task.out / "clips", split):
            segments = segment_array(record.segments)
            scores = segments[:, 1] - segments[:, 0] + 0.5
            clips.append((record.file, Proposals(segments, scores, scores[:, None].repeat(2, axis=1))))
        experiment.SplitPredictions.from_clips(clips).save(task.predictions_file(split, shift_s))

    def test(look):
        calls.append(("test", look.task.system, look.commit, look.shift_s))
        keep(look.task, "test", look.shift_s)
        return look.task.name

    monkeypatch.setattr(run, "prepare", lambda *arguments: calls.append(("prepare", *arguments[2:])))
    monkeypatch.setattr(run, "run", train)
    monkeypatch.setattr(run, "test", test)
    monkeypatch.setattr(run, "predict_split", lambda *a: calls.append(("shift", a[1])) or keep(*a))
    monkeypatch.setattr(run, "cost_table", lambda results, tried, threads: run.validation_table({}, "costs"))
    monkeypatch.setattr(ledger, "commit_name", lambda allow_dirty: "dirty" if allow_dirty else "clean")

    def execute(*arguments):
        calls.clear()
        run.main(
            [
                "--out",
                str(small_corpus),
                "--systems",
                "tridet,frame_wise",
                "--seeds",
                "0,1",
                "--resamples",
                "5",
                *arguments,
            ]
        )
        return [*calls]

    execute.better = better  # systems of a better validation AP than the others
    return execute


def widest_table_line(output):
    """The length of the longest line that is not a dated message, which may name a long path."""
    return max(len(line) for line in output.splitlines() if line[2:3] != ":")


def test_a_plain_run_trains_and_validates_what_is_left(benchmark_run, small_corpus, capsys):
    import run

    calls = benchmark_run()
    assert calls[0][-1] is run.corpus.refuse_missing  # a set without a method would be another one
    names = [("tridet", 0), ("frame_wise", 0), ("tridet", 1), ("frame_wise", 1)]
    assert calls[1:] == [("train", *name, "short") for name in names]
    assert [call[0] for call in benchmark_run()] == ["prepare"]
    output = capsys.readouterr().out
    assert "Validation split, short budget" in output
    assert "test split" not in output
    assert widest_table_line(output) <= 80
    assert not list((small_corpus / "tables").glob("*test-*"))
    assert "short budget: all runs are trained" in output
    assert "50.0±0.0" in (small_corpus / "tables" / "selected-validation-short.md").read_text()
    clips = (small_corpus / "tables" / "selected-val-short-clips.md").read_text()
    assert "| system | AUC | EER | AP@.5 |" in clips
    assert "TriDet-like" in clips


def test_final_tests_once_and_tables_are_drawn_from_what_it_kept(benchmark_run, small_corpus, capsys):
    benchmark_run()
    calls = benchmark_run("--final", "--systems", "tridet")
    assert calls[1:] == [("test", "tridet", "clean", 0.0)] * 2
    assert [call[0] for call in benchmark_run("--final", "--systems", "tridet")] == ["prepare"]
    capsys.readouterr()
    text = (small_corpus / "tables" / "selected-test-short-unseen.md").read_text()
    assert "TriDet-like<br>rate 2e-3, 1 of 3 trials<br>2 seeds" in text
    assert "frame-wise" not in text  # not asked for
    assert benchmark_run("--tables") == []
    again = (small_corpus / "tables" / "selected-test-short-unseen.md").read_text()
    missing = "Missing: frame_wise seeds 0, 1 (no predictions of test)."
    assert again == f"{text[:-1]}\n{missing}\n"
    output = capsys.readouterr().out
    assert f"short budget, test: {missing}" in output
    assert widest_table_line(output) <= 80


def test_a_page_of_the_documentation_is_filled(benchmark_run, tmp_path, capsys):
    benchmark_run()
    page = tmp_path / "page.md"
    places = [
        f"<!-- table: {name} -->\n<!-- end -->\n" for name in ("selected-validation-short", "selected-trials", "x")
    ]
    page.write_text("".join(places))
    benchmark_run("--tables", "--page", str(page))
    assert "| TriDet-like<br>rate 2e-3, 1 of 3 trials<br>2 seeds |" in page.read_text()
    assert "filled but for x, which have no table yet" in capsys.readouterr().out


def test_the_better_trial_is_trained_tested_and_shown(benchmark_run, small_corpus, capsys):
    benchmark_run.better.append("tridet_slow")
    trials = benchmark_run("--systems", "trials", "--seeds", "0")
    assert len(trials) == 1 + 7 * 2 + 3 + 4  # the two rates of each, the ranges of three, the decoding of four
    calls = benchmark_run()
    names = [("tridet_slow", 1), ("frame_wise", 1)]
    assert calls[1:] == [("train", *name, "short") for name in names]
    capsys.readouterr()
    calls = benchmark_run("--final")
    assert [call[1] for call in calls[1:]] == ["tridet_slow", "frame_wise"] * 2
    output = capsys.readouterr().out
    assert (
        "tridet: tridet_slow, of 3 trials by validation AP (tridet 50.0, tridet_slow 60.0, tridet_decoding 50.0)"
        in output
    )
    assert "frame_wise: frame_wise, of 2 trials by validation AP (frame_wise 50.0, frame_wise_slow 50.0)" in output
    for name in ("test-short-all-clips", "validation-short", "test-short-all-clips-speakers"):
        text = (small_corpus / "tables" / f"selected-{name}.md").read_text()
        assert "| TriDet-like<br>rate 1e-3, best of 3 trials<br>2 seeds |" in text
    text = (small_corpus / "tables" / "selected-choices.md").read_text()
    assert (
        "| TriDet-like | 3 of 3 | rate 2e-3: 50.0<br>rate 1e-3: 60.0<br>soft-NMS of σ 0.8: 50.0 | rate 1e-3 |" in text
    )


def test_a_new_run_decides_before_it_trains_the_other_seeds(benchmark_run):
    benchmark_run.better.append("tridet_slow")
    benchmark_run("--systems", "tridet_slow", "--seeds", "0")
    calls = benchmark_run("--systems", "tridet", "--budgets", "all")
    assert calls[1:] == [
        ("train", "tridet", 0, "short"),  # the other trial
        ("train", "tridet_slow", 1, "short"),
        ("train", "tridet_slow", 0, "long"),
        ("train", "tridet_slow", 1, "long"),
    ]


def test_missing_seeds_are_listed(benchmark_run, small_corpus, capsys):
    from comparing.experiment import Task

    benchmark_run("--final")
    Task("tridet", 1, "short", small_corpus).result_file.unlink()
    Task("frame_wise", 0, "short", small_corpus).predictions_file("test").unlink()
    capsys.readouterr()
    benchmark_run("--tables", "--budgets", "all")
    output = capsys.readouterr().out
    assert "short budget: Missing: tridet seed 1 (not trained)." in output
    missing = "Missing: tridet seed 1 (not trained); frame_wise seed 0 (no predictions of test)."
    assert f"short budget, test: {missing}" in output
    assert "long budget: Missing: tridet seeds 0, 1 (not trained); frame_wise seeds 0, 1 (not trained)." in output
    text = (small_corpus / "tables" / "selected-test-short-all-clips.md").read_text()
    assert text.endswith(f"\n{missing}\n")
    assert "TriDet-like<br>rate 2e-3, 1 of 3 trials<br>1 seed |" in text
    assert (
        "Missing: tridet seed 1 (not trained)."
        in (small_corpus / "tables" / "selected-validation-short.md").read_text()
    )


def test_a_budget_without_predictions_is_said_to_have_none(benchmark_run, small_corpus, capsys):
    benchmark_run("--budgets", "all")
    benchmark_run("--final", "--shift-ms", "13")
    capsys.readouterr()
    benchmark_run("--tables", "--budgets", "all", "--shift-ms", "7")
    output = capsys.readouterr().out
    assert "long budget: no run has predictions of test" in output
    missing = "no predictions of test with and without a shift of 7 ms"
    assert f"short budget, test: Missing: tridet seeds 0, 1 ({missing}); frame_wise seeds 0, 1 ({missing})." in output
    assert not list((small_corpus / "tables").glob("*shift-7ms*"))


def test_settings_tried_are_counted_whatever_the_seeds(benchmark_run, small_corpus):
    benchmark_run("--systems", "tridet_slow", "--seeds", "0")
    benchmark_run("--seeds", "0,1")
    benchmark_run("--tables", "--seeds", "1")
    text = (small_corpus / "tables" / "selected-trials.md").read_text()
    assert text.count("\n| ") == 1 + 3


def test_a_shift_compares_the_same_seeds(benchmark_run, small_corpus, capsys):
    from comparing.experiment import Task

    benchmark_run("--shift-ms", "13")
    Task("tridet", 1, "short", small_corpus).predictions_file("val", 0.013).unlink()
    benchmark_run("--shift-ms", "13", "--tables")
    text = (small_corpus / "tables" / "selected-val-short-shift-13ms.md").read_text()
    assert "TriDet" not in text
    assert text.endswith("\nMissing: tridet seed 1 (no predictions of val with and without a shift of 13 ms).\n")


def test_shifts_of_validation_and_of_the_test(benchmark_run, small_corpus):
    benchmark_run()
    assert benchmark_run("--shift-ms", "13")[1:] == [("shift", "val")] * 4
    assert (small_corpus / "tables" / "selected-val-short-shift-13ms.md").is_file()
    calls = benchmark_run("--shift-ms", "13", "--final", "--allow-dirty")
    assert calls[1:] == [
        ("test", name, "dirty", s) for _ in range(2) for name in ("tridet", "frame_wise") for s in (0, 0.013)
    ]
    assert (small_corpus / "tables" / "selected-test-short-shift-13ms.md").is_file()


def test_prepare_makes_clips_and_extracts_what_is_left(tmp_path, tiny_set, monkeypatch):
    import run

    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.store.feature_store import FeatureStore

    records = read_records("lavdf", tiny_set, "train")[:2]
    (tmp_path / "clips").symlink_to(tiny_set)
    made = []
    make = lambda *arguments, log, **_: made.append((*arguments, log)) or records  # noqa: E731
    monkeypatch.setattr(run.corpus, "make", make)
    monkeypatch.setattr(run.materials, "fetch", lambda folder, progress: folder)
    run.prepare(tmp_path, tmp_path / "all", 2, 1)
    run.prepare(tmp_path, tmp_path / "all", 2, 1, log=run.say)
    folders = (tmp_path / "clips", tmp_path / "all" / "speech", tmp_path / "all" / "cache")
    assert made == [(*folders, 2, 1, run.corpus.refuse_missing), (*folders, 2, 1, run.say)]
    assert len(FeatureStore(tmp_path / "features").files("logspec")) == 2
    records = [VideoRecord("nowhere.mp4", "train")]
    with pytest.raises(AvlocError, match="1 clips could not be read"):
        run.prepare(tmp_path, tmp_path, 1, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_order_of_the_systems(tmp_path, benchmarks):
    """The small form of the benchmark, one seed, on validation: ours is not behind where boundaries count."""
    script = benchmarks / "localization" / "run.py"
    subprocess.run(
        [sys.executable, str(script), "--out", str(tmp_path), "--quick", "--seeds", "0", "--jobs", "2"], check=True
    )
    scores = {
        path.stem.rsplit("-", 2)[0]: json.loads(path.read_text())["validation"]["ap@0.75"]
        for path in (tmp_path / "quick" / "runs" / "short").glob("*.json")
    }
    from comparing.main_systems import BASELINES
    from comparing.system import OURS

    assert scores[OURS] > max(scores[name] for name in BASELINES if name in scores)


def test_kept_results_are_not_trained_again(benchmark_run, small_corpus, tmp_path, capsys):
    """A machine takes over the runs of another, and tables come from the kept results alone."""
    kept = tmp_path / "kept"
    benchmark_run("--final", "--kept", str(kept))
    table = (small_corpus / "tables" / "selected-test-short-unseen.md").read_text()
    for folder in ("runs", "predictions", "tables"):
        shutil.rmtree(small_corpus / folder)
    capsys.readouterr()
    assert [call[0] for call in benchmark_run("--final", "--kept", str(kept))] == ["prepare"]
    assert f"{kept}: took 12 results over, and added 0" in capsys.readouterr().out
    assert benchmark_run("--tables", "--out", str(kept)) == []
    assert (kept / "tables" / "selected-test-short-unseen.md").read_text() == table

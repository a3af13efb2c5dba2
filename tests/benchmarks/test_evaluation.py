from __future__ import annotations

import json
import sys

import numpy as np
import pytest


@pytest.fixture
def files(tmp_path):
    from evaluation import make_files

    return make_files(tmp_path, clips=40, rows=7)


def test_generated_files_are_reproducible_and_kept(files, tmp_path):
    from evaluation import make_files

    predictions, metadata = json.loads(files.predictions.read_text()), json.loads(files.metadata.read_text())
    assert [entry["file"] for entry in metadata] == list(predictions)
    assert {len(rows) for rows in predictions.values()} == {7}
    assert sum(not entry["fake_segments"] for entry in metadata) == 10
    for entry in metadata:
        scores = [row[0] for row in predictions[entry["file"]]]
        assert scores == sorted(scores, reverse=True)
        assert all(0.15 < end - start < 0.53 for start, end in entry["fake_segments"])
    content = files.predictions.read_bytes()
    files.predictions.write_text("{}")
    assert make_files(tmp_path, 40, 7).predictions.read_text() == "{}"
    files.predictions.unlink()
    assert make_files(tmp_path, 40, 7).predictions.read_bytes() == content


def test_systems_have_rows_of_their_own_for_the_same_labels(files, tmp_path):
    from evaluation import make_files

    other = make_files(tmp_path, 40, 7, system=1)
    assert other.metadata.read_bytes() == files.metadata.read_bytes()
    first, second = (json.loads(each.predictions.read_text()) for each in (files, other))
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_one_row_lies_near_each_label():
    from evaluation import random_rows

    labels = [[1.0, 1.3], [2.0, 2.4]]
    rows = random_rows(np.random.default_rng(0), 9.0, labels, 8, ordered=False)
    np.testing.assert_allclose(rows[[0, 3], 1:], labels, atol=0.1)
    assert (np.diff(rows[:, 0]) > 0).any()


def test_stages_give_the_scores_of_the_verb(files):
    from evaluation import evaluate_in_stages

    seconds, scores = evaluate_in_stages(files, ("official", "strict"))
    assert list(seconds) == ["read metadata", "read predictions", "align", "match and sort", "curves"]
    assert all(value >= 0 for value in seconds.values())
    assert list(scores) == ["official", "strict"]
    assert scores["strict"].ap[0.5] > 0.05


def test_comparison_with_a_stand_in_for_the_published_evaluator(files, monkeypatch, capsys):
    import evaluation

    code = "import json, sys\nfor line in sys.stdin: print(json.dumps([2.0, [0.25] * 4, [0.5] * 5]), flush=True)"
    monkeypatch.setattr(evaluation, "PUBLISHED", code)
    published = evaluation.PublishedEvaluator(sys.executable, files)
    comparison = evaluation.compare(files, 2, published)
    published.close()
    assert comparison.published_s == [2.0, 2.0]
    official = evaluation.evaluate_in_stages(files, ("official",)).scores["official"]
    numbers = [*(abs(0.25 - v) for v in official.ap.values()), *(abs(0.5 - v) for v in official.ar.values())]
    assert comparison.difference == pytest.approx(max(numbers))
    comparison.stages = {
        "official": [{"read": 0.5, "curves": 0.5}, {"read": 2.0, "curves": 1.0}],
        "both": [{"read": 4.0}],
    }
    assert comparison.totals() == {"official": 2.0, "both": 4.0}
    evaluation.print_ratios(comparison)
    assert "ratio, published : avloc official: 1.00" in capsys.readouterr().out


def test_whole_processes_are_timed():
    from evaluation import time_processes

    python = [sys.executable, "-S", "-c"]
    seconds = time_processes({"quick": [*python, ""], "slow": [*python, "import time; time.sleep(0.5)"]}, 1)
    assert 0 < seconds["quick"][0] < seconds["slow"][0]
    assert seconds["slow"][0] > 0.5


def test_options():
    from evaluation import parse

    options = parse(["--clips", "3", "--unsorted"])
    assert (options.clips, options.rows, options.repeats, options.unsorted, options.published) == (
        3,
        100,
        5,
        True,
        None,
    )

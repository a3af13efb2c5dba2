from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.evaluation.bootstrap import Interval

ROOT = Path(__file__).parents[4]


@pytest.fixture
def trained(small_corpus, monkeypatch):
    """The folder of the benchmark with two trained runs of a small system; its own clips stand in for the footage."""
    from comparing import budgets, experiment, systems
    from comparing.experiment import Task
    from real_footage import runs
    from scoring import report

    sizes = {"audio_dim": 513, "visual_dim": 320, "width": 8, "heads": 2, "blocks": 1, "levels": 2}
    system = replace(systems.SYSTEMS["actionformer"], arguments=sizes, title="small", short="s.")
    monkeypatch.setattr(report, "SYSTEMS", {"actionformer": system})
    for module in (experiment, runs):
        monkeypatch.setattr(module, "SYSTEMS", {"actionformer": system})
        monkeypatch.setattr(module, "BUDGETS", {"short": replace(budgets.BUDGETS["short"], epochs=1)})
    threads = torch.get_num_threads()
    tasks = [Task("actionformer", seed, "short", small_corpus) for seed in (0, 1)]
    for task in tasks:
        experiment.run(task)
    yield small_corpus, tasks
    torch.set_num_threads(threads)


def methods_of(folder):
    details = json.loads((folder / "clips" / "details.json").read_text())
    return {file.removeprefix("val/"): entry["methods"] for file, entry in details.items() if file.startswith("val/")}


def test_systems_are_compared_in_tables(trained, tmp_path):
    from real_footage import runs
    from scoring import ledger

    folder, tasks = trained
    book = tmp_path / "ledger.csv"
    rows = runs.predict_footage(tasks[0], folder, 3, "abc", book)
    assert set(rows) == set(methods_of(folder))
    assert {each.shape[1] for each in rows.values()} == {5}
    [line] = ledger.read(book)
    assert (line["system"], line["commit"], line["clips"], line["seed"]) == ("actionformer on footage", "abc", "3", "0")
    again = runs.predict_footage(tasks[0], folder, 3, "abc", book)
    assert len(ledger.read(book)) == 1  # the predictions are kept
    assert all((again[file] == rows[file]).all() for file in rows)
    os.utime(tasks[0].weights_file, (2**31, 2**31))
    runs.predict_footage(tasks[0], folder, 3, "abc", book)
    assert len(ledger.read(book)) == 1  # the same weights, written again
    shutil.copyfile(tasks[1].weights_file, tasks[0].weights_file)
    os.utime(tasks[0].weights_file, (0, 0))
    other = runs.predict_footage(tasks[0], folder, 3, "abc", book)
    assert len(ledger.read(book)) == 2  # other weights, however old
    assert any((other[file][:, 0] != rows[file][:, 0]).any() for file in rows if len(other[file]) == len(rows[file]))
    (folder / "clips" / "val_metadata.json").open("a").write("\n")
    runs.predict_footage(tasks[0], folder, 3, "abc", book)
    assert len(ledger.read(book)) == 3  # other labels


def as_hashable(table):
    return replace(table, notes=tuple(table.notes))


def test_means_over_the_seeds(trained, tmp_path):
    from real_footage import runs

    folder, tasks = trained

    def compare(*tasks):
        systems, labels = {"actionformer": tasks}, {"actionformer": "best of 3 trials"}
        book = tmp_path / "ledger.csv"
        return runs.compare(systems, folder, methods_of(folder), "abc", labels=labels, resamples=20, ledger_file=book)

    tables = compare(*tasks, tasks[0]._replace(seed=7))
    assert {table.notes for table in map(as_hashable, tables)} == {
        (runs.NOTE, "Missing: actionformer seed 7 (not trained).")
    }
    assert [table.name for table in tables] == ["footage-short", "footage-short-ap@0.5", "footage-short-auc"]
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    assert all(f"<!-- table: {table.name} -->\n" in page for table in tables)
    [(label, cells)] = tables[0].rows
    assert label == ("small", "best of 3 trials", "2 seeds")
    assert len(cells) == len(tables[0].columns) == 9
    assert cells[-1][0].endswith(" of 2")  # the clips of `val` are real, audio, visual
    assert [row[0][0] for row in tables[2].rows] == ["all", "audio", "visual", "lpc", "blurred"]
    assert compare(*tasks)[0].notes == [runs.NOTE]
    singles = [compare(task)[2].rows[0][1][0][0] for task in tasks]
    assert float(tables[2].rows[0][1][0][0]) == pytest.approx(np.mean([float(value) for value in singles]), abs=0.011)


def test_untrained_systems_are_an_error(small_corpus):
    from comparing.experiment import Task
    from real_footage import runs

    with pytest.raises(AvlocError, match="none of 1 runs is trained, the first is actionformer, seed 3, short"):
        runs.compare({"actionformer": [Task("actionformer", 3, "short", small_corpus)]}, small_corpus, {}, "abc")


def test_durations_are_those_of_the_sound(small_corpus):
    from real_footage.runs import validation_truth

    path = small_corpus / "clips" / "val_metadata.json"
    entries = json.loads(path.read_text())
    entries[1] |= {"video_frames": 30, "audio_frames": 16000}
    path.write_text(json.dumps(entries))
    assert validation_truth(small_corpus / "clips").duration_s.tolist() == [1.0, 1.0, 1.0]


def test_features_of_the_footage(tmp_path, footage):
    from real_footage import runs

    from avloc.feature_extraction.store.feature_store import FeatureStore

    (tmp_path / "clips").mkdir()
    shutil.copyfile(footage / "wall.mp4", tmp_path / "clips" / "a.mp4")
    runs.extract(tmp_path, ["a.mp4"], ["logspec"], tmp_path / "cache", 0)
    assert FeatureStore(tmp_path / "features").length("logspec", "a.mp4") == pytest.approx(
        100, abs=7
    )  # whole packets of AAC
    (tmp_path / "clips" / "b.mp4").write_bytes(b"no clip")
    with pytest.raises(AvlocError, match="1 clips could not be read"):
        runs.extract(tmp_path, ["a.mp4", "b.mp4"], ["logspec"], tmp_path / "cache", 0)


def test_cells():
    from real_footage.runs import interval_cell

    assert interval_cell(Interval(0.5, 0.0, 1.25, None), 1, 2) == ("0.50", "0.00–1.25")

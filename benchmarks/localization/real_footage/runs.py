"""Trained networks of the benchmark > their predictions for real footage > tables beside those of the generated test.

Each network has its own threshold, chosen on its own predictions for the validation split. Numbers are means over the seeds, with
intervals of the mean by bootstrap over the clips of the footage. As a look at the test split, each prediction is noted in the
ledger first.

Legend: V clips, R runs (seeds of a system).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import corpus
import numpy as np
import torch
from budgets import BUDGETS, BudgetedModule
from experiment import SystemData, Task, load_weights, predict
from scoring import ledger
from scoring.predictions import SplitPredictions
from scoring.tables import Cell, Table
from systems import FEATURES, SYSTEMS, build_network

from avloc.errors import AvlocError
from avloc.evaluation import Truth, read_truth
from avloc.evaluation.bootstrap import RESAMPLES, Interval, bootstrap_intervals
from avloc.evaluation.scoring import Evaluation
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore
from real_footage.alarms import Rows, Setting, choose_setting
from real_footage.scores import (
    METRICS,
    FootageResult,
    auc_interval,
    evaluate_clips,
    rate_interval,
    rows_in_order,
    score_footage,
)

SPLIT = "val"
NOTE = (
    "Strict AP and AR in percent, AUC of clips, and false alarms per minute of real clips at a threshold that was chosen on the "
    "generated validation split (one per ten minutes): means over the seeds, with the 95 % intervals of the mean by bootstrap "
    "over the clips of the footage."
)


def validation_truth(clips: Path) -> Truth:
    """The labels of a generated set's validation split; a clip lasts as long as its sound, whatever its frames per second."""
    truth = read_truth(clips / f"{SPLIT}_metadata.json", "fake_segments")
    duration_s = {record.file: record.duration_s for record in corpus.read_records(clips, SPLIT)}
    return replace(truth, duration_s=np.array([duration_s[f"{SPLIT}/{file}"] for file in truth.files]))


def rows_of(predictions: SplitPredictions) -> Rows:
    """Rows of score, start and end in seconds, audio and visual score, by the clips' names in the metadata."""
    proposals = predictions.proposals
    values = np.column_stack([proposals.scores, proposals.segments, proposals.modality_scores])
    parts = np.split(values, predictions.offsets[1:-1])
    return {file.removeprefix(f"{SPLIT}/"): rows for file, rows in zip(predictions.files, parts, strict=True)}


def extract(out: Path, files: Sequence[str], workers: int) -> None:
    """Extract the features of the footage's clips, `out/clips`, into `out/features`; existing ones are kept.

    Raises:
        AvlocError: if a clip cannot be read.
    """
    settings = ExtractionSettings(out / "clips", tuple((name, {}) for name in FEATURES), workers=workers)
    report = job.extract([*files], FeatureStore(out / "features"), settings)
    if report.failed:
        raise AvlocError(f"{out}: {report.failed} clips could not be read: {report.failures}")


def predictions_file(task: Task, out: Path) -> Path:
    """The file that keeps a network's predictions for the footage."""
    return out / "predictions" / task.budget / f"{task.system}-{task.seed}.npz"


def predict_footage(task: Task, out: Path, clips: int, commit: str, ledger_file: Path = ledger.LEDGER) -> Rows:
    """Predict the footage by a trained network, after a line in the ledger; predictions newer than the network are kept.

    Args:
        task: the trained run.
        out: folder of the footage's clips and features.
        clips: number of clips, for the ledger.
        commit: of the code, for the ledger.
        ledger_file: the ledger.
    """
    path = predictions_file(task, out)
    if not path.is_file() or path.stat().st_mtime < task.weights_file.stat().st_mtime:
        look = ledger.Look(corpus.VERSION, clips, f"{task.system} on footage", task.seed, task.budget)
        ledger.append(look, commit, ledger_file)
        system = SYSTEMS[task.system]
        module = BudgetedModule(cast(torch.nn.Module, build_network(system)), BUDGETS[task.budget], system.lr)
        load_weights(module, task)
        predict(module, SystemData(system, out, task.seed), SPLIT).save(path)
    return rows_of(SplitPredictions.load(path))


def validation_setting(task: Task) -> Setting:
    """Choose a network's threshold on its predictions for the validation split."""
    rows = rows_of(SplitPredictions.load(task.predictions_file(SPLIT)))
    return choose_setting(rows, validation_truth(task.out / "clips"))


# Tables.


class SystemRuns(NamedTuple):
    """The runs of a system on the footage.

    Attributes:
        rows: of each run.
        results: of each run, without resampling.
    """

    rows: Sequence[Rows]
    results: Sequence[FootageResult]


def mean_metrics(runs: SystemRuns, truth: Truth, group: str, resamples: int) -> dict[str, Interval]:
    """The mean strict AP, AR and clip AUC of a group's clips and all real ones."""
    clips = runs.results[0].clips
    is_real = np.array([clip.kind == "real" for clip in clips])
    mask = is_real | np.array([belongs(clip.kind, clip.methods, group) for clip in clips])
    arrays = [rows_in_order(rows, truth) for rows in runs.rows]
    evaluations: list[Evaluation] = [evaluate_clips(truth, each, mask) for each in arrays]
    intervals = bootstrap_intervals(evaluations, resamples=resamples)
    scores = np.array([[clip.score for clip in result.clips] for result in runs.results])[:, mask]
    metrics = {name: intervals[name] for name in METRICS}
    return metrics | {"auc": auc_interval(scores, ~is_real[mask], truth.source[mask], resamples)}


def belongs(kind: str, methods: Mapping[str, str], group: str) -> bool:
    """Tell if a forged clip belongs to a group: `all`, a modality, or a method.

    >>> belongs("both", {"audio": "codec2", "visual": "coded"}, "codec2"), belongs("audio", {"audio": "codec2"}, "codec2")
    (False, True)
    """
    return kind != "real" and (group in ("all", kind) or set(methods.values()) == {group})


def mean_rate(runs: SystemRuns, truth: Truth, resamples: int) -> Interval:
    """The mean false alarms per minute of the real clips."""
    clips = runs.results[0].clips
    is_real = np.array([clip.kind == "real" for clip in clips])
    alarms = np.mean([[clip.alarms for clip in result.clips] for result in runs.results], axis=0)
    minutes = truth.duration_s / 60
    independent = runs.results[0].footage_minutes
    return rate_interval(alarms[is_real], minutes[is_real], truth.source[is_real], independent, resamples)


def interval_cell(interval: Interval, factor: float = 100, digits: int = 1) -> Cell:
    """A cell of a value above its interval.

    >>> interval_cell(Interval(0.5, 0.25, 0.75, None))
    ('50.0', '25.0–75.0')
    """
    value, low, high = (f"{factor * x:.{digits}f}" for x in (interval.value, interval.low, interval.high))
    return (value, f"{low}–{high}")


def system_table(systems: Mapping[str, SystemRuns], truth: Truth, budget: str, resamples: int) -> Table:
    """Systems by metrics, for all forged clips."""
    columns = [*(name.upper() for name in METRICS), "clip AUC", "false alarms / min", "real flagged", "forged flagged"]
    rows = []
    for name, runs in systems.items():
        metrics = mean_metrics(runs, truth, "all", resamples)
        cells: list[Cell] = [interval_cell(metrics[metric]) for metric in METRICS]
        cells += [interval_cell(metrics["auc"], 1, 2), interval_cell(mean_rate(runs, truth, resamples), 1, 2)]
        everything = [result.groups["all"] for result in runs.results]
        real = statistics.fmean(result.real_flagged for result in runs.results)
        forged = statistics.fmean(group.flagged for group in everything)
        cells += [(f"{real:.1f} of {everything[0].real}",), (f"{forged:.1f} of {everything[0].forged}",)]
        rows.append(((SYSTEMS[name].title, f"{len(runs.rows)} seeds"), cells))
    return Table(f"footage-{budget}", f"Real footage ({budget} budget)", "system", columns, rows, (NOTE,))


def group_table(systems: Mapping[str, SystemRuns], truth: Truth, metric: str, budget: str, resamples: int) -> Table:
    """Groups of forged clips by systems, for one metric."""
    groups = next(iter(systems.values())).results[0].groups
    scale = (1.0, 2) if metric == "auc" else (100.0, 1)
    rows: list[tuple[Cell, list[Cell]]] = [
        (
            (group, f"{counts.forged} clips"),
            [interval_cell(mean_metrics(runs, truth, group, resamples)[metric], *scale) for runs in systems.values()],
        )
        for group, counts in groups.items()
    ]
    columns = [SYSTEMS[name].short or name for name in systems]
    title = f"{'Clip AUC' if metric == 'auc' else metric.upper()} on real footage by forgery ({budget} budget)"
    return Table(f"footage-{budget}-{metric}", title, "forged", columns, rows, (NOTE,))


def compare(
    tasks: Sequence[Task],
    out: Path,
    methods: Mapping[str, Mapping[str, str]],
    commit: str,
    *,
    resamples: int = RESAMPLES,
    ledger_file: Path = ledger.LEDGER,
) -> list[Table]:
    """Predict and score trained runs of one budget on the footage, whose features are extracted, and draw their tables.

    Args:
        tasks: the runs.
        out: folder of the footage's clips and features.
        methods: by clip, its methods by modality.
        commit: of the code, for the ledger.
        resamples: draws of the bootstrap.
        ledger_file: the ledger.

    Raises:
        AvlocError: if none of the runs is trained.
    """
    metadata = out / "clips" / f"{SPLIT}_metadata.json"
    systems: dict[str, SystemRuns] = {}
    for task in tasks:
        if not task.weights_file.is_file() or not task.predictions_file(SPLIT).is_file():
            continue
        rows = predict_footage(task, out, len(methods), commit, ledger_file)
        result = score_footage(rows, metadata, methods, validation_setting(task), resamples=1)
        own = systems.setdefault(task.system, SystemRuns([], []))
        systems[task.system] = SystemRuns([*own.rows, rows], [*own.results, result])
    if not systems:
        raise AvlocError(f"none of {len(tasks)} runs is trained, the first is {tasks[0].name}; run the benchmark first")
    truth, budget = read_truth(metadata, "fake_segments"), tasks[0].budget
    groups = [group_table(systems, truth, metric, budget, resamples) for metric in ("ap@0.5", "auc")]
    return [system_table(systems, truth, budget, resamples), *groups]

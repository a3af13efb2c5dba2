"""Trained networks of the benchmark > their predictions for real footage > tables beside those of the generated test.

Each network has its own threshold, chosen on its own predictions for the validation split. Numbers are means over the seeds, with
intervals of the mean by bootstrap over the clips of the footage. As a look at the test split, each prediction is noted in the
ledger first.

Legend: V clips, R runs (seeds of a system).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import corpus
import numpy as np
import torch
from comparing.budgets import BUDGETS, BudgetedModule
from comparing.comparison import describe_tasks
from comparing.experiment import SystemData, Task, load_weights, predict
from comparing.features import extraction_settings
from comparing.system import build_network
from comparing.systems import SYSTEMS
from scoring import ledger
from scoring.predictions import SplitPredictions
from scoring.report import row_label
from scoring.tables import Cell, Table

from avloc.errors import AvlocError
from avloc.evaluation import Truth, read_truth
from avloc.evaluation.bootstrap import RESAMPLES, Interval, bootstrap_intervals
from avloc.evaluation.scoring import Evaluation
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.io.files import file_sha256
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
METADATA = f"{SPLIT}_metadata.json"
NOTE = (
    "Strict AP and AR in percent, AUC of clips, and false alarms per minute of real clips at a threshold that was chosen on the "
    "generated validation split (one per ten minutes): means over the seeds, with the 95 % intervals of the mean by bootstrap "
    "over the clips of the footage."
)


def validation_truth(clips: Path) -> Truth:
    """The labels of a generated set's validation split; a clip lasts as long as its sound, whatever its frames per second."""
    truth = read_truth(clips / METADATA, "fake_segments")
    duration_s = {record.file: record.duration_s for record in corpus.read_records(clips, SPLIT)}
    return replace(truth, duration_s=np.array([duration_s[f"{SPLIT}/{file}"] for file in truth.files]))


def rows_of(predictions: SplitPredictions) -> Rows:
    """Rows of score, start and end in seconds, audio and visual score, by the clips' names in the metadata."""
    proposals = predictions.proposals
    values = np.column_stack([proposals.scores, proposals.segments, proposals.modality_scores])
    parts = np.split(values, predictions.offsets[1:-1])
    return {file.removeprefix(f"{SPLIT}/"): rows for file, rows in zip(predictions.files, parts, strict=True)}


def extract(out: Path, files: Sequence[str], extractors: Iterable[str], cache: Path, workers: int) -> None:
    """Extract the features of the footage's clips, `out/clips`, into `out/features`; existing ones are kept.

    Args:
        out: folder of the footage.
        files: names of its clips.
        extractors: names of the features.
        cache: folder of the weights of pretrained networks.
        workers: processes; 0: this one.

    Raises:
        AvlocError: if a clip cannot be read.
    """
    settings = extraction_settings(out / "clips", extractors, cache, workers)
    report = job.extract([*files], FeatureStore(out / "features"), settings)
    if report.failed:
        raise AvlocError(f"{out}: {report.failed} clips could not be read: {report.failures}")


def predictions_file(task: Task, out: Path) -> Path:
    """The file that keeps the predictions of a network for the footage, named by the content of both.

    A network that was trained again, and footage that was forged again, have another file.
    """
    checksums = file_sha256(task.weights_file), file_sha256(out / "clips" / METADATA)
    name = "-".join((task.result_file.stem, *(checksum[:12] for checksum in checksums)))
    return out / "predictions" / task.budget / f"{name}.npz"


def predict_footage(task: Task, out: Path, clips: int, commit: str, ledger_file: Path = ledger.LEDGER) -> Rows:
    """Predict the footage by a trained network, after a line in the ledger; predictions of the same weights are kept.

    Args:
        task: the trained run.
        out: folder of the footage's clips and features.
        clips: number of clips, for the ledger.
        commit: of the code, for the ledger.
        ledger_file: the ledger.
    """
    path = predictions_file(task, out)
    if not path.is_file():
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


class FootageTables(NamedTuple):
    """The tables of some systems' runs of one budget.

    Attributes:
        systems: their runs.
        truth: labels of the footage.
        budget: its name.
        labels: the chosen settings, for the rows.
        resamples: draws of the bootstrap.
        notes: sentences below each table.
    """

    systems: Mapping[str, SystemRuns]
    truth: Truth
    budget: str
    labels: Mapping[str, str]
    resamples: int
    notes: Sequence[str]

    def by_system(self) -> Table:
        """Systems by metrics, for all forged clips."""
        columns = [
            *(name.upper() for name in METRICS),
            "clip AUC",
            "false alarms / min",
            "real flagged",
            "forged flagged",
        ]
        rows = []
        for name, runs in self.systems.items():
            metrics = mean_metrics(runs, self.truth, "all", self.resamples)
            cells: list[Cell] = [interval_cell(metrics[metric]) for metric in METRICS]
            alarms = mean_rate(runs, self.truth, self.resamples)
            cells += [interval_cell(metrics["auc"], 1, 2), interval_cell(alarms, 1, 2)]
            everything = [result.groups["all"] for result in runs.results]
            real = statistics.fmean(result.real_flagged for result in runs.results)
            forged = statistics.fmean(group.flagged for group in everything)
            cells += [(f"{real:.1f} of {everything[0].real}",), (f"{forged:.1f} of {everything[0].forged}",)]
            rows.append((row_label(name, runs.rows, self.labels), cells))
        title = f"Real footage ({self.budget} budget)"
        return Table(f"footage-{self.budget}", title, "system", columns, rows, self.notes)

    def by_forgery(self, metric: str) -> Table:
        """Groups of forged clips by systems, for one metric."""
        groups = next(iter(self.systems.values())).results[0].groups
        scale = (1.0, 2) if metric == "auc" else (100.0, 1)
        rows: list[tuple[Cell, list[Cell]]] = []
        for group, counts in groups.items():
            metrics = [mean_metrics(runs, self.truth, group, self.resamples)[metric] for runs in self.systems.values()]
            rows.append(((group, f"{counts.forged} clips"), [interval_cell(each, *scale) for each in metrics]))
        columns = [SYSTEMS[name].short or name for name in self.systems]
        head = "Clip AUC" if metric == "auc" else metric.upper()
        title = f"{head} on real footage by forgery ({self.budget} budget)"
        return Table(f"footage-{self.budget}-{metric}", title, "forged", columns, rows, self.notes)


def compare(
    tasks: Mapping[str, Sequence[Task]],
    out: Path,
    methods: Mapping[str, Mapping[str, str]],
    commit: str,
    *,
    labels: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    ledger_file: Path = ledger.LEDGER,
) -> list[Table]:
    """Predict and score trained runs of one budget on the footage, whose features are extracted, and draw their tables.

    Args:
        tasks: the runs of each system.
        out: folder of the footage's clips and features.
        methods: by clip, its methods by modality.
        commit: of the code, for the ledger.
        labels: the settings that were chosen among trials, by name of the system.
        resamples: draws of the bootstrap.
        ledger_file: the ledger.

    Raises:
        AvlocError: if none of the runs is trained.
    """
    metadata, every = out / "clips" / METADATA, [task for runs in tasks.values() for task in runs]
    untrained = [task for task in every if not task.weights_file.is_file()]
    unpredicted = [task for task in every if task not in untrained and not task.predictions_file(SPLIT).is_file()]
    missing = describe_tasks({"not trained": untrained, "no predictions of the validation split": unpredicted})
    systems: dict[str, SystemRuns] = {}
    for name, runs in tasks.items():
        trained = [task for task in runs if task not in (*untrained, *unpredicted)]
        rows = [predict_footage(task, out, len(methods), commit, ledger_file) for task in trained]
        results = [
            score_footage(each, metadata, methods, validation_setting(task), resamples=1)
            for each, task in zip(rows, trained, strict=True)
        ]
        if trained:
            systems[name] = SystemRuns(rows, results)
    if not systems:
        raise AvlocError(f"none of {len(every)} runs is trained, the first is {every[0].name}; run the benchmark first")
    notes = [NOTE, *([missing] if missing else [])]
    tables = FootageTables(
        systems, read_truth(metadata, "fake_segments"), every[0].budget, labels or {}, resamples, notes
    )
    return [tables.by_system(), *(tables.by_forgery(metric) for metric in ("ap@0.5", "auc"))]

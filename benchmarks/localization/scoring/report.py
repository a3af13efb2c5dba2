"""Kept predictions and results > all tables of one split and budget.

Legend: V clips.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from comparing.main_systems import BASELINES
from comparing.system import OURS
from comparing.systems import SYSTEMS
from scoring.naming import NamingThresholds, score_naming
from scoring.predictions import SplitPredictions
from scoring.scores import METRICS, RESAMPLES, Score, evaluate_runs, margins, metric_value, score_clips, score_runs
from scoring.subsets import EVERYTHING, group_masks, method_masks
from scoring.tables import Cell, Table, percent, score_cell
from scoring.truth import NAMES, SplitTruth

from avloc.core.proposals import MODALITY_SHARE
from avloc.evaluation.scoring import Evaluation

WIDE_GROUPS = ("", "modality", "methods")
"""Groups with a table of all metrics for each value; the others have a table of systems for each of `NARROW_METRICS`."""
NARROW_METRICS = ("ap@0.5", "ap@0.95")
SCORE_NOTE = (
    "Strict, percent: mean ± deviation over the seeds, and the 95 % interval of the mean by bootstrap over utterances "
    "(sources), not speakers."
)
TRIALS_NOTE = (
    "Trials: settings of a system that were validated with one seed and the short budget; the table of costs counts all settings "
    "of a network that were tried."
)
SPEAKER_NOTE = (
    "Strict, percent: mean ± deviation over the seeds, and the 95 % interval of the mean by bootstrap over the {} speakers, "
    "each with all of their utterances. So few speakers give a wide interval, and a rough one."
)

Runs = Mapping[str, Sequence[SplitPredictions]]


@dataclass(frozen=True)
class SplitReport:
    """The tables of one split and budget.

    Args:
        split: `val` or `test`.
        budget: name of the budget.
        truth: labels and details of the split.
        runs: the predictions of each system's seeds.
        thresholds: of each of these.
        labels: the setting of a system that was chosen among its trials, for its rows.
        unseen: methods that no training clip has.
        neural: methods that are neural networks.
        resamples: draws of each bootstrap.
        progress: called with a sentence at each step.
    """

    split: str
    budget: str
    truth: SplitTruth
    runs: Runs
    thresholds: Mapping[str, Sequence[NamingThresholds]]
    labels: Mapping[str, str] = field(default_factory=dict)
    unseen: Collection[str] = ()
    neural: Collection[str] = ()
    resamples: int = RESAMPLES
    progress: Callable[[str], object] = lambda text: None

    def tables(self) -> list[Table]:
        """Draw all tables; `shift_table` draws the one of shifted media."""
        groups = group_masks(self.truth, unseen=self.unseen, neural=self.neural)
        tables = []
        for group, masks in groups.items():
            self.progress(f"{self.split}, {self.budget}: {group or EVERYTHING}")
            scores = {value: self._scores(mask) for value, mask in masks.items()}
            if group in WIDE_GROUPS:
                tables += [self._wide_table(value, scores[value], masks[value]) for value in masks]
            elif scores:
                tables += [self._narrow_table(group, metric, scores, masks) for metric in NARROW_METRICS]
        wide = {value: mask for group in WIDE_GROUPS for value, mask in groups[group].items()}
        tables += [self.speaker_table(), self.clip_table(), self.naming_table(), self.confusion_table()]
        return tables + self.margin_tables(wide)

    def held_back_tables(self, fold: str) -> list[Table]:
        """Draw the scores on the methods that the trainings of a fold left out, and on the others.

        Args:
            fold: its name; `unseen` has its methods.
        """
        masks = method_masks(self.truth, self.unseen, self.neural)
        self.progress(f"{self.split}, {self.budget}: fold {fold}")
        tables = []
        for kind, what in (("unseen", "held back"), ("seen", "known")):
            if kind in masks:
                title = f"Methods {what} in fold {fold}: {', '.join(self.unseen)} are not in training"
                tables.append(self._wide_table(f"fold {fold} {kind}", self._scores(masks[kind]), masks[kind], title))
        return tables

    def _everything(self) -> npt.NDArray[np.bool_]:
        return np.ones(len(self.truth.records), dtype=bool)

    def _label(self, name: str, runs: Sequence[object]) -> Cell:
        """The label of a system's row: title, chosen setting, seeds."""
        return row_label(name, runs, self.labels)

    def _scores(self, mask: npt.NDArray[np.bool_]) -> dict[str, dict[str, Score]]:
        return {
            name: score_runs(evaluate_runs(runs, self.truth, mask), resamples=self.resamples)
            for name, runs in self.runs.items()
        }

    def _table(
        self,
        name: str,
        title: str,
        corner: str,
        columns: Sequence[str],
        rows: Sequence[tuple[Cell, Sequence[Cell]]],
        *notes: str,
    ) -> Table:
        where = f"{self.split} split, {self.budget} budget"
        return Table(
            f"{self.split}-{self.budget}-{name.replace(' ', '-')}", f"{title} ({where})", corner, columns, rows, notes
        )

    def _counts(self, mask: npt.NDArray[np.bool_]) -> str:
        forged = self.truth.is_forged() & mask
        fakes = int(np.diff(self.truth.table.labels.offsets)[mask].sum())
        return f"{int(forged.sum())} forged clips, {fakes} fakes, {int((mask & ~forged).sum())} real clips."

    def _wide_table(
        self, value: str, scores: Mapping[str, Mapping[str, Score]], mask: npt.NDArray[np.bool_], title: str = ""
    ) -> Table:
        """Systems by metrics; without a title, the value is one."""
        rows, title = self._metric_rows(scores), title or value[0].upper() + value[1:]
        notes = [self._counts(mask), SCORE_NOTE, *([TRIALS_NOTE] if self.labels else [])]
        return self._table(value, title, "system", [*METRICS.values()], rows, *notes)

    def _metric_rows(self, scores: Mapping[str, Mapping[str, Score]]) -> list[tuple[Cell, list[Cell]]]:
        return [
            (self._label(name, self.runs[name]), [score_cell(*by_metric[metric]) for metric in METRICS])
            for name, by_metric in scores.items()
        ]

    def speaker_table(self) -> Table:
        """Draw the scores of all clips with intervals over speakers, which are wider than those over utterances."""
        truth, everything = self.truth.by_speaker(), self._everything()
        self.progress(f"{self.split}, {self.budget}: intervals over speakers")
        scores = {
            name: score_runs(evaluate_runs(runs, truth, everything), resamples=self.resamples)
            for name, runs in self.runs.items()
        }
        note = SPEAKER_NOTE.format(len(np.unique(truth.table.source)))
        title, columns = f"{EVERYTHING[0].upper()}{EVERYTHING[1:]}, intervals over speakers", [*METRICS.values()]
        rows = self._metric_rows(scores)
        return self._table(f"{EVERYTHING} speakers", title, "system", columns, rows, self._counts(everything), note)

    def clip_table(self) -> Table:
        """Draw the detection of forged clips by their best scores, beside the localization in them."""
        everything, rows = self._everything(), []
        for name, runs in self.runs.items():
            clips = score_clips(runs, self.truth, resamples=self.resamples)
            values = [metric_value(each, "ap@0.5") for each in evaluate_runs(runs, self.truth, everything)]
            spread = f"±{percent(statistics.stdev(values))}" if len(values) > 1 else ""
            cells = [
                score_cell(*clips["auc"]),
                score_cell(*clips["eer"]),
                (f"{percent(statistics.fmean(values))}{spread}",),
            ]
            rows.append((self._label(name, runs), cells))
        note = "AUC and EER of the score of each clip's best segment; a clip is forged if it has a fake segment."
        columns = ["AUC", "EER", "AP@.5"]
        return self._table("clips", "Forged clips", "system", columns, rows, self._counts(everything), note, SCORE_NOTE)

    def _narrow_table(
        self,
        group: str,
        metric: str,
        scores: Mapping[str, Mapping[str, Mapping[str, Score]]],
        masks: Mapping[str, npt.NDArray[np.bool_]],
    ) -> Table:
        """Values of a property by systems, for one metric."""
        offsets, forged = self.truth.table.labels.offsets, self.truth.is_forged()
        rows = []
        for value, by_system in scores.items():
            fakes = int(np.diff(offsets)[masks[value] & forged].sum())
            rows.append(
                ((value, f"{fakes} fakes"), [score_cell(*by_metric[metric]) for by_metric in by_system.values()])
            )
        columns = [SYSTEMS[name].short or name for name in self.runs]
        title = f"{METRICS[metric]} by {group}"
        return self._table(f"{group}-{metric}", title, group, columns, rows, SCORE_NOTE)

    def _named_systems(self) -> list[str]:
        return [name for name in self.runs if not SYSTEMS[name].modality]

    def naming_table(self) -> Table:
        """Draw the share of found segments whose modality is named rightly, with the chosen share and with the default."""
        rows = []
        for name in self._named_systems():
            chosen = [*zip(self.runs[name], self.thresholds[name], strict=True)]
            default = [(run, thresholds._replace(share=MODALITY_SHARE)) for run, thresholds in chosen]
            for label, pairs in (("share by validation", chosen), (f"share {MODALITY_SHARE:g}", default)):
                score = score_naming(pairs, self.truth, resamples=self.resamples)
                right = [
                    score_cell(*each) for each in zip(score.right, score.deviation, score.low, score.high, strict=True)
                ]
                recall = (" / ".join(percent(float(value)) for value in score.recall),)
                rows.append(((SYSTEMS[name].title, label), [*right, recall]))
        note = (
            "Of the fakes of each kind that are found (strict matching at IoU .5, score above the best F1 on validation), the "
            "share whose proposal names the modality rightly; and the share that is found."
        )
        columns = [*NAMES, "found (a / v / b)"]
        return self._table("named modality", "Named modality", "system", columns, rows, note, SCORE_NOTE)

    def confusion_table(self) -> Table:
        """Draw the counts behind `naming_table`, with the share by validation."""
        rows = []
        for name in self._named_systems():
            pairs = [*zip(self.runs[name], self.thresholds[name], strict=True)]
            counts = score_naming(pairs, self.truth, resamples=1).confusion
            for kind, row in zip(NAMES, counts, strict=True):
                rows.append(((f"{SYSTEMS[name].short or name}, {kind}",), [(f"{value:.1f}",) for value in row]))
        columns = [f"named {name}" for name in NAMES]
        note = "Found fakes, mean over the seeds; a row for each forged kind."
        return self._table("confusion", "Forged and named modality", "forged", columns, rows, note)

    def margin_tables(self, masks: Mapping[str, npt.NDArray[np.bool_]]) -> list[Table]:
        """Draw our lead over the best baseline, and over version 0.1's network."""
        tables = []
        baselines = [name for name in BASELINES if name in self.runs]
        for title, others in (("the best baseline", baselines), ("version 0.1's network", ["version_0_1"])):
            if OURS in self.runs and others and all(name in self.runs for name in others):
                tables.append(self._margin_table(title, others, masks))
            else:
                self.progress(
                    f"{self.split}, {self.budget}: no margin over {title}, its predictions or ours are missing"
                )
        return tables

    def _margin_table(self, title: str, others: Sequence[str], masks: Mapping[str, npt.NDArray[np.bool_]]) -> Table:
        rows = []
        for value, mask in masks.items():
            self.progress(f"{self.split}, {self.budget}: margin over {title}, {value}")
            evaluations = {name: evaluate_runs(self.runs[name], self.truth, mask) for name in (OURS, *others)}
            ours: list[Evaluation] = evaluations.pop(OURS)
            for metric, margin in margins(ours, evaluations, resamples=self.resamples).items():
                ratio = f"{margin.ours / margin.theirs:.2f}" if margin.theirs > 0 else "–"
                cells = [
                    (percent(margin.ours),),
                    (percent(margin.theirs),),
                    (SYSTEMS[margin.best].short or margin.best,),
                    (ratio,),
                    (f"{100 * margin.difference:+.1f}", f"{100 * margin.low:+.1f}…{100 * margin.high:+.1f}"),
                ]
                rows.append(((f"{value}, {METRICS[metric]}",), cells))
        columns = ["ours", "theirs", "system", "ratio", "difference"]
        note = (
            "Means over the seeds; the difference with its 95 % interval of paired draws of utterances (sources), not speakers. "
            f"Compared with {', '.join(f'{SYSTEMS[name].title} ({_seeds(self.runs[name])})' for name in others)}."
        )
        notes = [note]
        left_out = [SYSTEMS[name].title for name in BASELINES if name not in others]
        if left_out and set(others) <= set(BASELINES):
            notes.append(f"Baselines left out: {', '.join(left_out)}.")
        name = f"margin over {title.split()[-1]}"
        return self._table(name, f"Margin over {title}", "clips", columns, rows, *notes)

    def shift_table(self, shift_ms: float, shifted: Runs) -> Table:
        """Draw the change of AP@.95 when media and labels come later, beside the interval of the score itself.

        Args:
            shift_ms: the shift.
            shifted: the predictions for shifted media, of the seeds that `runs` has.
        """
        metric, everything, rows = "ap@0.95", self._everything(), []
        for name, runs in shifted.items():
            before, after = (evaluate_runs(each, self.truth, everything) for each in (self.runs[name], runs))
            score = score_runs(before, resamples=self.resamples)[metric]
            margin = margins(after, {name: before}, resamples=self.resamples)[metric]
            half = (score.high - score.low) / 2
            cells = [
                score_cell(*score),
                (percent(margin.ours),),
                (f"{100 * margin.difference:+.1f}", f"{100 * margin.low:+.1f}…{100 * margin.high:+.1f}"),
                (f"±{percent(half)}",),
            ]
            rows.append((self._label(name, runs), cells))
        columns = ["AP@.95", "shifted", "change", "half interval"]
        title = f"Media and labels {shift_ms:g} ms later"
        return self._table(f"shift {shift_ms:g}ms", title, "system", columns, rows, SCORE_NOTE)


def _seeds(runs: Sequence[object]) -> str:
    return f"{len(runs)} seed{'' if len(runs) == 1 else 's'}"


def row_label(name: str, runs: Sequence[object], labels: Mapping[str, str]) -> Cell:
    """Label a system's row: its title, the setting that was chosen among its trials, and the number of its seeds.

    Args:
        name: of the system.
        runs: its seeds.
        labels: the chosen settings, by name of the system.
    """
    return (SYSTEMS[name].title, *([labels[name]] if name in labels else []), _seeds(runs))


def validation_table(
    results: Mapping[str, Sequence[Mapping[str, float]]], budget: str, labels: Mapping[str, str] | None = None
) -> Table:
    """Draw the validation scores of finished runs.

    Args:
        results: by system, the validation scores of each seed.
        budget: name of the budget.
        labels: the settings that were chosen among trials, by name of the system.
    """
    metrics = {"ap": "AP", **METRICS}
    rows = []
    for name, seeds in results.items():
        cells: list[Cell] = []
        for metric in metrics:
            values = [seed[metric] for seed in seeds]
            spread = f"±{percent(statistics.stdev(values))}" if len(values) > 1 else ""
            cells.append((f"{percent(statistics.fmean(values))}{spread}",))
        rows.append((row_label(name, seeds, labels or {}), cells))
    note = (
        "Strict, percent: mean ± standard deviation over the seeds. AP is the mean over the four thresholds. A system of one "
        "modality is validated on that modality's fakes."
    )
    title = f"Validation split, {budget} budget"
    return Table(f"validation-{budget}", title, "system", [*metrics.values()], rows, (note,))

"""One system, one seed, one budget: cached features > training > predictions of the validation split, and on demand of the test.

A training leaves its weights, its validation scores and its predictions of the validation split in OUT/runs/BUDGET; the test
split is read by `test` alone.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import corpus
import numpy as np
import torch
from comparing.budgets import BUDGETS, BudgetedModule, StopWhenFlat
from comparing.main_systems import TRIALS_OF
from comparing.system import System, build_network
from comparing.systems import SYSTEMS
from scoring import ledger
from scoring.choices import SEEDS, TRIAL_BUDGET, TRIAL_SEED, Choice, choose
from scoring.naming import choose_thresholds
from scoring.predictions import SplitPredictions
from scoring.shift import ShiftedStore
from scoring.truth import SplitTruth

from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES, VideoRecord
from avloc.datasets.loading.feature_data import FeatureData
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import RecordTable, as_table
from avloc.errors import AvlocError
from avloc.evaluation.metrics import score_rows
from avloc.io.files import copy_file, read_json, write_json

BATCH = 16
IOUS, COUNTS = (0.5, 0.75, 0.9, 0.95), (10,)
LAYOUT = "avdeepfake1m"


class Task(NamedTuple):
    """A run: one system with one seed and one budget.

    Attributes:
        system: a name of `SYSTEMS`.
        seed: of the training.
        budget: a name of `BUDGETS`.
        out: folder of the benchmark.
        device: `cpu` or `gpu`.
        threads: of torch.
        copies: number of augmented copies of each training clip.
    """

    system: str
    seed: int
    budget: str
    out: Path
    device: str = "cpu"
    threads: int = 1
    copies: int = 0

    @property
    def name(self) -> str:
        """The run in messages."""
        return f"{self.system}, seed {self.seed}, {self.budget}"

    @property
    def result_file(self) -> Path:
        """The run's result; it exists once the run is finished."""
        return self.out / "runs" / self.budget / f"{self._stem(self.system)}.json"

    @property
    def weights_file(self) -> Path:
        """The trained network, which may be another system's."""
        name = SYSTEMS[self.system].weights_of or self.system
        return self.out / "runs" / self.budget / f"{self._stem(name)}.ckpt"

    def predictions_file(self, split: str, shift_s: float = 0.0) -> Path:
        """The proposals of a split's clips, with media and labels shifted by some time."""
        shift = f"+{1000 * shift_s:g}ms" if shift_s else ""
        return self.out / "predictions" / split / self.budget / f"{self._stem(self.system)}{shift}.npz"

    def forget(self) -> None:
        """Remove the files of an earlier training of this run, so that no table pairs it with new weights or thresholds."""
        decoded = [name for name, system in SYSTEMS.items() if system.weights_of == self.system]
        for name in (self.system, *decoded):
            self._replace(system=name).result_file.unlink(missing_ok=True)
            for path in (self.out / "predictions").glob(f"*/{self.budget}/{self._stem(name)}*.npz"):
                path.unlink()

    def _stem(self, system: str) -> str:
        return f"{system}-{self.seed}-{SYSTEMS[system].key}" + (f"-copies{self.copies}" if self.copies else "")


@dataclass(frozen=True, slots=True)
class RunResult:
    """The content of a run's result file: nothing of the test split.

    Attributes:
        system: name of the system.
        seed: of the training.
        budget: name of the budget.
        epochs: passes over the training split.
        parameters: number of the network's parameters.
        train_s: seconds of training; 0 for another system's network.
        validation: strict scores on the validation split, in [0, 1].
        thresholds: the chosen score and share of `scoring.naming.NamingThresholds`.
        threads: of torch.
        device: `cpu` or `gpu`.
    """

    system: str
    seed: int
    budget: str
    epochs: int
    parameters: int
    train_s: float
    validation: dict[str, float]
    thresholds: dict[str, float]
    threads: int
    device: str = "cpu"


# Data.


class SystemData(FeatureData):
    """The batches of a system.

    A network with points per modality is trained on the segments of each; all others, and all scores, take one per forgery.

    Args:
        system: for its clock and modality.
        out: folder of the benchmark.
        seed: of the order of the clips.
        shift_s: put media and labels of every clip later by this time.
        copies: number of augmented copies of each training clip.
    """

    def __init__(self, system: System, out: Path, seed: int, shift_s: float = 0.0, copies: int = 0) -> None:
        super().__init__(
            dataset=LAYOUT,
            root=str(out / "clips"),
            store=str(out / "features"),
            extractors=list(system.extractors),
            seed=seed,
            batch_size=BATCH,
            hop_s=system.hop_s,
            pseudo_forgeries=system.pseudo_forgeries,
            native_rate=system.arguments.get("audio_rows_per_step") is not None,
            modality=system.modality or None,
            copies=copies,
            clip_labels_only=system.clip_labels_only,
            **system.data,
        )
        self.labels_per_modality = system.labels_per_modality
        self.held_back = files_of_methods(out / "clips", system.held_back)
        if shift_s:
            self.store = ShiftedStore(out / "features", shift_s)

    def _records(self, split: str, *, training: bool) -> RecordTable | ClipRecordTable:
        records = super()._records(split, training=training)
        if isinstance(records, ClipRecordTable):
            return records
        if training and self.held_back:
            records = as_table([record for record in records if record.file not in self.held_back])
        if training and self.labels_per_modality:
            return records
        # A system of one modality must not learn how far the other one's forgery reaches.
        return as_table([only(record, self.modality or "").with_joined_segments() for record in records])


def files_of_methods(clips: Path, methods: Sequence[str]) -> frozenset[str]:
    """Name the clips that have a forgery of one of some methods."""
    if not methods:
        return frozenset()
    details = corpus.read_details(clips)
    return frozenset(file for file, each in details.items() if not {*methods}.isdisjoint(each.methods.values()))


# Training.


class Training(NamedTuple):
    """The cost of a training."""

    seconds: float
    epochs: int


def train(task: Task, module: BudgetedModule, data: FeatureData) -> Training:
    """Train a network, and keep the weights of the epoch with the best validation AP, or AUC if it is not to see segments."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint

    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor=module.monitor, mode="max", save_weights_only=True)
        trainer = pl.Trainer(
            max_epochs=module.budget.epochs,
            logger=False,
            callbacks=[best, *([StopWhenFlat(module.budget)] if module.budget.patience else [])],
            gradient_clip_val=1.0,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            accelerator=task.device,
            devices=1,
            precision=SYSTEMS[task.system].precision,
        )
        begin = time.perf_counter()
        trainer.fit(module, datamodule=data)
        seconds = time.perf_counter() - begin
        copy_file(best.best_model_path, task.weights_file)
        return Training(seconds, trainer.current_epoch)


def run(task: Task) -> str:
    """Train one system, and predict the validation split; returns a line about it."""
    import pytorch_lightning as pl

    _silence(task)
    system = SYSTEMS[task.system]
    pl.seed_everything(task.seed, verbose=False)
    data, network = SystemData(system, task.out, task.seed, copies=task.copies), build_network(system)
    module = BudgetedModule(
        cast(torch.nn.Module, network), BUDGETS[task.budget], system.lr, system.monitor, system.front_end_lr
    )
    if system.weights_of and not task.weights_file.is_file():
        raise AvlocError(f"{task.weights_file}: run {system.weights_of} first, {task.system} is the same network")
    if system.starts_from:
        first = task._replace(system=system.starts_from, budget=system.start_budget, copies=0)
        if not first.weights_file.is_file():
            raise AvlocError(f"{first.weights_file}: run {first.name} first, {task.system} starts from its weights")
        load_state(module, first.weights_file)
    task.forget()
    training = Training(0.0, 0) if system.weights_of else train(task, module, data)
    load_weights(module, task)
    predict(module, data, data.val_split).save(task.predictions_file("val"))
    write_json(task.result_file, asdict(validate(task, module, training)))
    validation = read_result(task).validation
    return f"{task.name}: {training.epochs} epochs, validation AP {100 * validation['ap']:.1f}"


def validate(task: Task, module: BudgetedModule, training: Training) -> RunResult:
    """Score the predictions of the validation split, and choose thresholds on them."""
    clips, modality = task.out / "clips", SYSTEMS[task.system].modality
    records = [only(record, modality) for record in corpus.read_records(clips, "val")]
    truth = SplitTruth.build(records, corpus.read_details(clips))
    predictions = SplitPredictions.load(task.predictions_file("val"))
    return RunResult(
        system=task.system,
        seed=task.seed,
        budget=task.budget,
        epochs=training.epochs,
        parameters=sum(p.numel() for p in module.parameters()),
        train_s=training.seconds,
        validation=score(predictions, truth),
        thresholds=choose_thresholds(predictions, truth)._asdict(),
        threads=task.threads,
        device=task.device,
    )


def score(predictions: SplitPredictions, truth: SplitTruth) -> dict[str, float]:
    """Return the strict scores of a split, in [0, 1]: AP at each IoU, their mean `ap`, and AR."""
    scores = score_rows(predictions.rows(), truth.table.labels, mode="strict", ap_ious=IOUS, ar_counts=COUNTS)
    ap = {f"ap@{iou:g}": value for iou, value in scores.ap.items()}
    return ap | {"ap": float(np.mean([*scores.ap.values()]))} | {f"ar@{n}": value for n, value in scores.ar.items()}


def load_module(task: Task) -> BudgetedModule:
    """Make the network of a finished run, on its device."""
    system = SYSTEMS[task.system]
    module = BudgetedModule(cast(torch.nn.Module, build_network(system)), BUDGETS[task.budget], system.lr)
    load_weights(module, task)
    return module


def only(record: VideoRecord, modality: str) -> VideoRecord:
    """Remove the fake segments of the other modality; an empty name keeps both."""
    if not modality:
        return record
    return replace(record, **{f"{m}_segments": () for m in MODALITIES if m != modality})


def read_result(task: Task) -> RunResult:
    """Read the result of a finished run."""
    return RunResult(**cast("dict[str, Any]", read_json(task.result_file, "result of a run")))


def read_choices(out: Path) -> dict[str, Choice]:
    """Read the finished trials of all systems, and choose a setting for each."""
    validated = {}
    for name in dict.fromkeys(trial for trials in TRIALS_OF.values() for trial in trials):
        done = [task for seed in SEEDS if (task := Task(name, seed, TRIAL_BUDGET, out)).result_file.is_file()]
        if any(task.seed == TRIAL_SEED for task in done):
            validated[name] = float(np.mean([read_result(task).validation["ap"] for task in done]))
    return choose(validated)


# Predictions.


class TestTask(NamedTuple):
    """A look at the test split.

    Attributes:
        task: the trained run.
        commit: of the code, for the ledger.
        clips: number of clips of the corpus, for the ledger.
        shift_s: shift of media and labels.
        ledger: its file.
    """

    task: Task
    commit: str
    clips: int
    shift_s: float = 0.0
    ledger: Path = ledger.LEDGER


def test(look: TestTask) -> str:
    """Predict the test split with a trained network, after a line in the ledger; returns a line about it."""
    task = look.task
    _silence(task)
    line = ledger.Look(corpus.VERSION, look.clips, task.system, task.seed, task.budget, 1000 * look.shift_s)
    ledger.append(line, look.commit, look.ledger)
    predict_split(task, "test", look.shift_s)
    return f"{task.name}: tested" + (f" {1000 * look.shift_s:g} ms later" if look.shift_s else "")


def predict_split(task: Task, split: str, shift_s: float = 0.0) -> None:
    """Predict a split with a trained network; proposals of shifted media are put back by the shift."""
    predictions = predict(load_module(task), SystemData(SYSTEMS[task.system], task.out, task.seed, shift_s), split)
    replace(predictions, proposals=predictions.proposals.shifted(-shift_s)).save(task.predictions_file(split, shift_s))


def load_weights(module: BudgetedModule, task: Task) -> None:
    """Load a trained network, and put it on its device."""
    load_state(module, task.weights_file)
    module.eval().to("cuda" if task.device == "gpu" else task.device)


def load_state(module: BudgetedModule, weights: Path) -> None:
    """Load trained weights into a network of the same form."""
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["state_dict"])


def predict(module: BudgetedModule, data: FeatureData, split: str) -> SplitPredictions:
    """Predict all clips of a split, in batches of similar length; of clips that are too long for the network the beginning."""
    return SplitPredictions.from_clips(_predict_clips(module, data, split))


def _predict_clips(module: BudgetedModule, data: FeatureData, split: str) -> Iterator[tuple[str, Proposals]]:
    dataset = data.split(split)
    if module.model.longest_steps is not None:
        dataset.longest_s, dataset.random_windows = module.model.longest_steps * data.hop_s, False
    order = np.argsort(dataset.lengths(), kind="stable")
    collate = data.collate_fn(None)
    for begin in range(0, len(order), BATCH):
        batch = collate([dataset[int(k)] for k in order[begin : begin + BATCH]]).to(module.device)
        with torch.inference_mode():
            decoded = module.model.decode(module.model(**batch.inputs._asdict()), batch.grids)
        yield from ((record.file, proposals) for record, proposals in zip(batch.records, decoded, strict=True))


def _silence(task: Task) -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(task.threads)

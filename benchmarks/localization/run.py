"""BoundaryTransformer beside five baselines on one generated corpus: the same features, budget, seeds and evaluation.

    python benchmarks/localization/run.py --out /data/loc            # everything; resumes where it stopped
    python benchmarks/localization/run.py --out /data/loc --quick    # small, minutes: the order of the systems
    python benchmarks/localization/run.py --out /data/loc --systems ablation --seeds 0

Downloads the recordings (51 MB, Debian), makes the clips, extracts, trains every system with every seed, tests, and prints the
table, which is also written to OUT/table.md. Each finished run leaves OUT/runs/SYSTEM-SEED.json and is not repeated.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import corpus
import numpy as np
import speech
import torch
from systems import ABLATION, BASELINES, FEATURES, OURS, SYSTEMS, TRIALS, System
from tables import SUBSETS, RunResult, Scores, build_network, cost_table, read_results, score_table

from avloc.core.timeline import segment_array
from avloc.datasets.loading.data_modules import FeatureData
from avloc.errors import AvlocError
from avloc.evaluation.torchmetric import TemporalAveragePrecision
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.pipeline import ClipReport
from avloc.feature_extraction.job.plan import ReusedClips
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.io import processes
from avloc.io.files import read_json, replacing, write_json, write_text
from avloc.training.module import LocalizationModule

if TYPE_CHECKING:
    from avloc.core.proposals import Proposals
    from avloc.core.records import VideoRecord
    from avloc.models import Network

IOUS, COUNTS = (0.5, 0.75, 0.9, 0.95), (10, 20)
BATCH = 16
QUICK_CLIPS, QUICK_EPOCHS = 240, 6
NOT_QUICK = ("batfd_plus",)  # attention over all cells of its map: more than five minutes even in the quick form


class Task(NamedTuple):
    """A run: one system with one seed.

    Attributes:
        system: a name of `SYSTEMS`.
        seed: of the training.
        out: folder of the benchmark.
        epochs: passes over the training split; None: the system's own.
        device: `cpu` or `gpu`.
        threads: of torch.
    """

    system: str
    seed: int
    out: Path
    epochs: int | None
    device: str
    threads: int

    @property
    def result_file(self) -> Path:
        """The run's result; it exists once the run is finished."""
        return self.out / "runs" / f"{self.system}-{self.seed}.json"

    @property
    def weights_file(self) -> Path:
        """The trained network, which may be another system's."""
        return self.out / "runs" / f"{SYSTEMS[self.system].weights_of or self.system}-{self.seed}.ckpt"


# Data.


def prepare(out: Path, recordings: Path, clips: int, workers: int) -> None:
    """Make the clips and extract their features; finished parts are kept."""
    from tqdm import tqdm

    with tqdm(total=clips, desc="clips", disable=None) as bar:
        records = corpus.make(out / "clips", recordings, clips=clips, workers=workers, progress=bar.update)
    settings = ExtractionSettings(out / "clips", tuple((name, {}) for name in FEATURES), workers=workers)

    def count_clips(event: job.JobEvent) -> None:
        if isinstance(event, ClipReport):
            bar.update(1)
        elif isinstance(event, ReusedClips):
            bar.update(event.clips)

    with tqdm(total=clips, desc="features", disable=None) as bar:
        files = [record.file for record in records]
        report = job.extract(files, FeatureStore(out / "features"), settings, progress=count_clips)
    if report.failed:
        raise AvlocError(f"{out}: {report.failed} clips could not be read: {report.failures}")


def build_data(system: System, out: Path, seed: int) -> FeatureData:
    """The batches of a system."""
    return FeatureData(
        dataset="lavdf",
        root=str(out / "clips"),
        store=str(out / "features"),
        extractors=list(FEATURES),
        seed=seed,
        batch_size=BATCH,
        hop_s=system.hop_s,
        pseudo_forgeries=system.pseudo_forgeries,
        native_rate="audio_rows_per_step" in system.arguments,
    )


# Training and test.


class Training(NamedTuple):
    """The cost of training and its outcome: the best validation AP."""

    seconds: float
    validation_ap: float


def train(task: Task, module: LocalizationModule, data: FeatureData) -> Training:
    """Train a network, and keep the weights of the epoch with the best validation AP."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint

    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="val/ap", mode="max", save_weights_only=True)
        trainer = pl.Trainer(
            max_epochs=task.epochs or SYSTEMS[task.system].epochs,
            logger=False,
            callbacks=[best],
            gradient_clip_val=1.0,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator=task.device,
            devices=1,
        )
        begin = time.perf_counter()
        trainer.fit(module, datamodule=data)
        seconds = time.perf_counter() - begin
        assert best.best_model_score is not None
        with replacing(task.weights_file) as temporary:
            shutil.copyfile(best.best_model_path, temporary)
        return Training(seconds, float(best.best_model_score))


def run(task: Task) -> str:
    """Train and test one system with one seed; returns the name of its result."""
    import pytorch_lightning as pl

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(task.threads)
    system = SYSTEMS[task.system]
    pl.seed_everything(task.seed, verbose=False)
    data, network = build_data(system, task.out, task.seed), build_network(system)
    module = LocalizationModule(network, lr=system.lr)
    if system.weights_of and not task.weights_file.is_file():
        raise AvlocError(f"{task.weights_file}: run {system.weights_of} first, {task.system} is the same network")
    training = None if system.weights_of else train(task, module, data)
    module.load_state_dict(torch.load(task.weights_file, map_location="cpu", weights_only=True)["state_dict"])
    module.eval().to(task.device if task.device != "gpu" else "cuda")
    result = RunResult(
        system=task.system,
        title=system.title,
        seed=task.seed,
        epochs=task.epochs or system.epochs,
        parameters=sum(p.numel() for p in module.parameters()),
        train_s=0.0 if training is None else training.seconds,
        validation_ap=None if training is None else training.validation_ap,
        scores=test(network, data, task.out),
        threads=task.threads,
    )
    write_json(task.result_file, asdict(result))
    return task.result_file.stem


def predict(network: Network, data: FeatureData) -> Iterator[tuple[VideoRecord, Proposals]]:
    """Each test clip's record and proposals, in batches of similar length."""
    device = next(cast(torch.nn.Module, network).parameters()).device
    dataset = data.split("test")
    order = np.argsort(dataset.lengths(), kind="stable")
    collate = data.collate_fn(None)
    for begin in range(0, len(order), BATCH):
        batch = collate([dataset[int(k)] for k in order[begin : begin + BATCH]]).to(device)
        with torch.inference_mode():
            proposals = network.decode(network(**batch.inputs._asdict()), batch.grids)
        yield from zip(batch.records, proposals, strict=True)


def clip_subsets(methods: Mapping[str, str]) -> list[str]:
    """The subsets of the test split that a clip belongs to, from its methods by modality. Real clips are in each.

    >>> clip_subsets({"audio": "lpc"})
    ['all', 'audio']
    """
    if not methods:
        return list(SUBSETS)
    kind = "both" if len(methods) > 1 else next(iter(methods))
    return [name for name in SUBSETS if name in ("all", kind)] + (["unseen"] if corpus.is_unseen(methods) else [])


def test(network: Network, data: FeatureData, out: Path) -> Scores:
    """Strict AP and AR of the test split and of its subsets."""
    methods = read_json(out / "clips" / "methods.json", "methods")
    metrics = {name: TemporalAveragePrecision(ap_ious=IOUS, ar_counts=COUNTS) for name in SUBSETS}
    for record, proposals in predict(network, data):
        for name in clip_subsets(methods[record.file]):
            metrics[name].update([(proposals.scores, proposals.segments)], [segment_array(record.segments)])
    return {name: {k: float(v) for k, v in metric.compute().items()} for name, metric in metrics.items()}


# Command line.


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of the command line.

    Attributes:
        out: folder for everything.
        systems: names of systems.
        seeds: seeds of the trainings.
        jobs: runs at a time, each with its share of the cores.
        cores: cores for all.
        device: `cpu` or `gpu`.
        quick: a small set and short training.
    """

    out: Path
    systems: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: int
    cores: int
    device: str
    quick: bool


def parse_systems(text: str) -> tuple[str, ...]:
    """Names of systems from `main`, `ablation`, `trials`, `all`, or a list with commas.

    Raises:
        AvlocError: if a name is unknown.
    """
    groups = {"main": [*BASELINES, OURS], "ablation": [OURS, *ABLATION], "trials": [*TRIALS], "all": [*SYSTEMS]}
    names = groups.get(text) or text.split(",")
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise AvlocError(f"unknown systems {', '.join(unknown)}; want {', '.join((*groups, *SYSTEMS))}")
    return tuple(names)


def parse(arguments: Sequence[str] | None = None) -> RunOptions:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--systems", default="main", help="main, ablation, trials, all, or names (default: main)")
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the trainings (default: 0,1,2)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at a time, each with its share of the cores (default: 1)"
    )
    parser.add_argument("--cores", type=int, default=2, help="cores for all (default: 2)")
    parser.add_argument(
        "--device", default="cpu", choices=["cpu", "gpu"], help="device of the trainings (default: cpu)"
    )
    parser.add_argument("--quick", action="store_true", help="a small set and short training")
    values = parser.parse_args(arguments)
    systems, seeds = parse_systems(values.systems), tuple(int(seed) for seed in values.seeds.split(","))
    if values.quick:
        systems = tuple(name for name in systems if name not in NOT_QUICK)
    return RunOptions(**{**vars(values), "systems": systems, "seeds": seeds})


def main() -> None:
    """Prepare the data, run the tasks that are left, and print the table."""
    options = parse()
    out = options.out / "quick" if options.quick else options.out
    clips = QUICK_CLIPS if options.quick else corpus.CLIPS
    prepare(out, speech.fetch(options.out / "speech"), clips, options.cores)
    epochs, threads = QUICK_EPOCHS if options.quick else None, max(1, options.cores // options.jobs)
    tasks = [
        Task(name, seed, out, epochs, options.device, threads) for seed in options.seeds for name in options.systems
    ]
    tasks = [task for task in tasks if not task.result_file.is_file()]
    for decodes_another in (False, True):  # networks are trained before they are decoded in other ways
        group = [task for task in tasks if bool(SYSTEMS[task.system].weights_of) == decodes_another]
        for name in processes.run(run, group, options.jobs):
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
    results = read_results(out, options.systems)
    lines = [line for subset in SUBSETS for line in score_table(results, subset)] + cost_table(results, options.cores)
    text = "\n".join(lines)
    write_text(out / "table.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()

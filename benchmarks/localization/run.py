"""BoundaryTransformer beside five baselines on one generated corpus: the same features, budget, seeds and evaluation.

    python benchmarks/localization/run.py --out /data/loc            # everything; resumes where it stopped
    python benchmarks/localization/run.py --out /data/loc --quick    # small, minutes: the order of the systems
    python benchmarks/localization/run.py --out /data/loc --systems ablation --seeds 0

Fetches the recordings (51 MB, Debian), makes the clips, extracts, trains every system with every seed, tests, and prints the
table, which is also written to OUT/table.md. Each finished run leaves OUT/runs/SYSTEM-SEED.json and is not made again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import corpus
import numpy as np
import speech
import torch
from systems import ABLATION, BASELINES, FEATURES, OURS, SYSTEMS, TRIALS, System

from avloc.core.timeline import TimeGrid, segment_array
from avloc.datasets.loading.batch import FeatureInputs
from avloc.datasets.loading.data_modules import FeatureData
from avloc.errors import AvlocError
from avloc.evaluation.torchmetric import TemporalAveragePrecision
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.io import processes
from avloc.io.files import read_json, replacing, write_json, write_text
from avloc.training.module import LocalizationModule

IOUS, COUNTS = (0.5, 0.75, 0.9, 0.95), (10, 20)
COLUMNS = ("ap@0.5", "ap@0.75", "ap@0.9", "ap@0.95", "ar@10")
SUBSETS = ("all", "audio", "visual", "both", "unseen")
CLIP_S = 9.0
QUICK_CLIPS, QUICK_EPOCHS = 240, 6
NOT_QUICK = ("batfd_plus",)  # attention over all cells of its map: more than five minutes even so


class Task(NamedTuple):
    """One run."""

    system: str
    seed: int
    out: Path
    epochs: int | None
    device: str
    threads: int


def prepare(out: Path, recordings: Path, clips: int, workers: int) -> None:
    """Clips, features."""
    from tqdm import tqdm

    with tqdm(total=clips, desc="clips", disable=None) as bar:
        records = corpus.make(out / "clips", recordings, clips=clips, workers=workers, progress=bar.update)
    settings = ExtractionSettings(out / "clips", tuple((name, {}) for name in FEATURES), workers=workers)
    with tqdm(total=clips, desc="features", disable=None) as bar:
        report = job.extract(
            [record.file for record in records], FeatureStore(out / "features"), settings,
            progress=lambda event: bar.update(getattr(event, "clips", 1)) if not hasattr(event, "spec") else None,
        )  # fmt: skip
    if report.failed:
        raise AvlocError(f"{out}: {report.failed} clips could not be read: {report.failures}")


def data_of(system: System, out: Path, seed: int) -> FeatureData:
    return FeatureData(
        dataset="lavdf", root=str(out / "clips"), store=str(out / "features"), extractors=list(FEATURES), seed=seed,
        **{"batch_size": 16, **system.data},
    )  # fmt: skip


def network_of(system: System) -> Any:
    module, _, name = system.network.rpartition(".")
    return getattr(import_module(module), name)(**system.arguments)


def run(task: Task) -> str:
    """Train and test one system with one seed; the name of what it left."""
    import logging

    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(task.threads)
    system = SYSTEMS[task.system]
    pl.seed_everything(task.seed, verbose=False)
    data, network = data_of(system, task.out, task.seed), network_of(system)
    module = LocalizationModule(network, **system.training)
    kept = task.out / "runs" / f"{system.weights_of or task.system}-{task.seed}.ckpt"
    train_s, validation = 0.0, None
    if system.weights_of and not kept.is_file():
        raise AvlocError(f"{kept}: run {system.weights_of} first, {task.system} is the same network")
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="val/ap", mode="max", save_weights_only=True)
        trainer = pl.Trainer(
            max_epochs=task.epochs or system.epochs, logger=False, callbacks=[best], gradient_clip_val=1.0,
            enable_progress_bar=False, enable_model_summary=False, accelerator=task.device, devices=1,
        )  # fmt: skip
        if not system.weights_of:
            begin = time.perf_counter()
            trainer.fit(module, datamodule=data)
            train_s, validation = time.perf_counter() - begin, float(best.best_model_score)
            with replacing(kept) as temporary:
                shutil.copyfile(best.best_model_path, temporary)
    module.load_state_dict(torch.load(kept, map_location="cpu", weights_only=True)["state_dict"])
    tested = test(network.eval().to(task.device if task.device != "gpu" else "cuda"), data, task.out)
    write_json(_result(task), {
        "system": task.system, "title": system.title, "seed": task.seed, "epochs": task.epochs or system.epochs,
        "parameters": sum(p.numel() for p in network.parameters()), "train_s": train_s,
        "validation_ap": validation, "scores": tested, "threads": task.threads,
    })  # fmt: skip
    return _result(task).stem


def _result(task: Task) -> Path:
    return task.out / "runs" / f"{task.system}-{task.seed}.json"


def predictions(network: Any, data: FeatureData) -> Iterator[tuple[Any, Any]]:
    """Each test clip's record and proposals."""
    device = next(network.parameters()).device
    dataset = data.split("test")
    order = np.argsort(dataset.lengths(), kind="stable")
    for begin in range(0, len(order), 16):
        batch = data.collate(None)([dataset[int(k)] for k in order[begin : begin + 16]]).to(device)
        with torch.inference_mode():
            found = network.decode(network(**batch.inputs._asdict()), batch.grids)
        yield from zip(batch.records, found, strict=True)


def test(network: Any, data: FeatureData, out: Path) -> dict[str, dict[str, float]]:
    """Strict AP and AR of the test split, and of its parts; the real clips are in each."""
    methods = read_json(out / "clips" / "methods.json", "methods")
    metrics = {name: TemporalAveragePrecision(ap_ious=IOUS, ar_counts=COUNTS) for name in SUBSETS}
    for record, found in predictions(network, data):
        how = methods[record.file]
        kind = "both" if len(how) > 1 else next(iter(how), None)
        groups = [name for name in SUBSETS if name in ("all", kind) or kind is None]
        for name in groups + (["unseen"] if kind is not None and corpus.is_unseen(how) else []):
            metrics[name].update([(found.scores, found.segments)], [segment_array(record.segments)])
    return {name: {k: float(v) for k, v in metric.compute().items()} for name, metric in metrics.items()}


def speed(name: str, threads: int, repeats: int = 9) -> dict[str, float]:
    """Milliseconds of the network and of decoding for one clip of nine seconds: medians."""
    system = SYSTEMS[name]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = network_of(system).eval()
    grid = TimeGrid(0.0, system.data["hop_s"], round(CLIP_S / system.data["hop_s"]))
    mask = torch.ones(1, grid.length, dtype=torch.bool)
    audio, video = (torch.randn(1, grid.length, system.arguments[k]) for k in ("audio_dim", "visual_dim"))
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        with torch.inference_mode():
            output = network(**FeatureInputs(audio, video, mask, mask)._asdict())
        middle = time.perf_counter()
        network.decode(output, [grid])
        times.append((middle - begin, time.perf_counter() - middle))
    return {k: 1000 * statistics.median(t[i] for t in times[1:]) for i, k in enumerate(("network_ms", "decode_ms"))}


def table(out: Path, names: Sequence[str], threads: int) -> str:
    """All finished runs as Markdown: mean ± standard deviation over the seeds."""
    lines = []
    found = {
        name: [json.loads(path.read_text()) for path in sorted((out / "runs").glob(f"{name}-[0-9]*.json"))]
        for name in names
    }
    for subset in SUBSETS:
        head = "| system | seeds | " + " | ".join(COLUMNS) + " |"
        lines += [f"\n**{subset}**, strict, percent\n", head, "|---" * (len(COLUMNS) + 2) + "|"]
        for name, runs in found.items():
            if runs:
                cells = [_cell([run["scores"][subset][column] for run in runs]) for column in COLUMNS]
                lines.append(f"| {SYSTEMS[name].title} | {len(runs)} | " + " | ".join(cells) + " |")
    lines += ["\n| system | parameters | training | network, 9 s | decoding, 9 s |", "|---|---|---|---|---|"]
    for name, runs in found.items():
        if runs:
            took, train_s = speed(name, threads), statistics.median(r["train_s"] for r in runs)
            lines.append(
                f"| {SYSTEMS[name].title} | {runs[0]['parameters'] / 1e6:.2f} M | {train_s:.0f} s ({runs[0]['threads']} threads) "
                f"| {took['network_ms']:.1f} ms | {took['decode_ms']:.1f} ms |"
            )
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def chosen(text: str) -> list[str]:
    """Names of systems: `main`, `ablation`, `trials`, `all`, or a list."""
    groups = {"main": [*BASELINES, OURS], "ablation": [OURS, *ABLATION], "trials": [*TRIALS], "all": [*SYSTEMS]}
    names = groups.get(text) or text.split(",")
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise AvlocError(
            f"unknown systems {', '.join(unknown)}; there are {', '.join(SYSTEMS)}, main, ablation, trials, all"
        )
    return names


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="the folder for all of it")
    options.add_argument("--systems", default="main", help="main, ablation, trials, all, or names")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--jobs", type=int, default=1, help="runs at a time, each with its share of the cores")
    options.add_argument("--cores", type=int, default=2)
    options.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    options.add_argument("--quick", action="store_true", help="a small set and short training")
    given = options.parse_args()
    names, seeds = chosen(given.systems), [int(seed) for seed in given.seeds.split(",")]
    if given.quick:
        names = [name for name in names if name not in NOT_QUICK]
    out = given.out / "quick" if given.quick else given.out
    prepare(out, speech.fetch(given.out / "speech"), QUICK_CLIPS if given.quick else corpus.CLIPS, given.cores)
    tasks = [
        Task(name, seed, out, QUICK_EPOCHS if given.quick else None, given.device, max(1, given.cores // given.jobs))
        for seed in seeds for name in names
    ]  # fmt: skip
    tasks = [task for task in tasks if not _result(task).is_file()]
    for later in (False, True):  # networks are trained before they are decoded in other ways
        now = [task for task in tasks if bool(SYSTEMS[task.system].weights_of) == later]
        for done in processes.run(run, now, given.jobs):
            print(f"{time.strftime('%H:%M:%S')} {done}", flush=True)
    text = table(out, names, given.cores)
    write_text(out / "table.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()

"""Loss of AP under each corruption at three levels: a network trained on clean clips beside one trained on augmented copies.

    python benchmarks/localization/corruptions.py --out /data/loc            # hours; resumes an interrupted run
    python benchmarks/localization/corruptions.py --out /data/loc --clips 150    # fewer validation clips
    python benchmarks/localization/corruptions.py --out /data/loc --quick    # a small set, one seed, a few corruptions

Takes the corpus of `run.py` (and makes it, if OUT has none). Extracts `--copies` augmented copies of the training split by a
recipe of `avloc.augment`, trains a system on clean clips until validation stops rising, and continues with clips and copies. Then
it corrupts the validation split, one corruption of `avloc.augment.corruptions` at a time, before the extractors, and predicts it
with all networks. The features of a corruption are removed as soon as its predictions are kept. Nothing of the test split is
read. The table goes to OUT/tables/corruptions.md.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import corpus
import numpy as np
from comparing.budgets import BUDGETS
from comparing.experiment import SystemData, Task, load_module, predict, run, score
from comparing.features import extraction_settings
from comparing.system import FEATURES, OURS
from comparing.systems import SYSTEMS
from run import QUICK_CLIPS, prepare, say
from scoring.predictions import SplitPredictions
from scoring.tables import Table, percent
from scoring.truth import SplitTruth

from avloc.augment import SoundCodec, available_codecs, corruption_recipe, corruptions
from avloc.augment.recipe_file import read_recipe
from avloc.augment.robustness import LEVELS
from avloc.core.descriptions import ExtractorDescription
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import RecordTable, as_table
from avloc.errors import AvlocError, counted
from avloc.feature_extraction.job.copies import copy_jobs, plan_jobs
from avloc.feature_extraction.job.run import JobReport, run_plan
from avloc.feature_extraction.job.run import extract as extract_features
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.io.files import write_text

SPLIT = "val"
SYSTEM = f"{OURS}_ranges"
"""The best setting of our network's training on cached features (`run.py --systems trials`)."""
CONTINUED = f"{OURS}_continued"
"""The same training, continued on clips and copies."""
CONTINUED_BUDGET = "short"
QUICK_CORRUPTIONS = ("pink_noise", "room", "opus", "h264", "dark")


class Corruption(NamedTuple):
    """One corruption at one level from 1 to 3."""

    name: str
    level: int

    @property
    def folder(self) -> str:
        """The name of its folders of features and predictions."""
        return f"{SPLIT}-{self.name}-{self.level}"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line.

    Attributes:
        out: folder for everything.
        quick: a small set.
        seeds: of the trainings.
        recipe: of the copies: `light`, `strong` or a file.
        copies: augmented copies of each training clip.
        clips: number of validation clips, drawn at random; 0: all.
        names: of the corruptions.
        cores: processes that extract, and threads that train.
        device: of the networks.
    """

    out: Path
    quick: bool
    seeds: tuple[int, ...]
    recipe: str
    copies: int
    clips: int
    names: tuple[str, ...]
    cores: int
    device: str

    @property
    def folder(self) -> Path:
        """The folder of this corpus."""
        return self.out / "quick" if self.quick else self.out

    def tasks(self) -> tuple[list[Task], list[Task]]:
        """The trainings on clean clips, one per seed, and those that continue with copies."""
        place = (self.folder, self.device, self.cores)
        clean = [Task(SYSTEM, seed, SYSTEMS[CONTINUED].start_budget, *place) for seed in self.seeds]
        return clean, [Task(CONTINUED, seed, CONTINUED_BUDGET, *place, self.copies) for seed in self.seeds]


class PartialData(SystemData):
    """The batches of some clips alone.

    Args:
        task: the run.
        files: names of the clips.
    """

    def __init__(self, task: Task, files: Sequence[str]) -> None:
        super().__init__(SYSTEMS[task.system], task.out, task.seed)
        self.files = frozenset(files)

    def _records(self, split: str, *, training: bool) -> RecordTable | ClipRecordTable:
        return as_table([record for record in super()._records(split, training=training) if record.file in self.files])


class CorruptedStore(FeatureStore):
    """A store of corrupted features, whose descriptions say that they are clean: they are evaluated on purpose."""

    def describe(self, extractor: str) -> ExtractorDescription:
        """Return the description of the extractor alone."""
        return replace(super().describe(extractor), augmentation=None)


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for everything, as of run.py")
    add("--quick", action="store_true", help="a small set, one seed, a few corruptions")
    add("--seeds", help="seeds of the trainings (default: 0,1,2; with --quick: 0)")
    add("--recipe", default="strong", help="light, strong, or a YAML file (default: strong)")
    add("--copies", type=int, default=3, help="augmented copies of each training clip (default: 3)")
    add("--clips", type=int, default=0, help="validation clips, drawn at random (default: all)")
    add("--corruptions", help="names with commas (default: all that change the features and have a codec)")
    add("--cores", type=int, default=2, help="cores for all (default: 2)")
    add("--device", default="cpu", choices=["cpu", "gpu"], help="device of the networks (default: cpu)")
    values = vars(parser.parse_args(arguments))
    seeds = values.pop("seeds") or ("0" if values["quick"] else "0,1,2")
    left_out = corruptions_without_codec()
    chosen, available = values.pop("corruptions"), effective_corruptions(left_out)
    if left_out:
        say(f"left out, as this build of PyAV lacks a codec of theirs: {', '.join(left_out)}")
    usual = [name for name in QUICK_CORRUPTIONS if name in available] if values["quick"] else available
    names = chosen.split(",") if chosen else usual
    unknown = [name for name in names if name not in available]
    if unknown:
        raise AvlocError(f"unknown or left-out corruptions {', '.join(unknown)}; want {', '.join(available)}")
    return Options(**values, seeds=tuple(map(int, seeds.split(","))), names=tuple(names))


def effective_corruptions(left_out: Sequence[str] = ()) -> list[str]:
    """The names of all corruptions but those of colours, as the features are of grey frames, and those that are left out."""
    recipes = {name: corruption_recipe(name, LEVELS[0]) for name in corruptions() if name not in left_out}
    return [name for name, recipe in recipes.items() if recipe.audio or recipe.grey_steps()]


def corruptions_without_codec() -> list[str]:
    """The names of corruptions with a level whose codec this build of PyAV lacks."""
    available = available_codecs()
    return [
        name
        for name, levels in corruptions().items()
        if any(isinstance(each, SoundCodec) and each.codec not in available for each in levels)
    ]


def extraction(options: Options) -> ExtractionSettings:
    """The extraction settings of the corpus' features."""
    return extraction_settings(options.folder / "clips", FEATURES, options.out / "cache", options.cores)


def files_of(options: Options, split: str) -> list[str]:
    """The names of a split's clips; of the validation split those that are asked for."""
    files = [record.file for record in corpus.read_records(options.folder / "clips", split)]
    if split != SPLIT or not 0 < options.clips < len(files):
        return files
    chosen = np.random.default_rng(0).choice(len(files), options.clips, replace=False)
    return [files[k] for k in sorted(chosen.tolist())]


def extract_copies(options: Options) -> None:
    """Extract the augmented copies of the training split; finished parts are kept."""
    plans = plan_jobs(
        files_of(options, "train"),
        FeatureStore(options.folder / "features"),
        extraction(options),
        recipe=read_recipe(options.recipe),
        copies=options.copies,
        warn=say,
    )
    for number, plan in enumerate(plans):
        _check_complete(run_plan(plan))
        say(f"copy {number} of {options.copies} extracted" if number else "clean features exist")


def _check_complete(report: JobReport) -> None:
    if report.failed:
        raise AvlocError(f"{report.failed} clips could not be read: {report.failures}")


def extract_corrupted(options: Options, files: Sequence[str], corruption: Corruption) -> FeatureStore:
    """Extract clips of the validation split with a corruption; a stream that it leaves as it is comes from the clean store.

    What an interrupted run has left is continued.
    """
    clean, root = FeatureStore(options.folder / "features"), options.folder / "corrupted" / corruption.folder
    (job,) = copy_jobs(FeatureStore(root), extraction(options), corruption_recipe(*corruption), 1)
    _check_complete(extract_features(files, FeatureStore(root), job.settings))
    store = CorruptedStore(root)
    for name in set(FEATURES) - set(store.extractors()):
        (root / name).unlink(missing_ok=True)  # a link of an earlier run whose target is gone
        (root / name).symlink_to((clean.root / name).absolute(), target_is_directory=True)
    return store


def predict_corrupted(options: Options, files: Sequence[str], tasks: Sequence[Task], corruption: Corruption) -> None:
    """Predict corrupted clips of the validation split with all networks, unless the predictions exist."""
    left = [task for task in tasks if not has_predictions(task, corruption, files)]
    if not left:
        return
    store = extract_corrupted(options, files, corruption)
    for task in left:
        data = PartialData(task, files)
        data.store = store
        predict(load_module(task), data, SPLIT).save(task.predictions_file(corruption.folder))
    shutil.rmtree(store.root)  # links are removed, not their targets
    say(f"{corruption.name} at level {corruption.level} predicted")


def has_predictions(task: Task, corruption: Corruption, files: Sequence[str]) -> bool:
    """True if the predictions of these clips, and maybe of others, are kept."""
    path = task.predictions_file(corruption.folder)
    return path.is_file() and {*files} <= {*SplitPredictions.load(path).files}


def mean_ap(tasks: Sequence[Task], truth: SplitTruth, folder: str) -> float:
    """The AP of predictions over IoU 0.5 to 0.95, averaged over the seeds."""
    return float(np.mean([score(load_predictions(t, truth, folder), truth)["ap"] for t in tasks]))


def load_predictions(task: Task, truth: SplitTruth, folder: str) -> SplitPredictions:
    """Load the predictions of the labelled clips, which may be a part of those that are kept."""
    kept = SplitPredictions.load(task.predictions_file(folder))
    at = {file: k for k, file in enumerate(kept.files)}
    return kept.take(np.array([at[record.file] for record in truth.records], dtype=np.int64))


class Losses(NamedTuple):
    """The AP of a training on clean clips, and its loss by corruption."""

    clean: float
    lost: Mapping[Corruption, float]

    @classmethod
    def measure(cls, tasks: Sequence[Task], truth: SplitTruth, chosen: Sequence[Corruption]) -> Losses:
        """Score the kept predictions of all seeds."""
        clean = mean_ap(tasks, truth, SPLIT)
        return cls(clean, {each: clean - mean_ap(tasks, truth, each.folder) for each in chosen})


def losses_table(plain: Losses, augmented: Losses, caption: str) -> Table:
    """Draw the losses: for each corruption a row, for each level without → with augmentation, in points of AP.

    Args:
        plain: trained on clean clips.
        augmented: trained on augmented copies.
        caption: the trainings in words.
    """
    rows: dict[str, list[tuple[str, ...]]] = {each.name: [] for each in plain.lost}
    for each in plain.lost:
        rows[each.name].append((_change(plain.lost[each], augmented.lost[each]),))
    means = [
        tuple(
            np.mean([lost for each, lost in losses.lost.items() if each.level == level])
            for losses in (plain, augmented)
        )
        for level in LEVELS
    ]
    halved = sum(augmented.lost[c] <= plain.lost[c] / 2 for c in plain.lost)
    cost = plain.clean - augmented.clean
    return Table(
        "corruptions",
        f"Loss of AP on the validation split by corruption and level, without → with augmentation; {caption}",
        "corruption",
        [f"level {level}" for level in LEVELS],
        [*(((name,), cells) for name, cells in rows.items()), (("mean",), [(_change(*pair),) for pair in means])],
        [
            f"On clean clips the AP is {percent(plain.clean)} without and {percent(augmented.clean)} with augmentation: a cost "
            f"of {100 * cost:.1f} points. The loss at least halves in {halved} of {len(plain.lost)} cases."
        ],
    )


def _change(without: float, augmented: float) -> str:
    return f"{100 * without:.1f} → {100 * augmented:.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare, train, make missing predictions, and print the table."""
    options = parse(arguments)
    clips, log = (QUICK_CLIPS, say) if options.quick else (corpus.CLIPS, corpus.refuse_missing)
    prepare(options.folder, options.out, clips, options.cores, log=log)
    extract_copies(options)
    plain, augmented = options.tasks()
    for task in (*plain, *augmented):
        if not task.result_file.is_file():
            say(run(task))
    chosen = [Corruption(name, level) for name in options.names for level in LEVELS]
    clips, files = options.folder / "clips", files_of(options, SPLIT)
    for corruption in chosen:
        predict_corrupted(options, files, [*plain, *augmented], corruption)
    named = {*files}
    records = [record for record in corpus.read_records(clips, SPLIT) if record.file in named]
    truth = SplitTruth.build(records, corpus.read_details(clips))
    caption = (
        f"{options.copies} augmented per clip by the recipe {options.recipe}, {counted(len(options.seeds), 'seed')}, "
        f"{BUDGETS[CONTINUED_BUDGET].epochs} epochs more, {counted(len(records), 'clip')}."
    )
    table = losses_table(Losses.measure(plain, truth, chosen), Losses.measure(augmented, truth, chosen), caption)
    write_text(options.folder / "tables" / "corruptions.md", table.to_markdown() + "\n")
    print(table.to_text())


if __name__ == "__main__":
    main()

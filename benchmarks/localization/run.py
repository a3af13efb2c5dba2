"""BoundaryTransformer beside its peers on one generated corpus: the same features, labels, budgets, seeds and evaluation.

    python benchmarks/localization/run.py --out /data/loc --systems trials --seeds 0     # the settings to choose from
    python benchmarks/localization/run.py --out /data/loc                    # trains and validates; resumes where it stopped
    python benchmarks/localization/run.py --out /data/loc --quick            # small, minutes: the order of the systems
    python benchmarks/localization/run.py --out /data/loc --final            # tests the trained networks; notes it in ledger.csv
    python benchmarks/localization/run.py --out /data/loc --final --shift-ms 13
    python benchmarks/localization/run.py --out /data/loc --tables           # draws the tables again from kept predictions
    python benchmarks/localization/run.py --out /data/loc --tables --budgets all --page docs/model.md    # fills its places
    python benchmarks/localization/run.py --out /data/loc --kept benchmarks/localization/kept    # with runs of other machines
    python benchmarks/localization/run.py --out benchmarks/localization/kept --tables            # needs neither media nor weights

Fetches the recordings (Debian), makes the clips, extracts, trains every system with every seed and budget, and prints the
validation scores. Choices rest on these: the setting of a system is the one of its trials that has the best validation AP
(`scoring.choices`), except in the groups trials, ablation and all, which list settings. The test split is predicted by `--final`
alone, which adds a line per network to `ledger.csv` and keeps the predictions in OUT/predictions. Tables go to OUT/tables as
Markdown, and with `--page` to a page.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpus
import materials
from comparing import kept
from comparing.budgets import BUDGETS
from comparing.comparison import NOT_QUICK, SYSTEM_GROUPS, RunOptions, describe_missing, finished, parse_names
from comparing.experiment import RunResult, Task, TestTask, predict_split, read_choices, read_result, run, test
from comparing.features import extraction_settings
from comparing.system import FEATURES
from comparing.systems import FOLDS, SYSTEMS
from forging import forgers
from scoring import ledger
from scoring.choices import TRIAL_BUDGET, TRIAL_SEED, choices_table
from scoring.costs import cost_table, trials_table
from scoring.naming import NamingThresholds
from scoring.pages import fill_page
from scoring.predictions import SplitPredictions
from scoring.report import SplitReport, validation_table
from scoring.scores import RESAMPLES
from scoring.tables import Table
from scoring.truth import SplitTruth

from avloc.errors import AvlocError, counted
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.pipeline import ClipReport
from avloc.feature_extraction.job.plan import ReusedClips
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.io.files import read_json, write_text
from avloc.io.workers import processes

QUICK_CLIPS = 240


def parse(arguments: Sequence[str] | None = None) -> RunOptions:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for everything")
    add("--systems", default="main", help=f"{', '.join(SYSTEM_GROUPS)}, or names (default: main)")
    add("--seeds", default="0,1,2", help="seeds of the trainings (default: 0,1,2)")
    add("--budgets", default="short", help="short, long, all, or both with a comma (default: short)")
    add("--jobs", type=int, default=1, help="runs at a time, each with its share of the cores (default: 1)")
    add("--cores", type=int, default=2, help="cores for all (default: 2)")
    add("--device", default="cpu", choices=["cpu", "gpu"], help="device of the networks (default: cpu)")
    add("--quick", action="store_true", help="a small set, also without forgers that are unavailable here")
    add("--final", action="store_true", help="predict the test split, with a line in the ledger")
    add("--allow-dirty", action="store_true", help="also with uncommitted changes; the ledger says so")
    add("--shift-ms", type=float, default=0.0, help="also predict media and labels that come later by this")
    add("--tables", action="store_true", help="only draw the tables, from kept predictions")
    add("--resamples", type=int, default=RESAMPLES, help=f"draws of each bootstrap (default: {RESAMPLES})")
    add("--page", type=Path, help="fill the places of a page of the documentation")
    add("--kept", type=Path, help="folder of kept results: its runs are not done again, and new ones are added")
    values = vars(parser.parse_args(arguments))
    group = values["systems"] if values["systems"] in SYSTEM_GROUPS else "selected"
    systems = parse_names(values.pop("systems"), SYSTEM_GROUPS, "systems")
    budgets = parse_names(values.pop("budgets"), {"all": [*BUDGETS]}, "budgets")
    if values["quick"]:
        systems = tuple(name for name in systems if name not in NOT_QUICK)
    seeds = tuple(int(seed) for seed in values.pop("seeds").split(","))
    return RunOptions(**values, systems=systems, group=group, budgets=budgets, seeds=seeds)


def prepare(
    out: Path,
    materials_out: Path,
    clips: int,
    workers: int,
    extractors: Sequence[str] = FEATURES,
    log: Callable[[str], object] = corpus.refuse_missing,
) -> None:
    """Fetch missing recordings, make the clips, and extract their features; finished parts are kept.

    Args:
        out: folder of this set, its features and runs.
        materials_out: folder of the recordings (`speech`) and of the forgers' packages and words (`cache`).
        clips: number of clips.
        workers: processes.
        extractors: names of the features.
        log: called with a line for each method of the forgers that is unavailable here and would be left out.

    Raises:
        AvlocError: if clips could not be read, or a method is unavailable and `log` is not given.
    """
    from tqdm import tqdm

    speech = materials.fetch(materials_out / "speech", progress=say)
    with tqdm(total=clips, desc="clips", disable=None) as bar:
        records = corpus.make(
            out / "clips", speech, materials_out / "cache", clips, workers, progress=bar.update, log=log
        )
    settings = extraction_settings(out / "clips", extractors, materials_out / "cache", workers)

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


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def run_all(function: Callable[[Any], str], tasks: Iterable[Any], jobs: int) -> None:
    """Run tasks in processes of their own, and print a line about each."""
    for line in processes.run(function, [*tasks], jobs):
        say(line)


def train_all(options: RunOptions) -> None:
    """Train and validate the runs that are left; first the trials, which decide about the settings."""
    if TRIAL_SEED in options.seeds and TRIAL_BUDGET in options.budgets:
        train_left(replace(options, seeds=(TRIAL_SEED,), budgets=(TRIAL_BUDGET,)))
    train_left(options)


def train_left(options: RunOptions) -> None:
    """Train and validate the runs that are left."""
    tasks = options.tasks()
    left = [task for task in tasks if not task.result_file.is_file()]
    say(f"{len(left)} of {len(tasks)} runs to train")
    for decodes_another in (False, True):  # networks are trained before they are decoded in other ways
        group = [task for task in left if bool(SYSTEMS[task.system].weights_of) == decodes_another]
        run_all(run, group, options.jobs)


def test_all(options: RunOptions, commit: str) -> None:
    """Predict the test split by the trained networks that have not done so."""
    clips = int(read_json(options.folder / "clips" / "corpus.json", "marker of the set")["clips"])
    shifts_s = [0.0, *([options.shift_ms / 1000] if options.shift_ms else [])]
    looks = [
        TestTask(task, commit, clips, shift_s)
        for task in options.tasks()
        for shift_s in shifts_s
        if not task.predictions_file("test", shift_s).is_file()
    ]
    say(f"{len(looks)} looks at the test split at commit {commit}")
    run_all(test, looks, options.jobs)


def shift_validation(options: RunOptions) -> None:
    """Predict the validation split with shifted media, where that is left."""
    for task in options.tasks():
        if not task.predictions_file("val", options.shift_ms / 1000).is_file():
            predict_split(task, "val", options.shift_ms / 1000)
            say(f"{task.name}: validated {options.shift_ms:g} ms later")


# Tables.


def with_note(tables: Iterable[Table], note: str) -> list[Table]:
    """Add a note to tables; an empty one adds nothing."""
    return [replace(table, notes=(*table.notes, note)) if note else table for table in tables]


def draw(options: RunOptions) -> list[Table]:
    """Draw all tables that the finished runs and the kept predictions allow, and write them."""
    tables, settings = [], options.settings()
    labels = {name: choice.label for name, choice in options.choices().items()}
    with_trials = replace(options, seeds=tuple(dict.fromkeys((TRIAL_SEED, *options.seeds))))
    tried = {
        name: [*map(read_result, done)]
        for name, done in finished(with_trials, {name: name for name in SYSTEMS}, TRIAL_BUDGET).items()
    }
    for budget in options.budgets:
        tasks = finished(options, settings, budget)
        missing = describe_missing(options, budget)
        say(f"{budget} budget: {missing or 'all runs are trained'}")
        results: dict[str, list[RunResult]] = {name: [*map(read_result, done)] for name, done in tasks.items()}
        if not results:
            continue
        scores = {name: [result.validation for result in seeds] for name, seeds in results.items()}
        trained = [validation_table(scores, budget, labels), cost_table(results, tried, options.cores)]
        tables += with_note(trained, missing)
        for split in ("val", "test"):
            tables += split_tables(options, tasks, split, labels)
    if len(tried) > 1:
        tables += [choices_table(read_choices(options.folder).values()), trials_table(tried)]
    if options.group != "main":  # a part must not take the place of the whole
        tables = [replace(table, name=f"{options.group}-{table.name}") for table in tables]
    for table in tables:
        write_text(options.folder / "tables" / f"{table.name}.md", table.to_markdown() + "\n")
    return tables


def split_tables(
    options: RunOptions, tasks: Mapping[str, Sequence[Task]], split: str, labels: Mapping[str, str]
) -> list[Table]:
    """Draw the tables of a split and budget: all of the test, once it was predicted; of validation the clips and the shift.

    Args:
        options: of the command line.
        tasks: the finished runs of each system.
        split: `val` or `test`.
        labels: the chosen settings, for the rows.
    """
    budget, shift_s = next(iter(tasks.values()))[0].budget, options.shift_ms / 1000
    predicted = {name: [t for t in done if t.predictions_file(split).is_file()] for name, done in tasks.items()}
    predicted = {name: done for name, done in predicted.items() if done}
    # A change by the shift compares the same seeds.
    complete = {
        name: done
        for name, done in predicted.items()
        if shift_s and all(task.predictions_file(split, shift_s).is_file() for task in done)
    }
    if not predicted and (options.final or options.tables):
        say(f"{budget} budget: no run has predictions of {split}")
    if not predicted:
        return []
    clips = options.folder / "clips"
    report = SplitReport(
        split,
        budget,
        SplitTruth.build(corpus.read_records(clips, split), corpus.read_details(clips)),
        {name: [SplitPredictions.load(t.predictions_file(split)) for t in done] for name, done in predicted.items()},
        {name: [NamingThresholds(**read_result(task).thresholds) for task in done] for name, done in predicted.items()},
        labels=labels,
        unseen=forgers.UNSEEN_SOUND | forgers.UNSEEN_MOUTH,
        neural=forgers.NEURAL,
        resamples=options.resamples,
        progress=say,
    )
    whole = report.tables() if split == "test" else [report.clip_table()]
    tables = with_missing(options, whole, budget, split) + fold_tables(report)
    if shift_s:
        shifted = {
            name: [SplitPredictions.load(task.predictions_file(split, shift_s)) for task in done]
            for name, done in complete.items()
        }
        drawn = [report.shift_table(options.shift_ms, shifted)] if shifted else []
        tables += with_missing(options, drawn, budget, split, shift_s)
    return tables


def fold_tables(report: SplitReport) -> list[Table]:
    """Draw the tables of the trainings that left methods out, fold by fold."""
    tables = []
    for fold, methods in FOLDS.items():
        names = [name for name in report.runs if SYSTEMS[name].held_back == methods]
        if names:
            part = replace(report, unseen=methods, runs={name: report.runs[name] for name in names})
            tables += part.held_back_tables(fold)
    return tables


def with_missing(
    options: RunOptions, tables: Iterable[Table], budget: str, split: str, shift_s: float = 0.0
) -> list[Table]:
    """Say which predictions are missing, and note it under the tables; the arguments are as for `describe_missing`."""
    missing = describe_missing(options, budget, split, shift_s)
    if missing:
        say(f"{budget} budget, {split}: {missing}")
    return with_note(tables, missing)


def exchange_kept(options: RunOptions) -> None:
    """Take over kept results, and keep new ones."""
    if options.kept is not None:
        got, gave = kept.exchange(options.folder, options.kept)
        say(f"{options.kept}: took {counted(got, 'result')} over, and added {gave}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare the data, do the runs that are left, and print the tables."""
    options = parse(arguments)
    commit = ledger.commit_name(allow_dirty=options.allow_dirty) if options.final else ""
    if not options.tables:
        clips, log = (QUICK_CLIPS, say) if options.quick else (corpus.CLIPS, corpus.refuse_missing)
        prepare(options.folder, options.out, clips, options.cores, options.extractors(), log)
        exchange_kept(options)
        train_all(options)
    for choice in options.choices().values():
        say(choice.sentence())
    if not options.tables:
        if options.final:
            test_all(options, commit)
        elif options.shift_ms:
            shift_validation(options)
    exchange_kept(options)
    tables = draw(options)
    print("\n\n".join(table.to_text() for table in tables))
    say(f"{len(tables)} tables in {options.folder / 'tables'}")
    if options.page is not None:
        missing = fill_page(options.page, options.folder / "tables")
        say(f"{options.page}: filled" + (f" but for {', '.join(missing)}, which have no table yet" if missing else ""))


if __name__ == "__main__":
    main()

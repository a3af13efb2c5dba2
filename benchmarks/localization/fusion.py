"""Fusion of a specialist for sound, one for picture and the joint network beside the best of them, on the validation split.

    python benchmarks/localization/run.py --out /data/loc --systems boundary_transformer,audio_alone,visual_alone
    python benchmarks/localization/fusion.py --out /data/loc --page docs/evidence.md

The fusion is `avloc fuse`'s: calibrated rows that agree become one. It is fitted on four folds of utterances and scored on the
fifth, for each fold, so that nothing is scored that it saw. The test split has no part in it. The table goes to OUT/tables, and
with `--page` to a page of the documentation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import corpus
from comparing.budgets import BUDGETS
from comparing.comparison import describe_tasks
from comparing.experiment import Task
from comparing.system import OURS
from comparing.systems import SYSTEMS
from scoring.fusions import FusionResult, evaluate_folds, fusion_table, summarize
from scoring.pages import fill_page
from scoring.predictions import SplitPredictions
from scoring.scores import RESAMPLES
from scoring.truth import SplitTruth

from avloc.errors import AvlocError
from avloc.io.files import write_text

FUSED = (OURS, "audio_alone", "visual_alone")
SPLIT = "val"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of run.py")
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the trainings (default: 0,1,2)")
    parser.add_argument("--budget", default="short", choices=[*BUDGETS], help="of the trainings (default: short)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help=f"draws (default: {RESAMPLES})")
    parser.add_argument("--page", type=Path, help="fill the place of a page of the documentation")
    return parser.parse_args(arguments)


def fuse_seed(out: Path, seed: int, budget: str, truth: SplitTruth, resamples: int) -> FusionResult:
    """Fuse the kept predictions of one seed's systems.

    Raises:
        AvlocError: if predictions are missing, or of other clips.
    """
    tasks = {name: Task(name, seed, budget, out) for name in FUSED}
    missing = [task for task in tasks.values() if not task.predictions_file(SPLIT).is_file()]
    if missing:
        raise AvlocError(f"{out}: {describe_tasks({'no predictions of val': missing})} Train with run.py first")
    predictions = {name: SplitPredictions.load(task.predictions_file(SPLIT)) for name, task in tasks.items()}
    folds = evaluate_folds(predictions, truth.table, progress=lambda text: print(f"seed {seed}, {text}", flush=True))
    return summarize(folds, resamples=resamples)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuse every seed, and print the table."""
    options = parse(arguments)
    clips = options.out / "clips"
    truth = SplitTruth.build(corpus.read_records(clips, SPLIT), corpus.read_details(clips))
    results = {
        seed: fuse_seed(options.out, seed, options.budget, truth, options.resamples)
        for seed in map(int, options.seeds.split(","))
    }
    table = fusion_table(results, {name: SYSTEMS[name].title for name in FUSED}, options.budget)
    write_text(options.out / "tables" / f"{table.name}.md", table.to_markdown() + "\n")
    print(table.to_text())
    if options.page is not None:
        fill_page(options.page, options.out / "tables")


if __name__ == "__main__":
    main()

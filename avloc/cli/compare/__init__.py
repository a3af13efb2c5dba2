"""`avloc compare`: configurations or cached representations × seeds > trained, predicted and scored, in one table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import existing_folder, output, output_folder
from avloc.cli.compare.runs import ComparisonData, System, config_data, labels, make_systems, read_config, run_system
from avloc.errors import AvlocError, shown

if TYPE_CHECKING:
    from avloc.evaluation.hits import Scores
    from avloc.evaluation.protocols import Protocol
    from avloc.evaluation.truth import Truth

EXAMPLE = """avloc compare --config a.yaml b.yaml --root R --store S --protocol lavdf --out comparison --seeds 0,1,2
  avloc compare --config representations --extractors wavlm_base_plus,residual_grid logspec,residual_grid \\
              --root R --store S --dataset lavdf --protocol lavdf --out comparison
  avloc compare … -- --trainer.max_epochs 6  # options of every training"""
DESCRIPTION = """Train each configuration with each seed, predict a split, and print one table of the scores. With --extractors \
every configuration is trained on each of these cached representations: one head, N representations. A run that was stopped goes \
on with the same command, and finished runs are not repeated. What follows -- goes to every avloc train."""


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """The options of `avloc compare`; see its help."""

    config: tuple[str, ...]
    extractors: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    dataset: str | None
    root: Path
    store: Path
    split: str | None
    protocol: str
    out: Path
    json: Path | None
    device: str
    training: tuple[str, ...]


def parse(arguments: Sequence[str]) -> CompareOptions:
    """Parse the command line."""
    from avloc.evaluation.protocols import PROTOCOLS

    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    options = parser("compare", EXAMPLE, description=DESCRIPTION)
    options.add_argument(
        "--config", nargs="+", required=True, help="configurations: files, or names of those that come with avloc"
    )
    options.add_argument(
        "--extractors",
        type=_names,
        nargs="+",
        default=[],
        metavar="A,B",
        help="representations: each the names of cached features, as wavlm_base_plus,residual_grid (default: those of the "
        "configurations)",
    )
    options.add_argument(
        "--seeds", type=_seeds, default=(0,), metavar="0,1,2", help="seeds of the trainings (default: 0)"
    )
    options.add_argument("--dataset", help="layout of the dataset (default: the first configuration's)")
    options.add_argument("--root", type=existing_folder("folder"), required=True, help="folder of the dataset")
    options.add_argument("--store", type=existing_folder("feature store"), required=True, help="the cached features")
    options.add_argument("--split", help="the split to score (default: the dataset's validation split)")
    options.add_argument(
        "--protocol", required=True, help=f"protocol of the scores: {', '.join(PROTOCOLS)}, or a .yaml file"
    )
    options.add_argument("--out", type=output_folder, required=True, help="folder of the runs")
    options.add_argument("--json", type=output, help="write all scores to this file (default: none)")
    options.add_argument("--device", default="cpu", help="device of the predictions (default: cpu)")
    namespace = options.parse_args(words[:end])
    namespace.config, namespace.extractors = tuple(namespace.config), tuple(namespace.extractors)
    return CompareOptions(**vars(namespace), training=tuple(words[end + 1 :]))


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"want names of cached features, as logspec,residual_grid, got {text!r}")
    return names


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(seed) for seed in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"want whole numbers, as 0,1,2, got {text!r}") from error
    if min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"want seeds of at least 0, got {text!r}")
    return seeds


def run(arguments: Sequence[str]) -> int:
    """Do the missing runs, and print the table."""
    from avloc.cli.train import config_path
    from avloc.evaluation.protocols import get_protocol
    from avloc.io.workers.processes import sigterm_as_interrupt

    options = parse(arguments)
    protocol = get_protocol(options.protocol)
    systems = make_systems([config_path(config) for config in options.config], options.extractors)
    data = _data(options, systems[0])
    truth = _check_data(data, systems)
    scores: dict[str, dict[int, Scores]] = {system.name: {} for system in systems}
    total = len(systems) * len(options.seeds)
    with sigterm_as_interrupt():
        for number, (seed, system) in enumerate(((seed, s) for seed in options.seeds for s in systems), start=1):
            print(f"[{number}/{total}] {shown(system.name)}, seed {seed}", flush=True)
            predictions, is_old = run_system(system, seed, data, options.training, options.out)
            if is_old:
                print("      finished before", flush=True)
            scores[system.name][seed] = _scores(predictions, truth, protocol)
    short = labels(systems)
    _print({short[name]: each for name, each in scores.items()}, protocol, data)
    if options.json is not None:
        _write_json(options.json, scores, systems, data, protocol)
    return 0


def _data(options: CompareOptions, system: System) -> ComparisonData:
    """Complete the data by the first configuration.

    Raises:
        AvlocError: if neither names a dataset.
    """
    from avloc.datasets.readers.catalog import get_reader

    dataset = options.dataset or config_data(read_config(system.config)).get("dataset")
    if not isinstance(dataset, str):
        raise AvlocError(f"{system.config}: names no dataset; want --dataset")
    split = options.split or get_reader(dataset).validation
    return ComparisonData(dataset, options.root, options.store, split, options.device)


def _check_data(data: ComparisonData, systems: Sequence[System]) -> Truth:
    """Read the labels of the scored split, and check that the store has all features: before hours of training.

    Raises:
        AvlocError: if the dataset has no such split, or the store lacks a feature.
    """
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.inference.split.dataset_truth import dataset_truth

    for system in systems:
        for name in system.extractors:
            FeatureStore(data.store).describe(name)
    return dataset_truth(data.dataset, data.root, data.split)


def _scores(predictions: Path, truth: Truth, protocol: Protocol) -> Scores:
    from avloc.evaluation.scoring import evaluate

    return evaluate(predictions, truth, protocol, modes="strict").strict


def _named(scores: Scores, protocol: Protocol) -> dict[str, float]:
    """Return the columns of the table: the objective, AP at each threshold, and AR of the most rows."""
    from avloc.evaluation.fusion.fold_scores import default_objective, named_scores

    named = named_scores(scores)
    columns = [default_objective(protocol), *(f"AP@{iou:g}" for iou in protocol.ap_ious)]
    return {name: named[name] for name in [*columns, f"AR@{max(protocol.ar_counts)}"]}


def _print(scores: Mapping[str, Mapping[int, Scores]], protocol: Protocol, data: ComparisonData) -> None:
    """Print the means over seeds, the best system first."""
    import numpy as np

    from avloc.evaluation.reporting.tables import NOTHING, Table, percent
    from avloc.evaluation.reporting.terminal import print_tables

    rows = []
    columns: list[str] = []
    for name, by_seed in scores.items():
        values = [_named(each, protocol) for each in by_seed.values()]
        columns = list(values[0])
        table = np.array([list(each.values()) for each in values])
        deviation = percent(float(table[:, 0].std(ddof=1))) if len(table) > 1 else NOTHING
        mean = table.mean(axis=0)
        rows.append((float(mean[0]), [name, percent(mean[0]), deviation, *map(percent, mean[1:])]))
    rows.sort(key=lambda row: -row[0])
    seeds = len(next(iter(scores.values())))
    text = f"means over {seeds} seeds, ± their standard deviation" if seeds > 1 else "one seed"
    note = f"Strict, in percent, on {data.split}; {text}."
    print_tables([Table("Comparison", ["", columns[0], "±", *columns[1:]], [line for _, line in rows], note=note)])


def _write_json(
    out: Path,
    scores: Mapping[str, Mapping[int, Scores]],
    systems: Sequence[System],
    data: ComparisonData,
    protocol: Protocol,
) -> None:
    from avloc.evaluation.fusion.fold_scores import named_scores
    from avloc.io.files import write_json

    entries = [
        {
            "name": system.name,
            "config": str(system.config),
            "extractors": list(system.extractors),
            "seeds": {str(seed): named_scores(each) for seed, each in scores[system.name].items()},
        }
        for system in systems
    ]
    document = {"dataset": data.dataset, "split": data.split, "protocol": protocol.name, "mode": "strict"}
    write_json(out, document | {"systems": entries})

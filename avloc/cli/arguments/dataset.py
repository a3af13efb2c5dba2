"""Options that name a dataset."""

from __future__ import annotations

import argparse

from avloc.cli.arguments.values import existing


def add_dataset_options(options: argparse.ArgumentParser) -> None:
    """Add `--dataset` and `--root`."""
    from avloc.datasets.readers.catalog import DATASETS

    options.add_argument(
        "--dataset",
        required=True,
        help=f"layout of the dataset: {', '.join(DATASETS)}, or your own reader as my_package.MyDataset",
    )
    options.add_argument("--root", required=True, type=existing("folder"), help="folder of the dataset")

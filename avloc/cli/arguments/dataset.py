"""Options that name a dataset."""

from __future__ import annotations

import argparse

from avloc.cli.arguments.values import existing_folder


def add_dataset_options(options: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `--dataset` and `--root`; if they are optional, another argument can replace them."""
    from avloc.datasets.readers.catalog import DATASETS

    default = "" if required else " (default: none)"
    options.add_argument(
        "--dataset",
        required=required,
        help=f"layout of the dataset: {', '.join(DATASETS)}, or your own reader as my_package.MyDataset{default}",
    )
    options.add_argument(
        "--root", required=required, type=existing_folder("folder"), help=f"folder of the dataset{default}"
    )

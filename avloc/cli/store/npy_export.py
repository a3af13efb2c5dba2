"""`avloc store export`: write a folder with a .npy, .npz, .pt or .h5 file per clip."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from avloc.cli.arguments.values import output_folder, path
from avloc.cli.store.folders import open_store

EXAMPLE = """avloc store export features --extractor logspec --out npy/logspec
  avloc store export features --extractor logspec --out LAV-DF_emb --add-suffix /features.npz --key audio_features"""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of `avloc store export`.

    Attributes:
        store: the store's folder.
        extractor: a name in it.
        out: the folder to write.
        dtype: of the values; None: `float32`, or the store's own type of whole numbers.
        suffix: ending of the files' names.
        key: name of the array in each file; None: the form's default.
        overwrite: rewrite existing files.
    """

    store: Path
    extractor: str
    out: Path
    dtype: str | None
    suffix: str
    key: str | None
    overwrite: bool


def add_options(action: argparse.ArgumentParser) -> None:
    """Add the action's options."""
    from avloc.io.array_files import DEFAULT_KEY

    action.add_argument("store", type=path, help="folder of the store")
    action.add_argument("--extractor", required=True, metavar="E", help="extractor whose features to export")
    action.add_argument(
        "--out", required=True, type=output_folder, metavar="DIR", help="folder to write; clip a/b.mp4 becomes a/b.npy"
    )
    action.add_argument(
        "--add-suffix",
        default=".npy",
        metavar="TEXT",
        help="ending of the files' names in place of the clips' endings, which tells the form: .npy, .npz, .pt or .h5, also with "
        "a name, as /features.npz (default: .npy)",
    )
    action.add_argument(
        "--key",
        metavar="NAME",
        help=f"name of the array in .npz, .pt and .h5 files (default: {DEFAULT_KEY}; in .pt a tensor without a name)",
    )
    action.add_argument(
        "--dtype",
        choices=("float32", "float16", "int16", "uint8"),
        help="type of the values (default: float32; whole numbers keep their type)",
    )
    action.add_argument("--overwrite", action="store_true", help="rewrite existing files")


def read_options(namespace: argparse.Namespace) -> ExportOptions:
    """Read the parsed options."""
    return ExportOptions(
        namespace.store,
        namespace.extractor,
        namespace.out,
        namespace.dtype,
        namespace.add_suffix,
        namespace.key,
        namespace.overwrite,
    )


def run(options: ExportOptions) -> int:
    """Export features to a folder of files, one per clip."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.npy_export import EXPORT_FILE, plan_export, run_export

    store = open_store(options.store)
    plan = plan_export(
        store,
        options.extractor,
        options.out,
        dtype=options.dtype,
        suffix=options.suffix,
        key=options.key,
        overwrite=options.overwrite,
    )
    with tqdm(total=plan.clips, unit="clip", desc="export", disable=None) as bar:
        report = run_export(plan, overwrite=options.overwrite, progress=bar.update)
    print(
        f"{options.out}: {report.written} clips exported, {report.kept} already there; {EXPORT_FILE} describes the files"
    )
    if plan.failures:
        print(
            f"{plan.failures} clips of the store could not be read and have no file; {EXPORT_FILE} lists them",
            file=sys.stderr,
        )
    return 0

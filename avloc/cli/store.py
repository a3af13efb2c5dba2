"""`avloc store`: what is in a feature store, whether it is right; to and from folders of .npy files; several into one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.main import parser, positive
from avloc.errors import AvlocError, StoreError

if TYPE_CHECKING:
    from avloc.evaluation.reporting.tables import Table
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.summary import Summary

EXAMPLE = """avloc store ls features --failures
  avloc store verify features --quick
  avloc store export features --extractor logspec --out npy/logspec
  avloc store import features --from tsn --extractor tsn --modality visual --hop 0.04 --suffix .mp4
  avloc store merge features machine1/features machine2/features --link"""
SHOWN = 10
COLUMNS = [
    "extractor", "modality", "dim", "steps/s", "clips", "hours", "failed", "shards", "size", "version", "format",
]  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    options = parser("store", EXAMPLE)
    actions = options.add_subparsers(
        dest="action", required=True, metavar="ls|verify|export|import|merge", parser_class=type(options)
    )
    runs: dict[str, Callable[[argparse.Namespace], int]] = {}
    for name, add, act, what in (
        ("ls", _ls_options, _ls, "what is there of each extractor; 1 if a shard cannot be read"),
        ("verify", _verify_options, _verify, "check every shard, and say what to do; 1 if one is not right"),
        ("export", _export_options, _export, "a folder with a .npy file per clip, for other code"),
        ("import", _import_options, _import, "such a folder into a store; 1 if a clip failed"),
        ("merge", _merge_options, _merge, "stores made apart into one"),
    ):
        action = actions.add_parser(name, help=what, description=what)
        add(action)
        runs[name] = act
    given = options.parse_args(arguments)
    return runs[given.action](given)


def _open(root: Path) -> FeatureStore:
    from avloc.feature_extraction.store.feature_store import FeatureStore

    store = FeatureStore(root)
    if not root.is_dir():
        raise StoreError(f"{root}: no such store")
    if not store.extractors():
        raise StoreError(f"{root}: no store, it has no features of any extractor")
    return store


def _check_folder(root: Path) -> None:
    if root.is_file():
        raise AvlocError(f"{root}: is a file, want the folder of a store")


def _ls_options(action: argparse.ArgumentParser) -> None:
    action.add_argument("store", type=Path, help="the store's folder")
    action.add_argument("--failures", action="store_true", help="list the clips that could not be read, and why")
    action.add_argument("--json", type=Path, help="write the numbers, and with --failures the failures")


def _ls(given: argparse.Namespace) -> int:
    from avloc.evaluation.reporting.tables import print_tables
    from avloc.feature_extraction.store.summary import failures, summarize
    from avloc.io.files import write_json

    store = _open(given.store)
    names = store.extractors()
    summaries = [summarize(store, name) for name in names]
    print_tables([_table(given.store, summaries)])
    if given.failures:
        for name in names:
            for file, reason in failures(store, name):
                print(f"failed: {name}: {file}: {reason}")
    if given.json is not None:
        rows = [summary.as_json() for summary in summaries]
        if given.failures:
            rows = [row | {"failed": dict(failures(store, row["extractor"]))} for row in rows]
        write_json(given.json, {"store": str(given.store), "extractors": rows})
    damaged = [path for summary in summaries for path in summary.damaged]
    for path in damaged[:SHOWN]:
        print(f"{path}: cannot be read and is not counted; avloc store verify says more", file=sys.stderr)
    return 1 if damaged else 0


def _table(root: Path, summaries: Sequence[Summary]) -> Table:
    from avloc.evaluation.reporting.tables import NOTHING, Table
    from avloc.feature_extraction.store.summary import in_bytes

    lines = []
    for found in summaries:
        about, layers = found.about, int(found.about.get("layers", 1))
        dim = f"{about['dim'] // layers} × {layers}" if layers > 1 else f"{about['dim']}"
        shards = f"{found.shards:,}" + (f"/{found.planned:,}" if found.planned is not None else "")
        lines.append([
            about["name"], about["modality"], dim, f"{1 / about['hop_s']:g}", f"{found.clips:,}",
            f"{found.seconds / 3600:,.2f}", f"{found.failures:,}", shards, in_bytes(found.size_bytes),
            str(about.get("version", NOTHING)), str(about["format_version"]),
        ])  # fmt: skip
    return Table(str(root), COLUMNS, lines, labels=2)


def _verify_options(action: argparse.ArgumentParser) -> None:
    action.add_argument("store", type=Path, help="the store's folder")
    action.add_argument("--extractor", action="append", metavar="E", help="only this one; may be repeated")
    action.add_argument(
        "--quick", action="store_true", help="leave out the values: finds all but changed ones, in a fraction of the time"
    )  # fmt: skip


def _verify(given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from avloc.feature_extraction.store.verify import verify_store

    store = _open(given.store)
    names = list(dict.fromkeys(given.extractor or store.extractors()))
    for name in names:
        store.describe(name)
    total = sum(len(store.shards(name)) for name in names)
    with tqdm(total=total, unit="shard", desc="verify", disable=None) as bar:
        found = [verify_store(store, name, quick=given.quick, progress=bar.update) for name in names]
    for checked in found:
        for note in checked.notes:
            print(f"note: {note}", file=sys.stderr)
        for fault in checked.faults:
            print(fault)
    faults = sum(len(checked.faults) for checked in found)
    if faults:
        print(f"{given.store}: {faults} faults in {total} shards of {len(names)} extractors")
        return 1
    quick = ", as far as can be told without their values" if given.quick else ""
    print(f"{given.store}: {total} shards of {len(names)} extractors are right{quick}")
    return 0


def _export_options(action: argparse.ArgumentParser) -> None:
    action.add_argument("store", type=Path, help="the store's folder")
    action.add_argument("--extractor", required=True, metavar="E", help="whose features")
    action.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="the folder; clip a/b.mp4 becomes a/b.npy"
    )
    action.add_argument("--dtype", default="float32", choices=("float32", "float16"), help="(default float32)")
    action.add_argument("--overwrite", action="store_true", help="write files that are there again")


def _export(given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from avloc.feature_extraction.store.npy_export import ABOUT, plan_export, run_export

    plan = plan_export(
        _open(given.store), given.extractor, given.out, dtype=given.dtype, overwrite=given.overwrite
    )  # fmt: skip
    with tqdm(total=plan.clips, unit="clip", desc="export", disable=None) as bar:
        report = run_export(plan, overwrite=given.overwrite, progress=bar.update)
    print(f"{given.out}: {report.written} clips exported, {report.kept} there before; {ABOUT} describes them")
    if plan.failures:
        print(
            f"{plan.failures} clips of the store could not be read and have no file; {ABOUT} lists them",
            file=sys.stderr,
        )
    return 0


def _import_options(action: argparse.ArgumentParser) -> None:
    action.add_argument("store", type=Path, help="the store's folder; made if it is not there")
    action.add_argument(
        "--from", required=True, type=Path, dest="source", metavar="DIR",
        help="a folder of .npy files, rows of numbers each, at any depth; with an export.json of ours nothing else is needed",
    )  # fmt: skip
    action.add_argument("--extractor", metavar="NAME", help="the name that the features get")
    action.add_argument("--modality", choices=("audio", "visual"), help="what they are of")
    action.add_argument("--hop", type=float, metavar="SECONDS", help="per row, as in 0.04")
    action.add_argument("--start", type=float, metavar="SECONDS", help="when a clip's first row begins (default 0)")
    action.add_argument(
        "--receptive-field", type=float, metavar="SECONDS", help="how much time a row sees (default: the hop)"
    )
    action.add_argument("--suffix", metavar=".mp4", help="what clips' names end with instead of .npy (default .mp4)")
    action.add_argument("--transposed", action="store_true", help="the files are (numbers, rows)")
    action.add_argument("--shard-clips", type=positive, help="clips per shard (default: a 16th of the set, 8 to 2000)")
    action.add_argument("--retry-failed", action="store_true", help="try again the shards with clips that failed")


def _import(given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.npy_import import ImportOptions, import_features, read_source

    said = ImportOptions(
        given.extractor, given.modality, given.hop, given.start, given.receptive_field, given.suffix, given.transposed
    )
    _check_folder(given.store)
    source = read_source(given.source, said)
    with tqdm(total=len(source.clips), unit="clip", desc="import", disable=None) as bar:
        report = import_features(
            source, FeatureStore(given.store), shard_clips=given.shard_clips, retry_failed=given.retry_failed,
            progress=bar.update,
        )  # fmt: skip
    print(f"{given.store}: {report.done} clips imported, {report.reused} there before, {len(report.failures)} failed")
    if report.clipped:
        print(
            f"warning: {report.clipped} clips had values past ±65504, which is what a store keeps of them",
            file=sys.stderr,
        )
    for file, reason in list(report.failures.items())[:SHOWN]:
        print(f"failed: {file}: {reason}", file=sys.stderr)
    return 1 if report.failures else 0


def _merge_options(action: argparse.ArgumentParser) -> None:
    action.add_argument("out", type=Path, metavar="OUT", help="the store to write; what it holds is kept")
    action.add_argument("stores", type=Path, nargs="+", metavar="IN", help="the stores; OUT may be one of them")
    action.add_argument("--link", action="store_true", help="hard links instead of copies, on the same file system")


def _merge(given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.merge import plan_merge, run_merge

    _check_folder(given.out)
    with tqdm(unit="shard", desc="compare", disable=None) as bar:
        plan = plan_merge(FeatureStore(given.out), [_open(root) for root in given.stores], progress=bar.update)
    with tqdm(total=len(plan.shards), unit="shard", desc="merge", disable=None) as bar:
        copied = run_merge(plan, link=given.link, progress=bar.update)
    print(f"{given.out}: {copied} shards {'linked' if given.link else 'copied'}, {plan.kept} there before; "
          f"{len(plan.descriptions)} extractors")  # fmt: skip
    return 0

"""`avloc store`: list and verify the features of a store, export and import .npy files, merge stores."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments import add_action, parser, path, positive
from avloc.errors import AvlocError, StoreError, shown

if TYPE_CHECKING:
    from avloc.evaluation.reporting.tables import Table
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.npy_import import ImportOptions
    from avloc.feature_extraction.store.summary import ExtractorSummary

EXAMPLES = {
    "ls": "avloc store ls features --failures --problems",
    "verify": "avloc store verify features --quick",
    "export": "avloc store export features --extractor logspec --out npy/logspec",
    "import": "avloc store import features --from tsn --extractor tsn --modality visual --hop 0.04 --suffix .mp4",
    "merge": "avloc store merge features machine1/features machine2/features --link",
}
MAX_LISTED = 10
COLUMNS = (
    "extractor",
    "modality",
    "dim",
    "steps/s",
    "clips",
    "hours",
    "failed",
    "problems",
    "shards",
    "size",
    "version",
    "format",
)


@dataclass(frozen=True, slots=True)
class LsOptions:
    """The options of `avloc store ls`.

    Attributes:
        store: the store's folder.
        failures: list the clips that could not be read.
        problems: list the clips that were decoded with problems.
        json: a file for the numbers.
    """

    store: Path
    failures: bool
    problems: bool
    json: Path | None


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The options of `avloc store verify`.

    Attributes:
        store: the store's folder.
        extractors: names to check; empty: all.
        quick: skip the values.
    """

    store: Path
    extractors: tuple[str, ...]
    quick: bool


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of `avloc store export`.

    Attributes:
        store: the store's folder.
        extractor: a name in it.
        out: the folder to write.
        dtype: of the values, `float32` or `float16`.
        overwrite: rewrite existing files.
    """

    store: Path
    extractor: str
    out: Path
    dtype: str
    overwrite: bool


@dataclass(frozen=True, slots=True)
class ImportFolderOptions:
    """The options of `avloc store import`.

    Attributes:
        store: the store's folder.
        source: the folder of .npy files.
        features: the user's description of it.
        shard_clips: clips per shard.
        retry_failed: rewrite shards with failed clips.
    """

    store: Path
    source: Path
    features: ImportOptions
    shard_clips: int | None
    retry_failed: bool


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """The options of `avloc store merge`.

    Attributes:
        out: the store to write.
        stores: the stores to merge.
        link: make hard links instead of copies.
    """

    out: Path
    stores: tuple[Path, ...]
    link: bool


StoreOptions = LsOptions | VerifyOptions | ExportOptions | ImportFolderOptions | MergeOptions


def run(arguments: Sequence[str]) -> int:
    """Run the verb."""
    options = parse(arguments)
    if isinstance(options, LsOptions):
        return list_features(options)
    if isinstance(options, VerifyOptions):
        return verify(options)
    if isinstance(options, ExportOptions):
        return export_folder(options)
    if isinstance(options, ImportFolderOptions):
        return import_folder(options)
    return merge(options)


def parse(arguments: Sequence[str]) -> StoreOptions:
    """Parse the verb's arguments; the class of the options is that of the action."""
    options = parser("store", "\n  ".join(EXAMPLES.values()))
    actions = options.add_subparsers(
        dest="action", required=True, metavar="ls|verify|export|import|merge", parser_class=type(options)
    )
    for name, add, read, description in (
        ("ls", _add_ls, _read_ls, "list the features of each extractor; exit code 1 if a shard cannot be read"),
        ("verify", _add_verify, _read_verify, "check every shard, with a remedy for each fault; exit code 1 on faults"),
        ("export", _add_export, _read_export, "write a folder with a .npy file per clip, for other code"),
        ("import", _add_import, _read_import, "import such a folder into a store; exit code 1 if a clip failed"),
        ("merge", _add_merge, _read_merge, "merge several stores into one"),
    ):
        action = add_action(actions, name, description, EXAMPLES[name])
        add(action)
        action.set_defaults(read=read)
    namespace = options.parse_args(arguments)
    read_options: Callable[[argparse.Namespace], StoreOptions] = namespace.read
    return read_options(namespace)


def _add_ls(action: argparse.ArgumentParser) -> None:
    action.add_argument("store", type=path, help="folder of the store")
    action.add_argument(
        "--failures", action="store_true", help="list the clips that could not be read, with the reasons"
    )
    action.add_argument(
        "--problems",
        action="store_true",
        help="list the clips that were decoded with problems: damaged packets, spans without data, …",
    )
    action.add_argument(
        "--json", type=path, help="write the numbers to this file, and what --failures and --problems list"
    )


def _read_ls(namespace: argparse.Namespace) -> LsOptions:
    return LsOptions(namespace.store, namespace.failures, namespace.problems, namespace.json)


def _add_verify(action: argparse.ArgumentParser) -> None:
    action.add_argument("store", type=path, help="folder of the store")
    action.add_argument(
        "--extractor", action="append", default=[], metavar="E", help="check only this one; may be repeated"
    )
    action.add_argument(
        "--quick",
        action="store_true",
        help="skip the values: finds every fault but changed values, in a fraction of the time",
    )


def _read_verify(namespace: argparse.Namespace) -> VerifyOptions:
    return VerifyOptions(namespace.store, tuple(dict.fromkeys(namespace.extractor)), namespace.quick)


def _add_export(action: argparse.ArgumentParser) -> None:
    action.add_argument("store", type=path, help="folder of the store")
    action.add_argument("--extractor", required=True, metavar="E", help="extractor whose features to export")
    action.add_argument(
        "--out", required=True, type=path, metavar="DIR", help="folder to write; clip a/b.mp4 becomes a/b.npy"
    )
    action.add_argument(
        "--dtype", default="float32", choices=("float32", "float16"), help="type of the values (default: float32)"
    )
    action.add_argument("--overwrite", action="store_true", help="rewrite existing files")


def _read_export(namespace: argparse.Namespace) -> ExportOptions:
    return ExportOptions(namespace.store, namespace.extractor, namespace.out, namespace.dtype, namespace.overwrite)


def _add_import(action: argparse.ArgumentParser) -> None:
    action.add_argument("store", type=path, help="folder of the store; made if missing")
    action.add_argument(
        "--from",
        required=True,
        type=path,
        dest="source",
        metavar="DIR",
        help="folder of .npy files (rows, numbers) at any depth; with an export.json of avloc no other option is needed",
    )
    action.add_argument("--extractor", metavar="NAME", help="name of the features in the store")
    action.add_argument("--modality", choices=("audio", "visual"), help="modality of the features")
    action.add_argument("--hop", type=float, metavar="SECONDS", help="seconds per row, as 0.04")
    action.add_argument("--start", type=float, metavar="SECONDS", help="start of each clip's first row (default: 0)")
    action.add_argument(
        "--receptive-field", type=float, metavar="SECONDS", help="seconds that a row sees (default: the hop)"
    )
    action.add_argument("--suffix", metavar=".mp4", help="ending of the clips' names instead of .npy (default: .mp4)")
    action.add_argument("--transposed", action="store_true", help="the files are (numbers, rows)")
    action.add_argument(
        "--shard-clips", type=positive, help="clips per shard (default: a 16th of the set, but 8 to 2000)"
    )
    action.add_argument("--retry-failed", action="store_true", help="try shards with failed clips again")


def _read_import(namespace: argparse.Namespace) -> ImportFolderOptions:
    from avloc.feature_extraction.store.npy_import import ImportOptions

    features = ImportOptions(
        extractor=namespace.extractor,
        modality=namespace.modality,
        hop_s=namespace.hop,
        start_s=namespace.start,
        receptive_field_s=namespace.receptive_field,
        suffix=namespace.suffix,
        transposed=namespace.transposed,
    )
    return ImportFolderOptions(
        namespace.store, namespace.source, features, namespace.shard_clips, namespace.retry_failed
    )


def _add_merge(action: argparse.ArgumentParser) -> None:
    action.add_argument("out", type=path, metavar="OUT", help="store to write; its present content is kept")
    action.add_argument("stores", type=path, nargs="+", metavar="IN", help="stores to merge; OUT may be one of them")
    action.add_argument(
        "--link", action="store_true", help="make hard links instead of copies, on the same file system"
    )


def _read_merge(namespace: argparse.Namespace) -> MergeOptions:
    return MergeOptions(namespace.out, tuple(namespace.stores), namespace.link)


def list_features(options: LsOptions) -> int:
    """Print a table of the store's features; returns 1 if a shard cannot be read."""
    from avloc.evaluation.reporting.tables import print_tables
    from avloc.feature_extraction.store.summary import iter_failures, iter_problems, summarize
    from avloc.io.files import write_json

    store = _open_store(options.store)
    names = store.extractors()
    summaries = [summarize(store, name) for name in names]
    print_tables([_table(options.store, summaries)])
    rows = [summary.to_dict() for summary in summaries]
    for name, row in zip(names, rows, strict=True):
        if options.failures:
            failures = dict(iter_failures(store, name))
            row["failed"] = failures
            _print_clips("failed", name, failures)
        if options.problems:
            problems = dict(iter_problems(store, name))
            row["decoded_with_problems"] = problems
            _print_clips("problems", name, {file: "; ".join(lines) for file, lines in problems.items()})
    if options.json is not None:
        write_json(options.json, {"store": str(options.store), "extractors": rows})
    damaged = [shard for summary in summaries for shard in summary.damaged]
    for shard in damaged[:MAX_LISTED]:
        print(f"{shown(shard)}: cannot be read and is not counted; avloc store verify says more", file=sys.stderr)
    return 1 if damaged else 0


def _print_clips(what: str, extractor: str, texts: Mapping[str, str]) -> None:
    for file, text in texts.items():
        print(shown(f"{what}: {extractor}: {file}: {text}"))


def verify(options: VerifyOptions) -> int:
    """Check the shards and print their faults; returns 1 if there are any."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.verify import verify_store

    store = _open_store(options.store)
    names = options.extractors or tuple(store.extractors())
    for name in names:
        store.describe(name)
    total = sum(len(store.shards(name)) for name in names)
    with tqdm(total=total, unit="shard", desc="verify", disable=None) as bar:
        checks = [verify_store(store, name, quick=options.quick, progress=bar.update) for name in names]
    for check in checks:
        for note in check.notes:
            print(shown(f"note: {note}"), file=sys.stderr)
        for fault in check.faults:
            print(shown(fault))
    faults = sum(len(check.faults) for check in checks)
    if faults:
        print(f"{options.store}: {faults} faults in {total} shards of {len(names)} extractors")
        return 1
    quick = ", without a check of their values" if options.quick else ""
    print(f"{options.store}: {total} shards of {len(names)} extractors are right{quick}")
    return 0


def export_folder(options: ExportOptions) -> int:
    """Export features to a folder of .npy files."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.npy_export import EXPORT_FILE, plan_export, run_export

    store = _open_store(options.store)
    plan = plan_export(store, options.extractor, options.out, dtype=options.dtype, overwrite=options.overwrite)
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


def import_folder(options: ImportFolderOptions) -> int:
    """Import a folder of .npy files; returns 1 if a clip failed."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.npy_import import import_features, read_npy_folder

    _check_folder(options.store)
    source = read_npy_folder(options.source, options.features)
    with tqdm(total=len(source.clips), unit="clip", desc="import", disable=None) as bar:
        report = import_features(
            source,
            FeatureStore(options.store),
            shard_clips=options.shard_clips,
            retry_failed=options.retry_failed,
            progress=bar.update,
        )
    print(
        f"{options.store}: {report.done} clips imported, {report.reused} already in the store, "
        f"{len(report.failures)} failed"
    )
    if report.clipped:
        print(
            f"warning: {report.clipped} clips had values past ±65504, the largest that a store keeps; they were clipped",
            file=sys.stderr,
        )
    for file, reason in list(report.failures.items())[:MAX_LISTED]:
        print(shown(f"failed: {file}: {reason}"), file=sys.stderr)
    return 1 if report.failures else 0


def merge(options: MergeOptions) -> int:
    """Merge stores into one."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.merge import plan_merge, run_merge

    _check_folder(options.out)
    with tqdm(unit="shard", desc="compare", disable=None) as bar:
        stores = [_open_store(root) for root in options.stores]
        plan = plan_merge(FeatureStore(options.out), stores, progress=bar.update)
    with tqdm(total=len(plan.shards), unit="shard", desc="merge", disable=None) as bar:
        copied = run_merge(plan, link=options.link, progress=bar.update)
    print(
        f"{options.out}: {copied} shards {'linked' if options.link else 'copied'}, {plan.kept} already there; "
        f"{len(plan.descriptions)} extractors"
    )
    return 0


def _open_store(root: Path) -> FeatureStore:
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


def _table(root: Path, summaries: Sequence[ExtractorSummary]) -> Table:
    from avloc.evaluation.reporting.tables import Table

    return Table(str(root), list(COLUMNS), [_cells(summary) for summary in summaries], labels=2)


def _cells(summary: ExtractorSummary) -> list[str]:
    from avloc.io.files import format_bytes

    description = summary.description
    dim, layers = description.dim, description.layers
    return [
        description.name,
        description.modality,
        f"{dim // layers} × {layers}" if layers > 1 else f"{dim}",
        f"{1 / description.hop_s:g}",
        f"{summary.clips:,}",
        f"{summary.seconds / 3600:,.2f}",
        f"{summary.failures:,}",
        f"{summary.problems:,}",
        f"{summary.shards:,}" + ("" if summary.planned is None else f"/{summary.planned:,}"),
        format_bytes(summary.size_bytes),
        str(description.version),
        str(summary.format_version),
    ]

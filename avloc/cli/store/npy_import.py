"""`avloc store import`: import a folder with a .npy, .npz, .pt or .h5 file per clip."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.values import above_zero, number, output_folder, path, positive
from avloc.cli.store.folders import MAX_LISTED
from avloc.errors import shown

if TYPE_CHECKING:
    from avloc.feature_extraction.store.npy_import import ImportOptions


EXAMPLE = """avloc store import features --from tsn --extractor tsn --modality visual --hop 0.04 --suffix .mp4
  avloc store import features --from LAV-DF_emb --strip-suffix /features.npz --key audio_features \\
              --extractor avhubert_audio --modality audio --hop 0.04  # AuViRe's"""


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


def add_options(action: argparse.ArgumentParser) -> None:
    """Add the action's options."""
    action.add_argument("store", type=output_folder, help="folder of the store; made if missing")
    action.add_argument(
        "--from",
        required=True,
        type=path,
        dest="source",
        metavar="DIR",
        help="folder of .npy, .npz, .pt or .h5 files (rows, numbers) at any depth, one per clip; with an export.json of avloc no "
        "other option is needed",
    )
    action.add_argument(
        "--extractor", metavar="NAME", help="name of the features in the store (default: that of the export.json)"
    )
    action.add_argument(
        "--modality", choices=("audio", "visual"), help="modality of the features (default: that of the export.json)"
    )
    action.add_argument(
        "--hop", type=above_zero, metavar="SECONDS", help="seconds per row, as 0.04 (default: that of the export.json)"
    )
    action.add_argument(
        "--first-row", type=number(), metavar="SECONDS", help="start of each clip's first row (default: 0)"
    )
    action.add_argument(
        "--receptive-field", type=above_zero, metavar="SECONDS", help="seconds that a row sees (default: the hop)"
    )
    action.add_argument(
        "--suffix", metavar=".mp4", help="ending of the clips' names in place of the files' (default: .mp4)"
    )
    action.add_argument(
        "--strip-suffix",
        metavar="TEXT",
        help="ending of the files' names that the clips' names lack, as /features.npz (default: the files' suffix)",
    )
    action.add_argument(
        "--key", metavar="NAME", help="name of the array in .npz, .pt and .h5 files (default: the only one)"
    )
    action.add_argument("--transposed", action="store_true", help="the files are (numbers, rows)")
    action.add_argument(
        "--width", type=positive, metavar="D", help="numbers per row: files of (D, rows) are told by it (default: any)"
    )
    action.add_argument(
        "--shard-clips", type=positive, help="clips per shard (default: a 16th of the set, but 8 to 2000)"
    )
    action.add_argument("--retry-failed", action="store_true", help="try shards with failed clips again")


def read_options(namespace: argparse.Namespace) -> ImportFolderOptions:
    """Read the parsed options."""
    from avloc.feature_extraction.store.npy_import import ImportOptions

    features = ImportOptions(
        extractor=namespace.extractor,
        modality=namespace.modality,
        hop_s=namespace.hop,
        start_s=namespace.first_row,
        receptive_field_s=namespace.receptive_field,
        suffix=namespace.suffix,
        transposed=namespace.transposed,
        strip_suffix=namespace.strip_suffix,
        key=namespace.key,
        width=namespace.width,
    )
    return ImportFolderOptions(
        namespace.store, namespace.source, features, namespace.shard_clips, namespace.retry_failed
    )


def run(options: ImportFolderOptions) -> int:
    """Import a folder of files with features; returns 1 if a clip failed."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.npy_import import import_features, read_npy_folder

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

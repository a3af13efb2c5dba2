"""The networks of the package: two sets > features > training > operating point > half precision > package and model card.

    python benchmarks/localization/train_packaged.py --out /data/loc            # everything; OUT may be that of run.py
    python benchmarks/localization/train_packaged.py --out /data/loc --final    # also score the test split, into the card
    python benchmarks/localization/train_packaged.py --out /data/loc --footage /data/footage/both.json   # also real footage
    python benchmarks/localization/train_packaged.py --out own --dataset lavdf --root demo/clips --store demo/features

The sets are the benchmark's corpus, with drawn faces, and clips of its training and validation with real ones.

Trains a network for both streams, one for sound alone and one for pictures alone (`NETWORKS`). Probabilities are calibrated on
the validation split; there the operating point is chosen too: the lowest score with at most `ALARMS_PER_MINUTE` on clips that are
genuine in the network's streams. The files go into the package's folder of networks, and the card into docs/model_card.md.
Finished trainings in OUT are kept, so that the same command with `--final` or `--footage` only adds figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model_card
import torch
from packaged.data_facts import configured_extractors, count_materials, describe_data
from packaged.example_counts import score_examples
from packaged.facts import Facts, FootageFacts
from packaged.joining import MARKER, join
from packaged.packing import check_size, pack
from packaged.trainings import NETWORKS, Data, run_training, training_of
from scoring import ledger

import avloc
from avloc.errors import AvlocError
from avloc.io.files import read_json, write_json, write_text
from avloc.models.packaged import FACTS, FOLDER, STREAMS
from avloc.models.whisper import network as whisper

CARD = Path(__file__).parents[2] / "docs" / "model_card.md"


def name_commit(options: argparse.Namespace) -> str:
    """Name the commit for the ledger; empty if the test split stays unseen, or the set has no ledger, as that of a demo.

    The files that this script writes may have changes: a training is tested before they are committed.

    Raises:
        AvlocError: if other files have uncommitted changes.
    """
    if not options.final or not (options.root is None or (options.root / MARKER).is_file()):
        return ""
    outputs = (options.card, options.package / FACTS, *(options.package / f"{streams}.ckpt" for streams in STREAMS))
    return ledger.commit_name(allow_dirty=options.allow_dirty, outputs=outputs)


def read_footage(path: Path) -> FootageFacts:
    """Read a result of footage.py without that of each clip.

    Raises:
        AvlocError: if the file is another one, such as the predictions beside it.
    """
    result = read_json(path, "result on real footage")
    if "groups" not in result:
        raise AvlocError(f"{path}: no result of footage.py; want D/SYSTEM.json")
    return {key: value for key, value in result.items() if key != "clips"}


def make_set(options: argparse.Namespace) -> Path:
    """Make the benchmark's corpus with its features, and the clips with real faces; join them. Finished parts are kept."""
    import corpus
    import run

    run.prepare(options.out, options.out, corpus.CLIPS, options.threads)
    corpus.main(["--out", str(options.out), "--portraits", "--workers", str(options.threads)])
    return join([options.out / "clips", options.out / "portraits"], options.out / "joined")


def find_sets(options: argparse.Namespace) -> dict[str, Data]:
    """The set of each network: that of the command line, or the joined one; the sound's, whose faces nobody sees, the corpus."""
    store = options.store or options.out / "features"
    if options.root is not None:
        return dict.fromkeys(NETWORKS, Data(options.dataset, options.root, store))
    joined = Data(options.dataset, make_set(options), store)
    return dict.fromkeys(NETWORKS, joined) | {"audio": joined._replace(root=options.out / "clips")}


def extract(data: Data, extractors: Sequence[str], options: argparse.Namespace) -> None:
    """Extract the features of all splits, and the augmented copies of the training split; finished parts are kept.

    Raises:
        AvlocError: if a clip cannot be read.
    """
    settings: dict[str, Any] = {"store": data.store, "extractors": extractors, "workers": options.threads}
    reports = [avloc.extract(data.dataset, data.root, **settings)]
    copies = max(training_of(streams, options).copies for streams in NETWORKS)
    if copies:
        settings |= {"split": "train", "augment": options.recipe, "copies": copies}
        reports.append(avloc.extract(data.dataset, data.root, **settings))
    for report in reports:
        if report.failed:
            raise AvlocError(f"{data.root}: {report.failed} clips could not be read: {report.failures}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--root", type=Path, help="folder of the clips (default: OUT/joined, which is made)")
    parser.add_argument("--store", type=Path, help="folder of their features (default: OUT/features)")
    parser.add_argument("--dataset", default="avdeepfake1m", help="layout of the clips (default: avdeepfake1m)")
    parser.add_argument("--config", help="configuration of all trainings (default: each network's own)")
    parser.add_argument("--epochs", type=int, help="of all networks (default: each network's own)")
    parser.add_argument("--lr", type=float, help="highest learning rate of all networks (default: each network's own)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: 0)")
    parser.add_argument(
        "--copies", type=int, help="augmented copies of each training clip (default: each network's own)"
    )
    parser.add_argument("--recipe", default="strong", help="of the copies: light, strong, or a file (default: strong)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument(
        "--version", help="of the networks, before the day of the training (default: avloc's and the corpus's)"
    )
    parser.add_argument("--final", action="store_true", help="score the test split too")
    parser.add_argument("--allow-dirty", action="store_true", help="also with uncommitted changes; the ledger says so")
    parser.add_argument("--footage", type=Path, help="result of footage.py for the network of both streams")
    parser.add_argument("--package", type=Path, default=FOLDER, help="folder of the networks (default: the package's)")
    parser.add_argument("--card", type=Path, default=CARD, help="the card to write (default: docs/model_card.md)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train missing networks, write the package's files and the card."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    commit = name_commit(options)
    sets = find_sets(options)
    data = sets["both"]
    configs = {training_of(streams, options).config for streams in NETWORKS}
    extract(data, sorted({name for config in configs for name in configured_extractors(config)}), options)
    description = describe_data(data.dataset, data.root)
    options.version = options.version or f"{avloc.__version__}+{description['version']}"
    materials = count_materials(description)
    networks = {
        streams: pack(streams, run_training(streams, each, options), each, options, commit, materials)
        for streams, each in sets.items()
    }
    facts: Facts = {
        "networks": networks,
        "bytes": check_size(options.package),
        "speech_network_bytes": whisper.WEIGHTS.stat().st_size,
        "data": description,
        "examples": score_examples(options.package),
        "footage": None if options.footage is None else read_footage(options.footage),
    }
    write_json(options.package / FACTS, facts)
    write_text(options.card, model_card.render(facts))
    print(f"{options.package}: {facts['bytes']} bytes; {options.card}")


if __name__ == "__main__":
    main()

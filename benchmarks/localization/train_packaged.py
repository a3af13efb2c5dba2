"""The networks of the package: corpus > features > training > operating point > half precision > package and model card.

    python benchmarks/localization/train_packaged.py --out /data/loc            # everything; OUT may be that of run.py
    python benchmarks/localization/train_packaged.py --out /data/loc --final    # also score the test split, into the card
    python benchmarks/localization/train_packaged.py --out /data/loc --footage /data/footage/both.json   # also real footage
    python benchmarks/localization/train_packaged.py --out own --dataset lavdf --root demo/clips --store demo/features

Trains a network for both streams, one for sound alone and one for pictures alone (`NETWORKS`). Probabilities
are calibrated on the validation split; there the operating point is chosen too: the lowest score with at most
`ALARMS_PER_MINUTE` on clips that are genuine in the network's streams. The files go into the package's folder of networks, and
the card into docs/model_card.md. Finished trainings in OUT are kept, so that the same command with `--final` or `--footage`
only adds figures.
"""

from __future__ import annotations

import argparse
import datetime
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import model_card
import numpy as np
import torch
from packaged_facts import Facts, Figures, FootageFacts, NetworkFacts
from real_footage.alarms import ALARMS_PER_MINUTE, Setting, choose_setting, count_alarms
from scoring import ledger

import avloc
from avloc.cli.train import parse as parse_training
from avloc.core.calibration import PlattFit, best_scores
from avloc.core.descriptions import NetworkDescription
from avloc.core.timeline import segment_array
from avloc.datasets import RecordTable, TableBuilder, read_records
from avloc.datasets.loading.batch import Batch
from avloc.datasets.readers.catalog import get_reader
from avloc.errors import AvlocError
from avloc.evaluation import TemporalAveragePrecision, Truth, score_detection
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.inference import Localizer
from avloc.io.files import copy_file, read_json, write_json, write_text
from avloc.models.checkpoint import write_checkpoint
from avloc.models.network import as_module
from avloc.models.packaged import FACTS, FOLDER, STREAMS, scope_text
from avloc.training import train
from avloc.training.clip_scores import ClipScores

NAME = "avloc"
TRAININGS = "packaged"
"""The folder of the trainings, in OUT."""


class NetworkTraining(NamedTuple):
    """The training of one network of the package.

    Attributes:
        words: options beside those of all networks.
        epochs: None: the configuration's.
        lr: the highest learning rate; None: the configuration's.
        copies: augmented copies of each training clip.
    """

    words: tuple[str, ...] = ()
    epochs: int | None = None
    lr: float | None = None
    copies: int = 0


NETWORKS: Mapping[str, NetworkTraining] = {
    "both": NetworkTraining(epochs=6, lr=2e-3, copies=3),
    "audio": NetworkTraining(("--data.modality", "audio", "--model.model.width", "80")),
    "visual": NetworkTraining(("--data.modality", "visual", "--model.model.width", "80")),
}
"""By the streams that a network judges. Copies make the first robust (docs/augment.md); the others were not tried with them."""
MOST_BYTES = 6_000_000  # of all networks
UNUSED_CLIPS = 8  # tell which parameters a network never uses
MOST_CHANGE = 0.02  # of a clip's best score, by half precision
IOUS, ROWS = (0.5, 0.75, 0.9, 0.95), (10,)
THRESHOLD_DIGITS = 2
MARKER = "corpus.json"
"""A file that every set of the benchmark has."""
CARD = Path(__file__).parents[2] / "docs" / "model_card.md"


class Data(NamedTuple):
    """A labelled set and its features.

    Attributes:
        dataset: the set's layout.
        root: its folder.
        store: the folder of its features.
    """

    dataset: str
    root: Path
    store: Path

    @property
    def validation(self) -> str:
        """The split to choose on."""
        return get_reader(self.dataset).validation


class SplitScores(NamedTuple):
    """A network's output on a split; a clip counts as forged if it is forged in the network's streams.

    Attributes:
        rows: by clip, (N, 3) score, start and end in seconds, by falling score.
        segments: by clip, its fake segments (n, 2) in seconds.
        clip_scores: by clip, the best score.
        duration_s: by clip, in seconds.
        calibration: fits of clips, modalities and segments to these labels.
    """

    rows: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    segments: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    clip_scores: dict[str, float]
    duration_s: dict[str, float]
    calibration: dict[str, PlattFit]

    @property
    def truth(self) -> Truth:
        """The labels, with the clips' lengths."""
        return replace(Truth.from_dict(self.segments), duration_s=np.array([*self.duration_s.values()]))


def training_of(streams: str, options: argparse.Namespace) -> NetworkTraining:
    """The training of a network, with the options of the command line in place of its own."""
    given = {name: getattr(options, name) for name in ("epochs", "lr", "copies")}
    return NETWORKS[streams]._replace(**{name: value for name, value in given.items() if value is not None})


def run_training(streams: str, data: Data, options: argparse.Namespace) -> Path:
    """Train a network, or continue, or return the checkpoint of a finished training."""
    folder = options.out / TRAININGS
    final = folder / f"{streams}.ckpt"
    if final.is_file():
        return final
    words = ["--config", options.config, "--data.dataset", data.dataset, "--data.root", str(data.root)]
    words += ["--data.store", str(data.store), "--data.seed", str(options.seed), "--seed_everything", str(options.seed)]
    training = training_of(streams, options)
    words += ["--trainer.default_root_dir", str(folder / f"training-{streams}"), *training.words]
    if training.epochs is not None:
        words += ["--trainer.max_epochs", str(training.epochs)]
    if training.lr is not None:
        words += ["--model.lr", str(training.lr)]
    if training.copies:
        words += ["--data.copies", str(training.copies)]
    if not sys.stderr.isatty():
        words += ["--trainer.enable_progress_bar", "false"]
    best = train(parse_training(words).words)
    settings = {"config": options.config, "epochs": training.epochs, "seed": options.seed}
    settings |= {"lr": training.lr, "copies": training.copies, "recipe": options.recipe if training.copies else ""}
    write_json(folder / f"{streams}.json", {**settings, "trained": datetime.date.today().isoformat()})
    copy_file(best, final)
    return final


def read_labels(data: Data, split: str) -> RecordTable:
    """Read a split with its labels; a set of the benchmark keeps those of the test split apart, in ROOT/truth.

    Raises:
        AvlocError: if they are hidden.
    """
    records: RecordTable = read_records(data.dataset, data.root, split)
    if records.labelled.all():
        return records
    builder = TableBuilder()
    for entry in read_json(data.root / "truth" / f"{split}_metadata.json", f"hidden labels of the split {split}"):
        builder.add(
            f"{split}/{entry['file']}", split, audio=entry["audio_fake_segments"], visual=entry["visual_fake_segments"]
        )
    return builder.build()


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


def note_look(description: NetworkDescription, data: Data, options: argparse.Namespace, commit: str) -> None:
    """Add a line to the benchmark's ledger before a network is tested on its corpus; without a commit, none."""
    if not commit:
        return
    corpus = read_json(data.root / MARKER, "marker of the benchmark's set")
    system = f"{description.name} {description.sha256[:12]}"
    look = ledger.Look(corpus["version"], corpus["clips"], system, options.seed, options.config)
    ledger.append(look, commit)


def score_split(localizer: Localizer, data: Data, split: str) -> SplitScores:
    """Run a network on a split."""
    dataset = localizer.source.stored(read_labels(data, split), FeatureStore(data.store), allow_missing=False)
    scores, clip_scores = SplitScores({}, {}, {}, {}, {}), ClipScores()
    localizations = localizer.run(dataset[k] for k in range(len(dataset)))
    for record, end_s, localization in zip(dataset.records, dataset.ends_s.tolist(), localizations, strict=True):
        proposals = localization.proposals
        scores.rows[record.file] = np.column_stack([proposals.scores, proposals.segments])
        scores.segments[record.file] = segment_array(record.with_joined_segments().segments)
        scores.clip_scores[record.file] = float(best_scores(proposals)[0])
        scores.duration_s[record.file] = end_s
        clip_scores.update(proposals, record)
    scores.calibration.update(clip_scores.compute().calibration)
    return scores


def choose_threshold(scores: SplitScores, per_minute: float = ALARMS_PER_MINUTE) -> Setting:
    """Choose the operating point, rounded up so that it can be said in `THRESHOLD_DIGITS` digits."""
    setting = choose_setting(scores.rows, scores.truth, per_minute)
    scale = 10**THRESHOLD_DIGITS
    threshold = min(1.0, math.ceil(setting.threshold * scale) / scale)
    real = [file for file, segments in scores.segments.items() if not len(segments)]
    return setting._replace(
        threshold=threshold, alarms=sum(count_alarms(scores.rows[file], threshold) for file in real)
    )


def figures(scores: SplitScores, threshold: float) -> Figures:
    """The figures of a split: strict AP and AR, clip AUC, and the clips that the operating point flags, rightly and wrongly."""
    metric = TemporalAveragePrecision(ap_ious=IOUS, ar_counts=ROWS)
    for file, rows in scores.rows.items():
        metric.update([(rows[:, 0], rows[:, 1:])], [scores.segments[file]])
    is_fake = np.array([len(segments) > 0 for segments in scores.segments.values()])
    clip_scores = np.array([*scores.clip_scores.values()])
    alarms = np.array([count_alarms(rows, threshold) for rows in scores.rows.values()])
    minutes = np.array([*scores.duration_s.values()]) / 60
    real_minutes = float(minutes[~is_fake].sum())
    return {
        "clips": len(is_fake),
        "forged_clips": int(is_fake.sum()),
        "segments": int(sum(map(len, scores.segments.values()))),
        "real_minutes": real_minutes,
        **{name: float(value) for name, value in metric.compute().items()},
        "clip_auc": score_detection(clip_scores, is_fake).auc if 0 < is_fake.sum() < len(is_fake) else None,
        "forged_clips_flagged": int((alarms[is_fake] > 0).sum()),
        "real_clips_flagged": int((alarms[~is_fake] > 0).sum()),
        "false_alarms_per_minute": float(alarms[~is_fake].sum()) / real_minutes if real_minutes else None,
    }


def clear_unused(network: torch.nn.Module, batches: Sequence[Batch]) -> list[str]:
    """Set to zero the parameters on which no output depends, such as the stem of a stream that a network is never given.

    Returns:
        Their names.
    """
    network.zero_grad()
    for batch in batches:
        output = network(**batch.inputs._asdict())
        sum(values.float().square().sum() for values in output if values.is_floating_point()).backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    with torch.no_grad():
        for name in unused:
            network.get_parameter(name).zero_()
    network.zero_grad(set_to_none=True)
    return unused


def pack(streams: str, checkpoint: Path, data: Data, options: argparse.Namespace, commit: str) -> NetworkFacts:
    """Write a network into the package, and return its facts; a test notes the commit.

    The operating point is chosen, probabilities are calibrated, and all figures are measured, with the half-precision weights
    that users get.
    """
    path = options.package / f"{streams}.ckpt"
    full = Localizer.from_checkpoint(checkpoint)
    assert full.description is not None
    context = avloc.models.read_checkpoint(checkpoint).context
    before = score_split(full, data, data.validation)
    examples = full.source.stored(read_labels(data, data.validation), FeatureStore(data.store), allow_missing=False)
    batches = [full.source.collate([examples[k] for k in range(min(UNUSED_CLIPS, len(examples)))])]
    unused = clear_unused(as_module(full.model), batches) if NETWORKS[streams].words else []
    training = read_json(checkpoint.with_suffix(".json"), "settings of a finished training")
    speakers = model_card.count_training_speakers(model_card.describe_data(data.dataset, data.root)["speech"])
    scope = scope_text(streams, speakers)
    description = NetworkDescription(f"{NAME}-{streams}", options.version, training["trained"], scope)
    write_checkpoint(path, full.model, context, description, half=True)
    validation = score_split(Localizer.from_checkpoint(path), data, data.validation)
    change = largest_change(before, validation)
    setting = choose_threshold(validation)
    context = replace(context, calibration=validation.calibration)
    write_checkpoint(path, full.model, context, replace(description, threshold=setting.threshold), half=True)
    localizer = Localizer.from_checkpoint(path)
    assert localizer.description is not None
    facts: NetworkFacts = {
        "description": localizer.description.to_dict(),
        "training": training,
        "bytes": path.stat().st_size,
        "parameters": sum(p.numel() for p in as_module(localizer.model).parameters() if p.any()),
        "cleared": len(unused),
        "largest_change_by_half_precision": change,
        "setting": setting._asdict(),
        "figures": {data.validation: figures(validation, setting.threshold)},
    }
    if options.final:
        note_look(localizer.description, data, options, commit)
        facts["figures"]["test"] = figures(score_split(localizer, data, "test"), setting.threshold)
    return facts


def largest_change(full: SplitScores, half: SplitScores) -> float:
    """The largest change of a clip's best score by half precision.

    Raises:
        AvlocError: if it is larger than `MOST_CHANGE`.
    """
    change = max(abs(half.clip_scores[file] - score) for file, score in full.clip_scores.items())
    if change > MOST_CHANGE:
        raise AvlocError(f"half precision changes a clip's best score by {change:.3f}, want at most {MOST_CHANGE:g}")
    return change


def read_footage(path: Path) -> FootageFacts:
    """Read a result of footage.py without that of each clip.

    Raises:
        AvlocError: if the file is another one, such as the predictions beside it.
    """
    result = read_json(path, "result on real footage")
    if "groups" not in result:
        raise AvlocError(f"{path}: no result of footage.py; want D/SYSTEM.json")
    return {key: value for key, value in result.items() if key != "clips"}


def check_size(folder: Path) -> int:
    """Return the size of all networks.

    Raises:
        AvlocError: if it is larger than `MOST_BYTES`.
    """
    size = sum((folder / f"{streams}.ckpt").stat().st_size for streams in STREAMS)
    if size > MOST_BYTES:
        raise AvlocError(
            f"{folder}: {size} bytes, want at most {MOST_BYTES}; give NETWORKS a smaller --model.model.width"
        )
    return size


def make_corpus(options: argparse.Namespace) -> None:
    """Make the benchmark's corpus and its features; finished parts are kept."""
    import corpus
    import run

    run.prepare(options.out, options.out, corpus.CLIPS, options.threads)


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
    parser.add_argument("--root", type=Path, help="folder of the clips (default: OUT/clips, the corpus, which is made)")
    parser.add_argument("--store", type=Path, help="folder of their features (default: OUT/features)")
    parser.add_argument("--dataset", default="avdeepfake1m", help="layout of the clips (default: avdeepfake1m)")
    parser.add_argument("--config", default="demo", help="configuration of the training (default: demo)")
    parser.add_argument("--epochs", type=int, help="of all networks (default: of each its own)")
    parser.add_argument("--lr", type=float, help="highest learning rate of all networks (default: of each its own)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: 0)")
    parser.add_argument(
        "--copies", type=int, help="augmented copies of each training clip (default: of each network its own)"
    )
    parser.add_argument("--recipe", default="strong", help="of the copies: light, strong, or a file (default: strong)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument("--version", help="of the networks (default: avloc's and the corpus's)")
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
    if options.root is None:
        make_corpus(options)
    data = Data(options.dataset, options.root or options.out / "clips", options.store or options.out / "features")
    extractors = model_card.configured_extractors(options.config)
    extract(data, extractors, options)
    description = model_card.describe_data(data.dataset, data.root)
    options.version = options.version or f"{avloc.__version__}+{description['version']}"
    networks = {
        streams: pack(streams, run_training(streams, data, options), data, options, commit) for streams in NETWORKS
    }
    facts: Facts = {
        "networks": networks,
        "bytes": check_size(options.package),
        "extractors": extractors,
        "data": description,
        "examples": model_card.score_examples(options.package),
        "footage": None if options.footage is None else read_footage(options.footage),
    }
    write_json(options.package / FACTS, facts)
    write_text(options.card, model_card.render(facts))
    print(f"{options.package}: {facts['bytes']} bytes; {options.card}")


if __name__ == "__main__":
    main()

"""A trained network > half precision, calibration and operating point > a file of the package, and its facts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from packaged.facts import Materials, NetworkFacts, TrainingFacts
from packaged.joining import MARKER, read_details
from packaged.split_scores import (
    SplitScores,
    by_face,
    choose_threshold,
    figures,
    read_labels,
    score_split,
)
from packaged.trainings import NETWORKS, Data
from scoring import ledger

from avloc.core.descriptions import NetworkDescription
from avloc.datasets.loading.batch import Batch
from avloc.errors import AvlocError
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.inference import Localizer
from avloc.io.files import read_json
from avloc.models.checkpoint import read_checkpoint, write_checkpoint
from avloc.models.network import as_module
from avloc.models.packaged import STREAMS, scope_text

NAME = "avloc"
MOST_BYTES = 6_000_000  # of a network
UNUSED_CLIPS = 8  # tell which parameters a network never uses
MOST_CHANGE = 0.02  # of a clip's best score, by half precision


def note_look(description: NetworkDescription, data: Data, training: TrainingFacts, commit: str) -> None:
    """Add a line to the benchmark's ledger before a network is tested on its corpus; without a commit, none."""
    if not commit:
        return
    corpus = read_json(data.root / MARKER, "marker of the benchmark's set")
    system = f"{description.name} {description.sha256[:12]}"
    look = ledger.Look(corpus["version"], corpus["clips"], system, training["seed"], training["config"])
    ledger.append(look, commit)


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


def pack(
    streams: str, checkpoint: Path, data: Data, options: argparse.Namespace, commit: str, materials: Materials
) -> NetworkFacts:
    """Write a network into the package, and return its facts; a test notes the commit.

    The operating point is chosen, probabilities are calibrated, and all figures are measured, with the half-precision weights
    that users get. The scope names the numbers of speakers and of real faces of the training.
    """
    path = options.package / f"{streams}.ckpt"
    full = Localizer.from_checkpoint(checkpoint)
    assert full.description is not None
    context = read_checkpoint(checkpoint).context
    before = score_split(full, data, data.validation)
    examples = full.source.stored(read_labels(data, data.validation), FeatureStore(data.store), allow_missing=False)
    batches = [full.source.collate([examples[k] for k in range(min(UNUSED_CLIPS, len(examples)))])]
    unused = clear_unused(as_module(full.model), batches) if NETWORKS[streams].words else []
    training: TrainingFacts = read_json(checkpoint.with_suffix(".json"), "settings of a finished training")
    scope = scope_text(streams, *materials)
    version = f"{options.version}.{training['trained'].replace('-', '')}"  # another training is another network
    description = NetworkDescription(f"{NAME}-{streams}", version, training["trained"], scope)
    write_checkpoint(path, full.model, context, description, half=True)
    validation = score_split(Localizer.from_checkpoint(path), data, data.validation)
    change = largest_change(before, validation)
    setting = choose_threshold(validation)
    context = replace(context, calibration=validation.calibration)
    share = validation.right.modality_share(setting.threshold) if full.source.modality is None else None
    description = replace(description, threshold=setting.threshold, modality_share=share)
    write_checkpoint(path, full.model, context, description, half=True)
    localizer = Localizer.from_checkpoint(path)
    assert localizer.description is not None
    facts: NetworkFacts = {
        "description": localizer.description.to_dict(),
        "training": training,
        "extractors": [extractor.name for extractor in localizer.source.descriptions],
        "bytes": path.stat().st_size,
        "parameters": sum(p.numel() for p in as_module(localizer.model).parameters() if p.any()),
        "cleared": len(unused),
        "largest_change_by_half_precision": change,
        "setting": setting._asdict(),
        "figures": {data.validation: figures(validation, setting.threshold)},
    }
    for name, part in by_face(validation, read_details(data.root)).items():
        facts["figures"][f"{data.validation}, {name}"] = figures(part, setting.threshold)
    if options.final:
        note_look(localizer.description, data, training, commit)
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


def check_size(folder: Path) -> int:
    """Return the size of all networks.

    Raises:
        AvlocError: if one is larger than `MOST_BYTES`.
    """
    sizes = {f"{streams}.ckpt": (folder / f"{streams}.ckpt").stat().st_size for streams in STREAMS}
    largest = max(sizes, key=sizes.__getitem__)
    if sizes[largest] > MOST_BYTES:
        raise AvlocError(
            f"{folder / largest}: {sizes[largest]} bytes, want at most {MOST_BYTES}; give NETWORKS a smaller --model.model.width"
        )
    return sum(sizes.values())

"""Checkpoints and folders of training runs > descriptions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.cli.info.description import Description, quoted
from avloc.cli.info.peek import Peek
from avloc.errors import AvlocError, CheckpointError, counted

if TYPE_CHECKING:
    from avloc.core.descriptions import ExtractorDescription, NetworkDescription, TrainingContext
    from avloc.models.checkpoint import Checkpoint

SUFFIXES = (".ckpt", ".pt", ".pth")
RUN_RECORD, RUN_CHECKPOINTS = "run.json", "checkpoints"


def is_checkpoint(peek: Peek) -> bool:
    """Tell whether a file has the name of a checkpoint."""
    return peek.suffix in SUFFIXES and peek.path.is_file()


def describe_checkpoint(peek: Peek) -> Description:
    """Describe a checkpoint, without loading its weights; or a file of torch that is none of avloc's.

    Raises:
        CheckpointError: if torch cannot read it.
    """
    from avloc.io.provenance import identify_file
    from avloc.io.weights import load_file
    from avloc.models.checkpoint import KEY, read_outline

    path = peek.path
    content = load_file(path, mapped=True)
    identity = identify_file(path)
    parameters = _count_parameters(content)
    if not isinstance(content, dict) or KEY not in content:
        return _foreign_file(path, content, parameters, identity.size_bytes, identity.sha256)
    outline = read_outline(path)
    assert outline.description is not None
    network, context = outline.description, outline.context
    facts = [
        ("Network", f"{network.name} {network.version}".strip() + _model_note(outline)),
        ("Parameters", f"{parameters:,}" if parameters else ""),
        ("Trained on", network.scope or "unknown: the checkpoint does not tell"),
        ("Date", network.date),
        ("Streams", context.modality or "audio and visual"),
        *(("Extractor", _extractor_text(each)) for each in context.extractors),
        ("Input", "" if context.clips is None else f"the clips, {context.clips.frames} frames ({context.clips.fit})"),
        ("Step", f"{context.hop_s:g} s"),
        ("Calibration", _calibration_text(context)),
        ("Threshold", "" if network.threshold is None else f"a score of {network.threshold:g} (operating point)"),
        ("Names", _names_text(network)),
        *_file_facts(identity.size_bytes, identity.sha256),
    ]
    values = {
        "model": outline.model,
        "network": network.to_dict(),
        "parameters": parameters,
        "context": context.to_dict(),
        "bytes": identity.size_bytes,
        "sha256": identity.sha256,
    }
    return Description("checkpoint of avloc", facts, values, _checkpoint_commands(path, outline))


def _model_note(outline: Checkpoint) -> str:
    assert outline.description is not None
    return "" if outline.description.name == outline.model else f" (a {outline.model})"


def _count_parameters(content: Any) -> int:
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else {}
    values = state_dict.values() if isinstance(state_dict, dict) else ()
    return sum(math.prod(value.shape) for value in values if hasattr(value, "shape"))


def _extractor_text(extractor: ExtractorDescription) -> str:
    rate = f"{1 / extractor.hop_s:g} rows/s"
    weights = ", with a weights file" if extractor.weights_sha256 is not None else ""
    return f"{extractor.name}: {extractor.modality}, {extractor.dim} values, {rate}{weights}"


def _calibration_text(context: TrainingContext) -> str:
    fit = context.calibration.get("clip")
    if fit is None:
        return "none: its scores are no probabilities"
    if fit.positives is None or fit.negatives is None:
        return "of an earlier release, whose prior is unknown"
    return f"on {fit.positives:,} forged and {fit.negatives:,} genuine clips"


def _names_text(network: NetworkDescription) -> str:
    """The rule for a segment’s name; empty if the network's validation did not choose it."""
    share = network.modality_share
    return "" if share is None else f"both if the weaker modality has at least {share:g} of the stronger one’s score"


def _file_facts(size_bytes: int, sha256: str) -> list[tuple[str, str]]:
    from avloc.io.files import format_bytes

    return [("Size", format_bytes(size_bytes)), ("SHA-256", sha256)]


def _checkpoint_commands(path: Path, outline: Checkpoint) -> list[str]:
    from avloc.models.catalog import network_path

    options = [f"--checkpoint {quoted(path)}"]
    try:
        network_path(outline.model)
    except CheckpointError:
        options.append(f"--network MY_PACKAGE.{outline.model}")
    options += [f"--weights {e.name}=FILE" for e in outline.context.extractors if e.weights_sha256 is not None]
    words = " ".join(options)
    return [
        f"avloc localize CLIP.mp4 {words} --out timelines",
        f"avloc predict {words} --dataset DATASET --root FOLDER --split test --out predictions.json",
    ]


def _foreign_file(path: Path, content: Any, parameters: int, size_bytes: int, sha256: str) -> Description:
    """Describe a file of torch that `avloc train` did not write."""
    keys = [str(key) for key in content] if isinstance(content, dict) else []
    shown_keys = ", ".join(keys[:6]) + (f" and {len(keys) - 6} more" if len(keys) > 6 else "")
    facts = [
        ("Content", shown_keys or type(content).__name__),
        ("Parameters", f"{parameters:,}" if parameters else ""),
        *_file_facts(size_bytes, sha256),
    ]
    is_lightning = {"state_dict", "hyper_parameters"} <= set(keys)
    commands = [f"avloc convert {quoted(path)} --out converted.ckpt  # a released one of BA-TFD or BA-TFD+"]
    values = {"keys": keys, "parameters": parameters, "bytes": size_bytes, "sha256": sha256}
    title = "file of torch, no checkpoint of avloc"
    return Description(title, facts, values, commands if is_lightning else ())


def is_run(peek: Peek) -> bool:
    """Tell whether a folder is that of a training run."""
    return (peek.path / RUN_RECORD).is_file() and (peek.path / RUN_CHECKPOINTS).is_dir()


def describe_run(peek: Peek) -> Description:
    """Describe the folder of a training run: its data, and its checkpoints."""
    from avloc.io.files import format_bytes, read_json

    folder = peek.path
    settings = read_json(folder / RUN_RECORD, "record of a training run")
    data = arguments_of(folder / RUN_RECORD, settings, "data")
    checkpoints = sorted((folder / RUN_CHECKPOINTS).glob("*.ckpt"))
    sizes = {path.name: path.stat().st_size for path in checkpoints}
    facts = [
        ("Network", class_name(settings, "model", "model")),
        ("Dataset", " ".join(str(data[name]) for name in ("dataset", "root") if data.get(name))),
        ("Store", str(data.get("store") or "")),
        ("Checkpoints", ", ".join(f"{name} ({format_bytes(size)})" for name, size in sizes.items()) or "none yet"),
    ]
    commands = [f"avloc info {quoted(path)}" for path in checkpoints[:1]]
    if checkpoints and data.get("dataset") and data.get("root"):
        store = f" --store {quoted(data['store'])}" if data.get("store") else ""
        commands.append(
            f"avloc predict --checkpoint {quoted(checkpoints[0])} --dataset {quoted(data['dataset'])} "
            f"--root {quoted(data['root'])}{store} --split test --out predictions.json"
        )
    values = {"settings": settings, "checkpoints": {name: {"bytes": size} for name, size in sizes.items()}}
    return Description(f"training run, {counted(len(checkpoints), 'checkpoint')}", facts, values, commands)


def arguments_of(path: Path, settings: Any, name: str) -> dict[str, Any]:
    """Return the arguments of a class in a configuration of Lightning.

    Args:
        path: the file of the configuration, for the message.
        settings: its content.
        name: of the entry, `model` or `data`.

    Raises:
        AvlocError: if the entry is missing.
    """
    part = settings.get(name) if isinstance(settings, dict) else None
    if not isinstance(part, dict):
        raise AvlocError(f"{path}: not the configuration of a training, it has no {name}")
    arguments = part.get("init_args", part)
    return arguments if isinstance(arguments, dict) else {}


def class_name(settings: Any, *names: str) -> str:
    """Return the name of a class in a configuration, without its module; empty if it names none."""
    part: Any = settings
    for name in names:
        part = (part.get("init_args") or part).get(name) if isinstance(part, dict) else None
    path = part.get("class_path", "") if isinstance(part, dict) else ""
    return str(path).rpartition(".")[2]

"""YAML files > descriptions: configurations of a training, protocols, recipes of augmentation."""

from __future__ import annotations

from typing import Any

from avloc.cli.info.checkpoints import arguments_of, class_name
from avloc.cli.info.description import Description, quoted
from avloc.cli.info.peek import Peek
from avloc.errors import AvlocError, one_line

SUFFIXES = (".yaml", ".yml")
PLACES = ("root", "store")  # arguments of the data that are the user's own


def is_yaml(peek: Peek) -> bool:
    """Tell whether a file has the name of a YAML file."""
    return peek.suffix in SUFFIXES and peek.path.is_file()


def describe_yaml(peek: Peek) -> Description:
    """Describe a YAML file by its entries.

    Raises:
        AvlocError: if it is no YAML file, or has none of the entries that avloc knows.
    """
    import yaml

    try:
        document = yaml.safe_load(peek.path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AvlocError(f"{peek.path}: not a YAML file ({one_line(error)})") from error
    keys = set(document) if isinstance(document, dict) else set()
    if {"model", "data"} <= keys:
        return _describe_configuration(peek, document)
    if "segments_field" in keys:
        return _describe_protocol(peek)
    if keys and keys <= {"audio", "visual"}:
        return _describe_recipe(peek)
    raise AvlocError(
        f"{peek.path}: want a configuration (model, data), a protocol (segments_field) or a recipe (audio, visual), got "
        f"{', '.join(sorted(map(str, keys))) or type(document).__name__}"
    )


def _describe_configuration(peek: Peek, document: dict[str, Any]) -> Description:
    data, trainer = arguments_of(peek.path, document, "data"), document.get("trainer")
    epochs = trainer.get("max_epochs") if isinstance(trainer, dict) else None
    options = {name: value for name, value in data.items() if name not in PLACES}
    texts = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in options.items()}
    facts = [
        ("Network", class_name(document, "model", "model")),
        ("Data", class_name(document, "data")),
        ("Options", ", ".join(f"{name} {text}" for name, text in texts.items())),
        ("Epochs", "" if epochs is None else str(epochs)),
    ]
    places = " ".join(f"--data.{name} FOLDER" for name in PLACES if name in data)
    commands = [f"avloc train --config {quoted(peek.path)} {places} --trainer.default_root_dir run".replace("  ", " ")]
    return Description("configuration of a training", facts, {"configuration": document}, commands)


def _describe_protocol(peek: Peek) -> Description:
    from avloc.evaluation.protocols import get_protocol

    protocol = get_protocol(str(peek.path))
    facts = [
        ("Name", protocol.name),
        ("Segments", f"in the field {protocol.segments_field}"),
        ("AP", "IoU " + ", ".join(f"{iou:g}" for iou in protocol.ap_ious)),
        ("AR", ", ".join(map(str, protocol.ar_counts)) + " rows"),
    ]
    values = {"ap_ious": list(protocol.ap_ious), "ar_counts": list(protocol.ar_counts)}
    commands = [f"avloc evaluate PREDICTIONS.json METADATA.json --protocol {quoted(peek.path)}"]
    return Description("protocol of scores", facts, values, commands)


def _describe_recipe(peek: Peek) -> Description:
    from avloc.augment.recipe_file import read_recipe

    recipe = read_recipe(peek.path)
    names = {
        "audio": [step.augmentation.__name__ for step in recipe.audio],
        "visual": [step.augmentation.__name__ for step in recipe.visual],
    }
    facts = [(name.capitalize(), ", ".join(steps)) for name, steps in names.items()]
    options = f"--dataset DATASET --root FOLDER --extractors EXTRACTORS --store features --augment {quoted(peek.path)}"
    return Description("recipe of augmentation", facts, {"steps": names}, [f"avloc extract {options} --copies 1"])

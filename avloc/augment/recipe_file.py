"""A YAML file > a recipe. The file names augmentations of the package only, and never code."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

from avloc.augment.catalog import PICTURE, SOUND
from avloc.augment.recipe import MODALITIES, Choice, Range, Recipe, Step
from avloc.core.suggestions import did_you_mean
from avloc.errors import AvlocError, one_line

RECIPES = Path(__file__).parent / "recipes"
PRESETS = ("light", "strong")
RANGE_LENGTH = 2


def read_recipe(name: str | Path) -> Recipe:
    """Read a recipe: a preset, or a YAML file.

    The file has lists `audio` and `visual`. An entry has `name`, optionally `probability` (1), and parameters of the
    augmentation: a value, `[low, high]`, `{log: [low, high]}` or `{choice: [value, …]}`.

    Args:
        name: `light`, `strong`, or a path.

    Raises:
        AvlocError: if the file is missing or malformed; the message names the entry.

    >>> [step.augmentation.__name__ for step in read_recipe("light").visual]
    ['Downscale', 'H264', 'Brightness', 'Contrast', 'Saturation', 'PixelNoise']
    """
    path = RECIPES / f"{name}.yaml" if str(name) in PRESETS else Path(name).expanduser()
    document = _read_yaml(path)
    expected = "want a mapping of audio and visual to lists of entries"
    if not isinstance(document, dict):
        raise AvlocError(f"{path}: {expected}, got {_shortened(document)}")
    if unknown := [str(key) for key in document if key not in MODALITIES]:
        raise AvlocError(f"{path}: unknown {one_line(', '.join(unknown))}; {expected}")
    return Recipe(
        audio=_parse_steps(path, "audio", document.get("audio"), SOUND),
        visual=_parse_steps(path, "visual", document.get("visual"), PICTURE),
    )


def _read_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = did_you_mean(str(path), PRESETS)
        raise AvlocError(f"{path}: no such recipe{hint}; name a YAML file, or one of {', '.join(PRESETS)}") from error
    except OSError as error:
        raise AvlocError(f"{path}: cannot be read ({one_line(error)})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AvlocError(f"{path}: not a YAML file ({one_line(error)})") from error


def _parse_steps(path: Path, modality: str, entries: Any, catalog: dict[str, Any]) -> tuple[Step[Any], ...]:
    """Parse the entries of a modality; a message gets their place."""
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise AvlocError(f"{path}: want a list of entries as {modality}, got {_shortened(entries)}")
    steps = []
    for number, entry in enumerate(entries, 1):
        try:
            steps.append(_parse_step(entry, catalog))
        except AvlocError as error:
            name = entry.get("name") if isinstance(entry, dict) else None
            suffix = f" ({name})" if isinstance(name, str) and name in catalog else ""
            place = f"{modality} entry {number}{suffix}"
            raise AvlocError(f"{path}: {place}: {error}") from error
    return tuple(steps)


def _parse_step(entry: Any, catalog: dict[str, Any]) -> Step[Any]:
    if not isinstance(entry, dict) or "name" not in entry:
        raise AvlocError(f"want a mapping with name, probability and parameters, got {_shortened(entry)}")
    name = entry["name"]
    if not isinstance(name, str) or name not in catalog:
        raise AvlocError(f"want a name of {', '.join(catalog)}, got {_shortened(name)}")
    parameters = {key: value for key, value in entry.items() if key not in ("name", "probability")}
    parsed = {key: _parse_value(key, value) for key, value in parameters.items()}
    return Step(catalog[name], entry.get("probability", 1.0), parsed)


def _parse_value(name: Any, value: Any) -> Any:
    """Parse a parameter: a value, a range or a choice."""
    if isinstance(value, dict) and [*value] == ["choice"] and isinstance(value["choice"], list):
        return Choice(tuple(value["choice"]))
    log = isinstance(value, dict) and [*value] == ["log"]
    ends = value["log"] if isinstance(value, dict) and log else value
    if isinstance(ends, list) and len(ends) == RANGE_LENGTH and all(type(end) in (int, float) for end in ends):
        try:
            return Range(ends[0], ends[1], log=log)
        except AvlocError as error:
            raise AvlocError(f"{name}: {error}") from error
    if isinstance(value, list | dict):
        raise AvlocError(
            f"want a value, [low, high], {{log: [low, high]}} or {{choice: [value, …]}} as {one_line(name)}, "
            f"got {_shortened(value)}"
        )
    return value


def _shortened(value: Any) -> str:
    """Show a value of the file in one short line."""
    return one_line(reprlib.repr(value), 80)  # nested aliases would fill the memory

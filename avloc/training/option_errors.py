"""An error of LightningCLI's parser > one line that names the option, the closest match, and the options that exist."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from importlib import import_module

import pytorch_lightning as pl

from avloc.core.suggestions import closest
from avloc.errors import one_line
from avloc.training.module import LocalizationModule

TOP_OPTIONS = ("config", "seed_everything", "trainer", "model", "data", "network", "init", "resume", "overwrite")
MAX_LISTED = 25  # of an owner with more options, those are listed only if none is like the wrong one
EXAMPLE_CLASSES = {"data": "avloc.datasets.FeatureData", "model.model": "avloc.models.BoundaryTransformer"}

_KEY = r'Parser key "([\w.]+)"'
_NOT_OF_CLASS = re.compile(r"given class_path '([\w.]+)': Option '([\w.]+)' is not accepted")
_NOT_OF_GROUP = re.compile(r"Group '([\w.]+)' does not accept option '([\w.]+)'")
_UNRECOGNIZED = re.compile(r"[Uu]nrecognized arguments: --([\w.-]+)")
_NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
_WRONG_VALUE = re.compile(r"Expected an? <class '([\w.]+)'>.*?(?:Got|Given) value: (.*?)(?: - Ex|$)")


def describe_option_error(message: str) -> str:
    """Describe a wrong option or value of a training run; a message of another form is shortened to one line.

    >>> describe_option_error("Group 'model' does not accept option 'lrr'")  # doctest: +ELLIPSIS
    'model.lrr does not exist (did you mean model.lr?); LocalizationModule has model, lr, ...'
    """
    message = " ".join(message.split())
    key = next(iter(re.findall(_KEY, message)), "")
    if match := _NOT_OF_CLASS.search(message):
        return _unknown(key, match[2], match[1].rpartition(".")[2], _parameters(match[1]))
    if match := _NOT_OF_GROUP.search(message):
        return _unknown(match[1], match[2], *_owner(match[1]))
    if match := _UNRECOGNIZED.search(message):
        group, _, name = match[1].rpartition(".")
        return _unknown(group, name, *_owner(group))
    if match := _NO_CLASS.search(message):
        return f"{key}: want a class by its dotted path, such as {EXAMPLE_CLASSES.get(key, 'my_package.MyClass')}, got {match[1]}"
    if match := _WRONG_VALUE.search(message):
        place = ".".join(dict.fromkeys(re.findall(_KEY, message)))
        return f"{place}: want {match[1]}, got {match[2]!r}"
    return one_line(message)


def _unknown(group: str, name: str, owner: str, options: Sequence[str]) -> str:
    prefix = f"{group}." if group else ""
    match = closest(name, options)
    text = f"{prefix}{name} does not exist" + (f" (did you mean {prefix}{match}?)" if match else "")
    if not options or (match and len(options) > MAX_LISTED):
        return text
    return f"{text}; {owner} has {', '.join(options)}"


def _owner(group: str) -> tuple[str, Sequence[str]]:
    """Return the name and the options of the owner of a group of options."""
    if group == "trainer":
        return "the trainer", _names(pl.Trainer)
    if group == "model":
        return LocalizationModule.__name__, _names(LocalizationModule)
    return ("a run", TOP_OPTIONS) if not group else (group, ())


def _parameters(class_path: str) -> Sequence[str]:
    """Return the parameters of a class that the parser has imported."""
    module, _, name = class_path.rpartition(".")
    return _names(getattr(import_module(module), name))


def _names(its_class: type) -> Sequence[str]:
    return [parameter.name for parameter in constructor_parameters(its_class)]


def constructor_parameters(its_class: type) -> list[inspect.Parameter]:
    """Return the parameters of a constructor, with those of a base class that it passes on as `**settings`.

    >>> class Base:
    ...     def __init__(self, *, root, seed=0): ...
    >>> class Derived(Base):
    ...     def __init__(self, *, hop_s, **settings): ...
    >>> [parameter.name for parameter in constructor_parameters(Derived)]
    ['hop_s', 'root', 'seed']
    """
    parameters: dict[str, inspect.Parameter] = {}
    for each in its_class.__mro__:
        if "__init__" not in vars(each):
            continue
        _, *named = inspect.signature(vars(each)["__init__"]).parameters.values()
        for parameter in named:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                parameters.setdefault(parameter.name, parameter)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in named):
            break
    return list(parameters.values())

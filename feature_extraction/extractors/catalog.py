"""Extractors by name: the built-in table, installed plug-ins, and a user's own classes by dotted path.

A specification is a name, or a name with the constructor's arguments: `r3d_18:weights=/data/r3d_18.pth,stride=2`. The first
argument may go without its name: `r3d_18:/data/r3d_18.pth,stride=2`, `s3prl:wavlm_base_plus,weights=wavlm.pt`. A user's own
class goes by its dotted path: `my_package.MyExtractor`. An installed package adds names through the entry-point group
`avloc.extractors`; in its `pyproject.toml`:

    [project.entry-points."avloc.extractors"]
    my_extractor = "my_package:MyExtractor"
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from avloc.core.suggestions import did_you_mean
from avloc.errors import AvlocError, one_line
from avloc.feature_extraction.extractors.base import Extractor, check_extractor
from avloc.feature_extraction.extractors.names import EXTRACTORS, available_extractors, factory_name, plugins
from avloc.io.imports import import_dotted


def parse_specification(specification: str) -> tuple[str, dict[str, str]]:
    """Split `name:key=value,…` into the name and its arguments, which stay text.

    An argument without a key, allowed in the first place only, has the empty key.

    Raises:
        AvlocError: if a later argument has no key.

    >>> parse_specification("r3d_18:random=true,stride=2")
    ('r3d_18', {'random': 'true', 'stride': '2'})
    >>> parse_specification("s3prl:wavlm_base,weights=w.pt")
    ('s3prl', {'': 'wavlm_base', 'weights': 'w.pt'})
    """
    name, _, rest = specification.partition(":")
    arguments = {}
    for k, part in enumerate(filter(None, rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals and k == 0:
            key, value = "", key
        elif not equals:
            raise AvlocError(f"extractor {specification!r}: expected name:key=value,key=value, got {part!r}")
        arguments[key.strip()] = value.strip()
    return name.strip(), arguments


def parse_extractors(extractors: str | Sequence[str | type[Extractor]]) -> list[tuple[str, dict[str, str]]]:
    """Parse the specifications of several extractors, each of another name.

    Args:
        extractors: `a,b:key=value,key=value;c` in one text, or a specification or class each.

    Raises:
        AvlocError: if no extractor is named, or one twice, or something is neither text nor a class.

    >>> parse_extractors("logspec,r3d_18:weights=my file.pth,stride=2")
    [('logspec', {}), ('r3d_18', {'weights': 'my file.pth', 'stride': '2'})]
    >>> parse_extractors(["logspec", "logmel:bands=40"])
    [('logspec', {}), ('logmel', {'bands': '40'})]
    """
    parts = _split(extractors) if isinstance(extractors, str) else [_specification(part) for part in extractors]
    specs = [parse_specification(part) for part in parts if part.strip()]
    if not specs:
        raise AvlocError("extractors: name at least one")
    names = [name for name, _ in specs]
    if len(set(names)) < len(names):
        raise AvlocError(f"extractors: name each once, got {', '.join(names)}")
    return specs


def _specification(extractor: object) -> str:
    """Return the specification of a class; worker processes import it by its name."""
    if isinstance(extractor, type) and issubclass(extractor, Extractor):
        return factory_name(extractor)
    if not isinstance(extractor, str):
        raise AvlocError(f"extractors: want names or classes of Extractor, got {extractor!r}")
    return extractor


def _split(text: str) -> list[str]:
    parts: list[str] = []
    for group in text.split(";"):
        for k, part in enumerate(group.split(",")):
            # An extractor's name has no "="; a part with one before any ":" continues the arguments of the last extractor.
            if k and "=" in part.partition(":")[0]:
                parts[-1] += f",{part}"
            else:
                parts.append(part)
    return parts


def build_extractor(name: str, arguments: Mapping[str, object] | None = None) -> Extractor:
    """Build an extractor by its name.

    Args:
        name: a name of `EXTRACTORS`, of a plug-in, or a dotted path.
        arguments: the constructor's arguments; text becomes `int` or `bool` as the signature annotates.

    Raises:
        AvlocError: if the extractor is unknown, lacks such an argument, or rejects a value.

    >>> build_extractor("logmel", {"bands": "40"}).dim
    40
    """
    its_class = extractor_class(name)
    if inspect.isabstract(its_class):
        missing = ", ".join(sorted(its_class.__abstractmethods__))
        raise AvlocError(f"extractor {name}: the class must implement {missing}")
    constructor: Callable[..., Extractor] = its_class
    signature = inspect.signature(constructor).parameters
    typed = {}
    for key, value in with_default_key(name, arguments or {}).items():
        if key not in signature:
            raise AvlocError(
                f"extractor {name} has no argument {key!r}{did_you_mean(str(key), signature)}, it has: "
                f"{', '.join(signature) or 'none'}"
            )
        typed[key] = _converted(name, key, value, signature[key].annotation) if isinstance(value, str) else value
    extractor = constructor(**typed)
    return extractor if name in EXTRACTORS else check_extractor(extractor)


def with_default_key(name: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """Name the argument that was given without a key after the constructor's first parameter."""
    first = next(iter(inspect.signature(extractor_class(name)).parameters), "")
    return {key or first: value for key, value in arguments.items()}


def accepts(name: str, argument: str) -> bool:
    """Tell if an extractor's constructor has an argument of this name."""
    return argument in inspect.signature(extractor_class(name)).parameters


def extractor_class(name: str) -> type[Extractor]:
    """Return the class of a name.

    Args:
        name: as of `build_extractor`.

    Raises:
        AvlocError: if the name is unknown, or leads to something else than an extractor's class.

    >>> extractor_class("logmel").__name__
    'LogMel'
    """
    target: object
    if name in EXTRACTORS:
        module, _, attribute = EXTRACTORS[name].rpartition(".")
        target = getattr(import_module(module), attribute)
    elif "." in name:
        target = import_dotted(name, "a subclass of avloc.feature_extraction.Extractor")
    else:
        target = _load_plugin(name)
    if not (isinstance(target, type) and issubclass(target, Extractor)):
        raise AvlocError(f"extractor {name!r} is not a subclass of avloc.feature_extraction.Extractor")
    return target


def _load_plugin(name: str) -> object:
    plugin = plugins().get(name)
    if plugin is None:
        available = available_extractors()
        raise AvlocError(
            f"unknown extractor {name!r}{did_you_mean(name, available)}, available: {', '.join(available)}"
        )
    try:
        return plugin.load()
    except Exception as error:  # the plug-in's own code, which may raise anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise AvlocError(f"extractor {name!r}: its plug-in {plugin.value} cannot be imported ({reason})") from error


def _converted(name: str, key: str, value: str, annotation: object) -> object:
    """A value from a command line, converted to the type of the constructor's parameter."""
    if annotation in (int, "int"):  # text in a module with postponed annotations
        try:
            return int(value)
        except ValueError as error:
            raise AvlocError(f"extractor {name}: {key} must be a whole number, got {value!r}") from error
    if annotation in (bool, "bool"):
        if value.lower() not in ("true", "false"):
            raise AvlocError(f"extractor {name}: {key} must be true or false, got {value!r}")
        return value.lower() == "true"
    return value

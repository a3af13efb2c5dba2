"""Networks by name: those of the package, and those of installed plug-ins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from avloc.core.suggestions import did_you_mean
from avloc.errors import AvlocError, CheckpointError, one_line
from avloc.io.imports import import_dotted
from avloc.models.network import Network, check_network

PLUGINS = "avloc.networks"
"""The entry-point group of installed networks; a plug-in never takes the place of a network of the package."""

MODELS = {
    "BoundaryTransformer": "avloc.models.boundary_transformer.network",
    "BATFD": "avloc.models.batfd.network",
    "BATFDPlus": "avloc.models.batfd.plus",
}


def network_class(name: str) -> type[Any]:
    """Find a network's class by the name that a checkpoint keeps.

    Only the package and installed plug-ins are asked: a file must not be able to have anything imported.

    Raises:
        CheckpointError: if neither has a network of that name.
    """
    path = network_path(name)
    if name in MODELS:
        return cast(type[Any], getattr(import_module(MODELS[name]), name))
    return as_class(path)


def network_path(name: str) -> str:
    """Return the dotted path of a network of the package or of an installed plug-in.

    Raises:
        CheckpointError: if neither has a network of that name.

    >>> network_path("BATFD")
    'avloc.models.BATFD'
    """
    if name in MODELS:
        return f"avloc.models.{name}"
    plugins = {plugin.name: plugin for plugin in entry_points(group=PLUGINS) if plugin.name not in MODELS}
    if name not in plugins:
        names = [*MODELS, *sorted(plugins)]
        raise CheckpointError(
            f"unknown network {name!r}{did_you_mean(name, names)}, want one of {', '.join(names)}; if it is your own, name "
            f"its class: --network my_package.{name}"
        )
    return plugins[name].value.replace(":", ".")


def as_class(network: object, name: str = "") -> type[Any]:
    """Return a network's class, given as such or by its dotted name.

    Raises:
        AvlocError: if the name cannot be imported, or is no class of a `torch.nn.Module`.
    """
    from torch import nn

    if isinstance(network, str):
        name, network = network, import_dotted(network, "the class of a network")
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        got = (
            f"the class {network.__qualname__}"
            if isinstance(network, type)
            else f"an instance of {type(network).__name__}"
        )
        raise AvlocError(f"{name or 'network'!r}: want the class of a torch.nn.Module, got {got}")
    return network


def build_model(name: str, arguments: Mapping[str, Any], network: type[Any] | str | None = None) -> Network:
    """Make a network.

    Args:
        name: its name, as in a checkpoint.
        arguments: the constructor's.
        network: its class or the class's dotted name, if it is your own.

    Raises:
        CheckpointError: if no such network exists, or it cannot be made from these arguments.
        AvlocError: if your own class has another name, or lacks members of `avloc.models.Network`.

    >>> build_model("BoundaryTransformer", {"audio_dim": 5, "visual_dim": 7, "width": 8, "heads": 2}).arguments["width"]
    8
    """
    made_from = network_class(name) if network is None else as_class(network)
    if made_from.__name__ != name:
        raise AvlocError(f"want the class of a network {name!r}, got {made_from.__module__}.{made_from.__name__}")
    missing = [key for key, value in arguments.items() if isinstance(value, float) and math.isnan(value)]
    if missing:
        raise CheckpointError(f"network {name} cannot be made: its argument {missing[0]} is NaN, want a number")
    try:
        model = made_from(**arguments)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"network {name} cannot be made from {dict(arguments)}: {one_line(error)}") from error
    return check_network(model)

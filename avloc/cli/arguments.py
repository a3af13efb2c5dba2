"""Argument parsing that the verbs share: the parser itself, option types, and groups of options."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from avloc.cli.help_texts import wrap_examples, wrap_text
from avloc.errors import AvlocError
from avloc.inference.settings import LocalizerSettings

VERBS = {
    "demo": "run the whole pipeline on generated clips, with a report",
    "synth": "generate a labelled set of real mp4 files",
    "data": "summarize, check and draw a dataset",
    "extract": "cache the features of a dataset's clips",
    "store": "inspect, verify, export, import and merge feature stores",
    "train": "train a network on cached features, or on the clips",
    "predict": "predict the fake segments of a split of a dataset",
    "evaluate": "score predictions with AP and AR",
    "calibrate": "turn scores into log-likelihood ratios, fitted on labels",
    "fuse": "fuse the clip scores or segments of several systems",
    "submit": "check, repair and zip a challenge submission",
    "localize": "find the fake segments of clips",
    "serve": "serve a web page that localizes uploaded clips",
    "convert": "convert a released checkpoint of BA-TFD or BA-TFD+",
}


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports a wrong input as an `AvlocError` of one line."""

    def error(self, message: str) -> NoReturn:
        raise AvlocError(f"{message} (see avloc {self.prog.removeprefix('avloc ')} --help)")


def parser(verb: str, example: str, *, description: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of a verb.

    Args:
        verb: a key of `VERBS`.
        example: command lines for the end of the help, as `wrap_examples` takes them.
        description: a longer text than the verb's own line.
    """
    return _Parser(
        prog=f"avloc {verb}",
        description=wrap_text(description or VERBS[verb]),
        epilog=f"example:\n{wrap_examples(example)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, description: str, example: str
) -> argparse.ArgumentParser:
    """Add an action of a verb, such as `avloc store ls`, whose help ends with an example."""
    return actions.add_parser(
        name,
        help=description,
        description=wrap_text(description),
        epilog=f"example:\n{wrap_examples(example)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    return _at_least(1, text)


def whole(text: str) -> int:
    """Parse a whole number of at least 0."""
    return _at_least(0, text)


def _at_least(smallest: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = smallest - 1
    if value < smallest:
        raise argparse.ArgumentTypeError(f"want a whole number of at least {smallest}, got {text!r}")
    return value


def number(smallest: float = -math.inf, largest: float = math.inf) -> Callable[[str], float]:
    """Make an option type for a number from `smallest` to `largest`; NaN and infinity are none.

    >>> number(0, 1)("0.25")
    0.25
    """
    bounds = f" within {smallest:g} and {largest:g}" if largest < math.inf else f" of at least {smallest:g}"
    expected = f"want a number{bounds if smallest > -math.inf else ''}"
    return lambda text: _finite(text, expected, lambda value: smallest <= value <= largest)


def above_zero(text: str) -> float:
    """Parse a number above 0; NaN and infinity are none."""
    return _finite(text, "want a number above 0", lambda value: value > 0)


def _finite(text: str, expected: str, is_valid: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and is_valid(value)):
        raise argparse.ArgumentTypeError(f"{expected}, got {text!r}")
    return value


score = number(0, 1)
"""The option type of a score, such as a threshold."""
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def duration(text: str) -> float:
    """Parse a length of time in seconds, minutes or hours.

    >>> duration("90m"), duration("6h"), duration("45.5"), duration("45.5s")
    (5400.0, 21600.0, 45.5, 45.5)
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SECONDS else (text, "s")
    try:
        seconds = float(number) * _SECONDS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"want a length of time above 0, as 90m, 6h or 45 (seconds), got {text!r}")
    return seconds


def add_longest_option(options: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--longest`, the limit of a clip's length."""
    options.add_argument(
        "--longest",
        type=duration,
        default="6h",
        metavar="T",
        help="refuse clips that are longer, or claim to be, as 90m, 6h or 45 (seconds) (default: 6h)",
    )


def path(text: str) -> Path:
    """Parse a path; `~` stands for the home folder."""
    return Path(text).expanduser()


def output(text: str) -> Path:
    """Parse the path of a file to write.

    It is checked while options are parsed, so that work is not done for nothing.
    """
    file = path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a folder, want the name of a file to write")
    if file.exists() and not file.is_file():  # a file that is renamed would take the place of the device or pipe
        raise argparse.ArgumentTypeError(f"{text}: is a device or a pipe, want the name of a file to write")
    folder = next((parent for parent in file.absolute().parents if parent.exists()), file.parent)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: cannot be written, {folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: cannot be written, no right to write in {folder}")
    return file


def existing(what: str) -> Callable[[str], Path]:
    """Make an option type for a path that must exist; `what` names it in the error.

    Such a path is checked while options are parsed, before anything heavy is imported.
    """

    def parse(text: str) -> Path:
        if not path(text).exists():
            raise argparse.ArgumentTypeError(f"{text}: no such {what}")
        return path(text)

    return parse


def default_workers() -> int:
    """One worker per core that this process may use."""
    from avloc.io.processes import available_cores

    return available_cores()


def pop_localizer_settings(namespace: argparse.Namespace) -> LocalizerSettings:
    """Take the options that `add_localizer_options` added out of a namespace."""
    values = {field.name: vars(namespace).pop(field.name) for field in fields(LocalizerSettings)}
    values |= {"own_extractors": tuple(values["own_extractors"]), "weights": dict(values["weights"])}
    settings = LocalizerSettings(**values)
    settings.check()
    return settings


def add_localizer_options(options: argparse.ArgumentParser, streams: str = "the streams that a clip has") -> None:
    """Add the options of `avloc.inference.settings.LocalizerSettings`.

    Args:
        options: the parser.
        streams: the default of `--streams`, for the help.
    """
    add_checkpoint_option(options, streams)
    add_weights_option(options)
    add_network_options(options)


def add_checkpoint_option(options: argparse.ArgumentParser, streams: str) -> None:
    """Add `--checkpoint` and `--streams` (with its default), and `--network` and `--extractor` for your own classes."""
    from avloc.models.packaged import STREAMS, packaged_description

    options.add_argument(
        "--checkpoint",
        type=existing("checkpoint"),
        help="a file that `avloc train` or `avloc convert` wrote (default: the networks that come with avloc, trained only "
        f"on {packaged_description().scope})",
    )
    options.add_argument(
        "--streams",
        choices=STREAMS,
        help="judge both streams, or one alone, by the network of the package that was trained for them (default: "
        f"{streams})",
    )
    options.add_argument(
        "--network",
        metavar="my_package.MyNet",
        help="the class of the checkpoint's network, if it is your own; a checkpoint never names code to import",
    )
    options.add_argument(
        "--extractor",
        dest="own_extractors",
        action="append",
        default=[],
        metavar="my_package.MyExtractor",
        help="the class of an extractor of your own that the network was trained on; may be repeated",
    )


def add_weights_option(options: argparse.ArgumentParser) -> None:
    """Add `--weights NAME=FILE`, for checkpoints of networks on pretrained extractors."""
    options.add_argument(
        "--weights",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=FILE",
        help="the weights file of an extractor that the network was trained on, as r3d_18=r3d_18.pth; may be repeated",
    )


def _assignment(text: str) -> tuple[str, Path]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"want NAME=FILE, got {text!r}")
    return name, path(value)


def add_network_options(options: argparse.ArgumentParser) -> None:
    """Add `--device`, `--precision` and `--decoding`, for verbs that run a network."""
    from avloc.heads.maps import DECODINGS

    options.add_argument("--device", default="cpu", help="cpu, cuda, … (default: cpu)")
    options.add_argument(
        "--precision",
        default="32",
        choices=("32", "bf16", "16"),
        help="precision of the network: 32, or mixed with bf16 or 16 bits, which is faster on most GPUs (default: 32)",
    )
    options.add_argument(
        "--decoding",
        choices=DECODINGS,
        help="decoding of the boundary maps of BA-TFD and BA-TFD+, instead of the checkpoint's own: aligned gives each cell "
        "the segment it was trained as; published gives the one of the published code, a frame shorter",
    )


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options of a verb whose work is divided among tasks, devices or machines.

    Attributes:
        engine: `local` or `ray`.
        shard: (i, n): task i of a job array of n.
        ray_address: address of a Ray cluster.
        ray_gpus: GPUs per Ray task.
        ray_wheel: a wheel of avloc for the nodes.
    """

    engine: str
    shard: tuple[int, int]
    ray_address: str | None
    ray_gpus: float
    ray_wheel: str | None

    @classmethod
    def pop(cls, namespace: argparse.Namespace) -> EngineOptions:
        """Take the options that `add_engine_options` added out of a namespace."""
        return cls(**{field.name: vars(namespace).pop(field.name) for field in fields(cls)})

    def build(self, devices: Sequence[str], **arguments: Any) -> Callable[..., Iterator[Any]]:
        """Return the engine, called with specs and settings.

        Args:
            devices: of the local engine.
            arguments: further ones of the engine.

        Raises:
            AvlocError: if several devices are named for Ray.
        """
        from avloc.feature_extraction.job.engines import local

        if self.engine == "local":
            return partial(local.run, devices=devices, **arguments)
        from avloc.feature_extraction.job.engines import ray

        if len(devices) > 1:
            raise AvlocError(
                "--engine ray: name one --device, because each task sees its own GPUs; --ray-gpus sets their number per task"
            )
        return partial(ray.run, address=self.ray_address, gpus=self.ray_gpus, wheel=self.ray_wheel, **arguments)


def add_engine_options(options: argparse.ArgumentParser | argparse._ArgumentGroup, unit: str) -> None:
    """Add the options of `EngineOptions`.

    Args:
        options: the parser.
        unit: the noun of the units of work in the help.
    """
    options.add_argument(
        "--shard",
        type=_shard,
        default="0/1",
        metavar="i/n",
        help=f"make only every n-th {unit} from the i-th on, counted from 0 (default: 0/1, all)",
    )
    options.add_argument(
        "--engine", default="local", choices=["local", "ray"], help=f"engine that runs the {unit}s (default: local)"
    )
    options.add_argument(
        "--ray-address", help="address of a Ray cluster (default: RAY_ADDRESS, or a new one on this machine)"
    )
    options.add_argument(
        "--ray-gpus", type=number(0), default=0.0, metavar="F", help="GPUs per Ray task, as 0.5 (default: 0)"
    )
    options.add_argument(
        "--ray-wheel", metavar="WHEEL", help="wheel of avloc to install on nodes that lack it (default: none)"
    )


def add_timeout_option(options: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--timeout`, the longest silence of a process that works on a clip."""
    options.add_argument(
        "--timeout",
        type=duration,
        default=300.0,
        metavar="S",
        help="give up on a clip after this many seconds without progress (default: 300)",
    )


def devices(text: str) -> list[str]:
    """Split the names of devices: `cuda:0,cuda:1`."""
    return [name.strip() for name in text.split(",") if name.strip()] or ["cpu"]


def _shard(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    try:
        return int(first), int(second)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"want i/n, as in 0/8, got {text!r}") from error


def add_dataset_options(options: argparse.ArgumentParser) -> None:
    """Add `--dataset` and `--root`."""
    from avloc.datasets.readers.catalog import DATASETS

    options.add_argument(
        "--dataset",
        required=True,
        help=f"layout of the dataset: {', '.join(DATASETS)}, or your own reader as my_package.MyDataset",
    )
    options.add_argument("--root", required=True, type=existing("folder"), help="folder of the dataset")

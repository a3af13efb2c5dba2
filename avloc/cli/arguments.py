"""Argument parsing that the verbs share: the parser itself, option types, and groups of options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.inference.localizer import Localizer


VERBS = {
    "demo": "run the whole pipeline on generated clips, with a report",
    "synth": "generate a labelled set of real mp4 files",
    "data": "summarize, check and draw a dataset",
    "extract": "cache the features of a dataset's clips",
    "store": "inspect, verify, export, import and merge feature stores",
    "train": "train a network on cached features, or on the clips",
    "predict": "predict the fake segments of a split of a dataset",
    "evaluate": "score predictions with AP and AR",
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
        example: command lines for the end of the help.
        description: a longer text than the verb's own line.
    """
    return _Parser(
        prog=f"avloc {verb}",
        description=description or VERBS[verb],
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"want a whole number of at least 1, got {text!r}")
    return value


def path(text: str) -> Path:
    """Parse a path; `~` stands for the home folder."""
    return Path(text).expanduser()


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
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class LocalizerOptions:
    """The options of a verb that runs a network.

    Attributes:
        checkpoint: the checkpoint.
        network: dotted name of the network's class, if it is the user's own.
        own_extractors: dotted names of the user's own extractors.
        weights: by extractor, the file of its weights.
        device: device of the network.
        precision: `32`, `bf16` or `16`.
        decoding: decoding of boundary maps; None: the checkpoint's own.
    """

    checkpoint: Path
    network: str | None
    own_extractors: tuple[str, ...]
    weights: Mapping[str, Path]
    device: str
    precision: str
    decoding: str | None

    @classmethod
    def pop(cls, namespace: argparse.Namespace) -> LocalizerOptions:
        """Take the options that `add_localizer_options` added out of a namespace."""
        values = {field.name: vars(namespace).pop(field.name) for field in fields(cls)}
        values |= {"own_extractors": tuple(values["own_extractors"]), "weights": dict(values["weights"])}
        return cls(**values)

    def load(self) -> Localizer:
        """Load the checkpoint on its device.

        Raises:
            AvlocError: if the device cannot be used, or the checkpoint cannot be loaded.
        """
        from avloc.inference.localizer import Localizer, require_device

        return Localizer.from_checkpoint(
            self.checkpoint,
            device=require_device(self.device),
            weights=self.weights,
            precision=self.precision,
            decoding=self.decoding,
            network=self.network,
            own_extractors=self.own_extractors,
        )


def add_localizer_options(options: argparse.ArgumentParser) -> None:
    """Add the options of `LocalizerOptions`."""
    add_checkpoint_option(options)
    add_weights_option(options)
    add_network_options(options)


def add_checkpoint_option(options: argparse.ArgumentParser) -> None:
    """Add `--checkpoint`, and `--network` and `--extractor` for your own classes."""
    options.add_argument(
        "--checkpoint",
        required=True,
        type=existing("checkpoint"),
        help="a file that `avloc train` or `avloc convert` wrote",
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


def add_dataset_options(options: argparse.ArgumentParser) -> None:
    """Add `--dataset` and `--root`."""
    from avloc.datasets.readers.catalog import DATASETS

    options.add_argument(
        "--dataset",
        required=True,
        help=f"layout of the dataset: {', '.join(DATASETS)}, or your own reader as my_package.MyDataset",
    )
    options.add_argument("--root", required=True, type=existing("folder"), help="folder of the dataset")

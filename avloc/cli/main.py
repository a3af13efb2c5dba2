"""`avloc VERB …`: finds the verb, and turns a wrong input into one line and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from avloc import __version__
from avloc.errors import AvlocError

VERBS = {
    "demo": "everything below, on generated clips, with a report",
    "synth": "generate a labelled set of real mp4 files",
    "data": "what is in a dataset, what is wrong with it, what it looks like",
    "extract": "cache the features of a dataset's clips",
    "store": "what is in a feature store, whether it is right; to and from .npy files; several into one",
    "train": "train a network on cached features, or on the clips",
    "predict": "write predictions for a split of a dataset",
    "evaluate": "score predictions with AP and AR",
    "submit": "check, repair and zip a challenge submission",
    "localize": "find the fake segments of clips",
    "serve": "a web page on which clips are localized",
    "convert": "make a checkpoint of ours from a released one of BA-TFD or BA-TFD+",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb: 0 done, 1 work failed or done with failures recorded, 2 wrong input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"avloc {__version__}")
        return 0
    verb = words[0]
    if verb not in VERBS:
        print(f"avloc: error: unknown command {verb!r}, there are: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        return int(import_module(f"avloc.cli.{verb}").run(words[1:]))
    except AvlocError as error:
        print(f"avloc {verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"avloc {verb}: error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"avloc {verb}: stopped; what is finished is kept, run it again to go on", file=sys.stderr)
        return 130


def entry() -> None:
    """The console script."""
    sys.exit(main())


def _help() -> str:
    verbs = "\n".join(f"  {verb:10} {text}" for verb, text in VERBS.items())
    return (
        "usage: avloc COMMAND …\n\nAudio-visual temporal forgery localization: when does a video lie?\n\n"
        f"commands:\n{verbs}\n\n`avloc COMMAND --help` explains one, with an example. `avloc --version` says which this is."
    )


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like everything else here."""

    def error(self, message: str) -> NoReturn:
        raise AvlocError(f"{message} (avloc {self.prog.removeprefix('avloc ')} --help explains)")


def parser(verb: str, example: str, *, description: str | None = None) -> argparse.ArgumentParser:
    """The parser of a verb, with its example at the end of the help."""
    return _Parser(
        prog=f"avloc {verb}",
        description=description or VERBS[verb],
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive(text: str) -> int:
    """An option's whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"want a whole number of at least 1, got {text!r}")
    return value


def default_workers() -> int:
    """As many processes as there are cores for us."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_weights_option(options: argparse.ArgumentParser) -> None:
    """`--weights NAME=FILE`, for checkpoints of networks on pretrained extractors."""
    options.add_argument(
        "--weights", action="append", default=[], type=_assignment, metavar="NAME=FILE",
        help="the weights file of an extractor that the network was trained on, as r3d_18=r3d_18.pth; may be repeated",
    )  # fmt: skip


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"want NAME=FILE, got {text!r}")
    return name, value


def add_network_options(options: argparse.ArgumentParser) -> None:
    """`--device`, `--precision` and `--decoding`, for verbs that run a network."""
    from avloc.heads.maps import DECODINGS

    options.add_argument("--device", default="cpu", help="cpu, cuda, … (default cpu)")
    options.add_argument(
        "--precision", default="32", choices=("32", "bf16", "16"),
        help="of the network: 32, or mixed with bf16 or 16 bits, which is faster on GPUs that have it (default 32)",
    )  # fmt: skip
    options.add_argument(
        "--decoding", choices=DECODINGS,
        help="of the boundary maps of BA-TFD and BA-TFD+, instead of the checkpoint's own: aligned gives a cell the segment "
        "that it was trained as, published the one that the published code gives it, a frame shorter",
    )  # fmt: skip


def add_dataset_options(options: argparse.ArgumentParser) -> None:
    """`--dataset` and `--root`, the same for every verb."""
    from avloc.datasets.readers.catalog import DATASETS

    options.add_argument("--dataset", required=True, help=f"its layout: {', '.join(DATASETS)}")
    options.add_argument("--root", required=True, help="the dataset's folder")

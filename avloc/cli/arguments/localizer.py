"""Options of the verbs that run a network, as `LocalizerSettings`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from avloc.cli.arguments.values import existing_file, open_share, path
from avloc.core.calibration import PRIOR
from avloc.inference.settings import LocalizerSettings


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
        type=existing_file("checkpoint"),
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
        help="the class of the checkpoint's network, if it is your own; a checkpoint never names code to import "
        "(default: a network of avloc)",
    )
    options.add_argument(
        "--extractor",
        dest="own_extractors",
        action="append",
        default=[],
        metavar="my_package.MyExtractor",
        help="the class of an extractor of your own that the network was trained on; may be repeated (default: none)",
    )


def add_prior_option(options: argparse.ArgumentParser) -> None:
    """Add `--prior`."""
    options.add_argument(
        "--prior",
        type=open_share,
        default=PRIOR,
        metavar="P",
        help="probability that a clip is forged, before the network is asked, as 0.01 where forgeries are rare; the evidence "
        f"(log-likelihood ratio) does not depend on it, all probabilities do (default: {PRIOR:g})",
    )


def add_weights_option(options: argparse.ArgumentParser) -> None:
    """Add `--weights NAME=FILE`, for checkpoints of networks on pretrained extractors."""
    options.add_argument(
        "--weights",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=FILE",
        help="the weights file of an extractor that the network was trained on, as r3d_18=r3d_18.pth; may be repeated "
        "(default: none)",
    )


def _assignment(text: str) -> tuple[str, Path]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"want NAME=FILE, got {text!r}")
    return name, path(value)


def add_network_options(options: argparse.ArgumentParser) -> None:
    """Add `--device`, `--precision` and `--decoding`, for verbs that run a network."""
    from avloc.heads.maps import DECODINGS

    options.add_argument(
        "--device", default="cpu", help="of the network: cpu, cuda, …; features are computed on the CPU (default: cpu)"
    )
    options.add_argument(
        "--precision",
        default="32",
        choices=("32", "bf16", "16"),
        help="precision of the network: 32, or mixed with bf16 or 16 bits, which is faster on most GPUs (default: 32)",
    )
    options.add_argument(
        "--decoding",
        choices=DECODINGS,
        help="decoding of the boundary maps of BA-TFD and BA-TFD+: aligned gives each cell "
        "the segment it was trained as; published gives the one of the published code, a frame shorter "
        "(default: the checkpoint's own)",
    )

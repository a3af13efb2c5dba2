"""`avloc info`: a file or folder > its kind, its content, and the next commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import existing, output

EXAMPLE = """avloc info demo/checkpoint.ckpt
  avloc info features
  avloc info timelines/suspicious.json
  avloc info LAV-DF --json overview.json"""
DESCRIPTION = (
    "Tell what a file or folder is, what is in it, and what to do with it next: a checkpoint, a training run, a feature store, a "
    "clip, a dataset, metadata or labels, predictions, a result, a calibration, a fusion, tuned settings, scores."
)


@dataclass(frozen=True, slots=True)
class InfoOptions:
    """The options of `avloc info`.

    Attributes:
        path: the file or folder.
        json: a file for the description, or None.
    """

    path: Path
    json: Path | None


def parse(arguments: Sequence[str]) -> InfoOptions:
    """Parse the command line."""
    options = parser("info", EXAMPLE, description=DESCRIPTION)
    options.add_argument("path", type=existing("file or folder"), metavar="FILE|FOLDER", help="the file or folder")
    options.add_argument("--json", type=output, help="write the description to this file (default: none)")
    return InfoOptions(**vars(options.parse_args(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Describe a file or folder."""
    options = parse(arguments)
    from avloc.cli.info.detectors import detect
    from avloc.io.files import write_json

    kind, description = detect(options.path)
    print(description.text(options.path))
    if options.json is not None:
        write_json(options.json, description.to_dict(options.path, kind))
    return 0

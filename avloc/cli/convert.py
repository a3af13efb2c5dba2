"""`avloc convert`: a released checkpoint of BA-TFD or BA-TFD+ > a checkpoint of avloc; predictions > another program's form."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import existing_file, output
from avloc.core.descriptions import ClipInputFormat, Fit, TrainingContext
from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError, shown

if TYPE_CHECKING:
    from avloc.heads.maps import MapDecoding
    from avloc.models.batfd.published import ConvertedCheckpoint


EXAMPLE = """avloc convert batfd_plus_default.ckpt --out batfd_plus.ckpt
  avloc convert predictions.json --out predictions.rttm
  avloc convert predictions.json --out results.json --form activitynet --strip-suffix .mp4"""
PREDICTION_SUFFIXES = (".json", ".pkl", ".pickle", ".rttm")


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """The options of `avloc convert`; see its help."""

    published: Path
    out: Path
    decoding: MapDecoding
    fit: Fit
    allow_missing: bool
    form: str | None
    strip_suffix: str


def parse(arguments: Sequence[str]) -> ConvertOptions:
    """Parse the command line."""
    from avloc.evaluation.predictions import FORMS
    from avloc.heads.maps import DECODINGS

    options = parser("convert", EXAMPLE)
    options.add_argument(
        "published",
        type=existing_file("checkpoint or prediction file"),
        help="a Lightning checkpoint with state_dict and hyper_parameters; or predictions (.json, .pkl, .rttm)",
    )
    options.add_argument(
        "--out",
        type=output,
        required=True,
        help="the checkpoint to write, for `avloc localize` and `avloc predict`; or the predictions",
    )
    options.add_argument(
        "--form",
        choices=FORMS,
        help="form of the predictions: avloc's json, ActivityNet's (OpenTAD), the pickle of ActionFormer and UMMAFormer, or RTTM "
        "(default: by the suffix of --out, avloc for .json)",
    )
    options.add_argument(
        "--strip-suffix",
        metavar="TEXT",
        default="",
        help="ending of the clips' names to leave out of the predictions, as .mp4 (default: none)",
    )
    options.add_argument(
        "--decoding",
        default="aligned",
        choices=DECODINGS,
        help="decoding of the boundary maps: aligned gives each cell the segment it was trained as; published gives the one of "
        "the published code, a frame shorter (default: aligned)",
    )
    options.add_argument(
        "--fit",
        default="pad",
        choices=get_args(Fit),
        help="how clips are brought to the network's length: pad cuts or pads them (as on LAV-DF), squeeze resamples them "
        "(as on AV-Deepfake1M) (default: pad)",
    )
    options.add_argument(
        "--allow-missing", action="store_true", help="continue if tensors are missing or unexpected; they are listed"
    )
    return ConvertOptions(**vars(options.parse_args(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Convert, and list the tensors that are missing or unexpected."""
    options = parse(arguments)
    if options.out.exists() and options.out.resolve() == options.published.resolve():
        raise AvlocError(f"{options.out}: is the given file itself and would be overwritten; name another --out")
    if options.published.suffix in PREDICTION_SUFFIXES:
        _convert_predictions(options)
        return 0
    if options.form is not None or options.strip_suffix:
        raise AvlocError(
            f"{options.published}: --form and --strip-suffix are for predictions ({', '.join(PREDICTION_SUFFIXES)})"
        )
    converted = _convert(options)
    for kind, names in (("missing", converted.missing), ("unexpected", converted.unexpected)):
        for name in names:
            print(f"  {kind}: {name}")
    print(f"{options.out}: {converted.report()}")
    return 1 if converted.missing or converted.unexpected else 0


def _convert_predictions(options: ConvertOptions) -> None:
    """Write predictions in another form, and print their counts and the reader's notes."""
    from avloc.evaluation.predictions import form_of_suffix, read_predictions, save_as

    predictions = read_predictions(options.published)
    names = [file.removesuffix(options.strip_suffix) for file in predictions.files]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise AvlocError(
            f"{options.published}: without {options.strip_suffix} several clips are named {shown(repeated)}"
        )
    if options.form is None and options.out.suffix not in PREDICTION_SUFFIXES:
        raise AvlocError(
            f"--out {options.out}: predictions are written as {', '.join(PREDICTION_SUFFIXES)}; name such a file, or the --form"
        )
    form = options.form or form_of_suffix(options.out)
    save_as(options.out, replace(predictions, files=names), form)
    print(f"{shown(options.out)}: {len(names)} clips, {len(predictions.rows.scores)} rows, as {form}")
    for note in predictions.notes:
        print(f"note: {shown(options.published)}: {note}", file=sys.stderr)


def _convert(options: ConvertOptions) -> ConvertedCheckpoint:
    from avloc.models.batfd.published import read_published
    from avloc.models.checkpoint import write_checkpoint

    strict = not options.allow_missing
    network, converted = read_published(options.published, decoding=options.decoding, strict=strict)
    clips = ClipInputFormat(frames=int(network.frames), fit=options.fit)
    write_checkpoint(options.out, network, TrainingContext(hop_s=1 / DEFAULT_FPS, clips=clips))
    return converted

"""`avloc convert`: a released checkpoint of BA-TFD or BA-TFD+ > a checkpoint of avloc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import existing, path
from avloc.core.descriptions import ClipInputFormat, Fit, TrainingContext
from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.heads.maps import MapDecoding
    from avloc.models.batfd.published import ConvertedCheckpoint


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """The options of `avloc convert`; see its help."""

    published: Path
    out: Path
    decoding: MapDecoding
    fit: Fit
    allow_missing: bool


def parse(arguments: Sequence[str]) -> ConvertOptions:
    """Parse the command line."""
    from avloc.heads.maps import DECODINGS

    options = parser("convert", "avloc convert batfd_plus_default.ckpt --out batfd_plus.ckpt")
    options.add_argument(
        "published", type=existing("checkpoint"), help="a Lightning checkpoint with state_dict and hyper_parameters"
    )
    options.add_argument(
        "--out", type=path, required=True, help="the checkpoint to write, for `avloc localize` and `avloc predict`"
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
        raise AvlocError(f"{options.out}: is the checkpoint itself and would be overwritten; name another --out")
    converted = _convert(options)
    for kind, names in (("missing", converted.missing), ("unexpected", converted.unexpected)):
        for name in names:
            print(f"  {kind}: {name}")
    print(f"{options.out}: {converted.report()}")
    return 1 if converted.missing or converted.unexpected else 0


def _convert(options: ConvertOptions) -> ConvertedCheckpoint:
    from avloc.models.batfd.published import read_published
    from avloc.models.checkpoint import write_checkpoint

    strict = not options.allow_missing
    network, converted = read_published(options.published, decoding=options.decoding, strict=strict)
    clips = ClipInputFormat(frames=int(network.frames), fit=options.fit)
    write_checkpoint(options.out, network, TrainingContext(hop_s=1 / DEFAULT_FPS, clips=clips))
    return converted

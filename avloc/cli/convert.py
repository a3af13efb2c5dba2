"""`avloc convert`: a released checkpoint of BA-TFD or BA-TFD+ > one of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avloc.cli.main import parser
from avloc.errors import AvlocError


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    from avloc.datasets.loading.clips import FITS
    from avloc.heads.maps import DECODINGS

    options = parser("convert", "avloc convert batfd_plus_default.ckpt --out batfd_plus.ckpt")
    options.add_argument("published", type=Path, help="a Lightning checkpoint with state_dict and hyper_parameters")
    options.add_argument("--out", type=Path, required=True, help="where to; `avloc localize` and `predict` take it")
    options.add_argument(
        "--decoding", default="aligned", choices=DECODINGS,
        help="of the boundary maps: aligned gives each cell the segment that it was trained as, published the one that the "
        "published code gives it, a frame shorter (default aligned)",
    )  # fmt: skip
    options.add_argument(
        "--fit", default="pad", choices=FITS,
        help="how clips come to the network's length: pad cuts or pads them (as on LAV-DF), squeeze resamples them (as on "
        "AV-Deepfake1M) (default pad)",
    )  # fmt: skip
    options.add_argument(
        "--allow-missing", action="store_true", help="go on if names are missing or unexpected; they are listed"
    )
    given = options.parse_args(arguments)

    from avloc.core.timeline import DEFAULT_FPS
    from avloc.models.batfd.published import read_published
    from avloc.models.checkpoint import write_checkpoint

    if given.out.exists() and given.out.resolve() == given.published.resolve():
        raise AvlocError(f"{given.out}: is the checkpoint itself and would be written over; name another --out")
    network, found = read_published(given.published, decoding=given.decoding, strict=not given.allow_missing)
    clips = {"frames": int(network.frames), "fit": given.fit}
    write_checkpoint(given.out, network, {"hop_s": 1 / DEFAULT_FPS, "extractors": [], "clips": clips})
    for what, names in (("missing", found.missing), ("unexpected", found.unexpected)):
        for name in names:
            print(f"  {what}: {name}")
    print(f"{given.out}: {found.report()}")
    return 1 if found.missing or found.unexpected else 0

"""`avloc synth`: generate a labelled set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avloc.cli.main import default_workers, parser, positive


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    options = parser("synth", "avloc synth clips --layout lavdf --clips 200 --seed 7")
    options.add_argument("out", type=Path, help="the new dataset's folder")
    options.add_argument("--layout", required=True, help="lavdf, avdeepfake1m or avdeepfake1m++")
    options.add_argument("--clips", type=int, required=True, help="how many, at least 9")
    options.add_argument("--seed", type=int, default=0, help="the same seed gives the same files (default 0)")
    options.add_argument(
        "--speech", help="a folder of recordings, one sub-folder per speaker, instead of the bundled ones"
    )
    options.add_argument(
        "--traps", action="store_true",
        help="plant the known traps of real sets: no sound, 30 fps, a truncated file, a segment past the end, an odd name, "
        "contradicting lists (listed in traps.json)",
    )  # fmt: skip
    options.add_argument(
        "--workers", type=positive, default=default_workers(), help="processes (default: one per core)"
    )
    given = options.parse_args(arguments)

    from tqdm import tqdm

    from avloc.datasets.synthetic.generate import synthesize

    with tqdm(total=given.clips, unit="clip", desc="synth", disable=None) as bar:
        records = synthesize(
            given.out, layout=given.layout, clips=given.clips, seed=given.seed, speech=given.speech,
            traps=given.traps, workers=given.workers, progress=bar.update,
        )  # fmt: skip
    seconds = sum(r.duration_s or 0 for r in records)
    fake = sum(bool(r.segments) for r in records)
    print(f"{given.out}: {len(records)} clips ({fake} with forged words), {seconds / 60:.1f} minutes")
    return 0

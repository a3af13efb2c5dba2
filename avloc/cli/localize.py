"""`avloc localize`: clips > json and a timeline each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.main import add_network_options, add_weights_option, parser, positive

if TYPE_CHECKING:
    from avloc.inference import Localization

SCHEMA = "avloc.localization"


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    options = parser("localize", "avloc localize suspicious.mp4 --checkpoint demo/checkpoint.ckpt --out timelines")
    options.add_argument("clips", type=Path, nargs="+", metavar="CLIP", help="any file that PyAV reads")
    options.add_argument("--checkpoint", required=True, help="what `avloc train` or `avloc convert` wrote")
    options.add_argument("--out", type=Path, default=Path("."), help="where NAME.json and NAME.png go (default: here)")
    options.add_argument(
        "--keep", type=positive, default=100, help="segments at the most, per 40 s of a clip (default 100)"
    )
    options.add_argument("--threshold", type=float, default=0.2, help="lowest score that is printed (default 0.2)")
    add_weights_option(options)
    add_network_options(options)
    given = options.parse_args(arguments)

    from tqdm import tqdm

    from avloc.errors import AvlocError
    from avloc.files import write_json
    from avloc.inference import Localizer, require_device
    from avloc.timeline_plot import save_timeline

    device = require_device(given.device)
    localizer = Localizer.from_checkpoint(
        given.checkpoint, device=device, weights=dict(given.weights), precision=given.precision, decoding=given.decoding
    )
    localizer.source.prepare()  # what is missing is said before anything is decoded
    stems = [clip.stem for clip in given.clips]
    if len(set(stems)) < len(stems):
        twice = next(s for k, s in enumerate(stems) if s in stems[:k])
        raise AvlocError(f"two clips would both be written as {twice}.json; localize them into different folders")
    for clip in given.clips:
        _spare(given.out / f"{clip.stem}.json", given.out / f"{clip.stem}.png", given.clips)
    failed = []
    for clip in tqdm(given.clips, unit="clip", desc="localize", disable=None if len(given.clips) > 1 else True):
        try:
            found = localizer.localize(clip, keep=given.keep)
        except AvlocError as error:
            failed.append(str(error))
            continue
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / f"{clip.stem}.json", found.to_dict())
        save_timeline(found, given.out / f"{clip.stem}.png")
        _print(found, given.threshold, given.out / f"{clip.stem}.png")
    for message in failed:
        print(f"avloc localize: error: {message}", file=sys.stderr)
    return 2 if len(failed) == len(given.clips) else 1 if failed else 0


def _spare(table: Path, picture: Path, clips: Sequence[Path]) -> None:
    """Refuse to write over a clip, or over files that are not ours."""
    from avloc.errors import AvlocError

    inputs = {clip.resolve() for clip in clips}
    ours = table.is_file() and SCHEMA.encode() in table.read_bytes()[:200]
    for path in (table, picture):
        if path.resolve() in inputs:
            raise AvlocError(f"{path}: is one of the clips and would be written over; name another --out")
        if path.exists() and not ours:
            raise AvlocError(f"{path}: is there and was not written by avloc localize; name another --out")


def _print(found: Localization, threshold: float, picture: Path) -> None:
    shown = [row for row in found.rows() if row["score"] >= threshold]
    print(
        f"{found.file}: {found.duration_s:.2f} s, {len(shown)} segments with a score of {threshold:g} or more → {picture}"
    )
    for problem in found.problems:
        print(f"  note: {problem}")
    for row in sorted(shown, key=lambda r: r["start"]):
        print(f"  {row['start']:8.2f} – {row['end']:8.2f} s   score {row['score']:.2f}   {row['modality']}")

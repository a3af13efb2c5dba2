"""The twelve small clips of the package: a generated set's test clips > the shortest of each kind > small files with labels.

    python benchmarks/localization/make_examples.py

The rule of the choice does not look at any network: of a generated set with a seed of its own, the shortest test clips of each
kind, in the best quality that fits into `MOST_BYTES`. The speech is the package's own, so its licences hold for the clips.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from avloc.core.records import MODALITIES, VideoRecord
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.synthetic.encode import write_mp4
from avloc.datasets.synthetic.examples import examples_folder
from avloc.datasets.synthetic.generate import SIZE, synthesize
from avloc.errors import AvlocError
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import VideoFormat
from avloc.io.files import write_text

SEED, SET_CLIPS = 20_261, 96
MOST_BYTES = 90_000
QUALITIES = (20, 22, 24, 26, 28, 30, 32, 34)  # x264's crf, the best first
AUDIO_BIT_RATE = 48_000


class Role(NamedTuple):
    """A clip of the package.

    Attributes:
        name: of the file.
        modality: forged modality: `real`, `audio`, `visual` or `both`.
        streams: those that the file has.
    """

    name: str
    modality: str
    streams: tuple[str, ...] = MODALITIES


ROLES = (
    Role("both-1", "both"),
    Role("both-2", "both"),
    Role("audio-1", "audio"),
    Role("audio-2", "audio"),
    Role("audio-sound-alone", "audio", ("audio",)),
    Role("visual-1", "visual"),
    Role("visual-2", "visual"),
    Role("visual-picture-alone", "visual", ("visual",)),
    Role("real-1", "real"),
    Role("real-2", "real"),
    Role("real-3", "real"),
    Role("real-sound-alone", "real", ("audio",)),
)


def choose(records: Sequence[VideoRecord]) -> dict[Role, VideoRecord]:
    """Give each role the shortest clip of its kind that no earlier role has.

    Raises:
        AvlocError: if there are too few clips of a kind.
    """
    shortest = sorted(records, key=lambda record: (record.duration_s or 0.0, record.file))
    chosen: dict[Role, VideoRecord] = {}
    for role in ROLES:
        left = [r for r in shortest if r.modality == role.modality and r not in chosen.values()]
        if not left:
            raise AvlocError(f"too few clips with the forged modality {role.modality!r} for {role.name}")
        chosen[role] = left[0]
    return chosen


def shrink(clip: Path, out: Path, streams: Sequence[str]) -> None:
    """Encode a clip again with some of its streams, in the best quality of at most `MOST_BYTES`.

    Raises:
        AvlocError: if no quality is small enough.
    """
    shape = VideoFormat(SIZE, SIZE)
    decoded = decode(clip, [shape])
    frames = decoded.frames[shape] if "visual" in streams else None
    samples = decoded.samples if "audio" in streams else None
    for crf in QUALITIES:
        write_mp4(out, frames, samples, crf=crf, audio_bit_rate=AUDIO_BIT_RATE)
        if out.stat().st_size <= MOST_BYTES:
            return
    raise AvlocError(f"{out}: {out.stat().st_size} bytes at the lowest quality, want at most {MOST_BYTES}")


def labels_csv(chosen: dict[Role, VideoRecord]) -> str:
    """Format `labels.csv` of the layout `folder`: a row per segment; a real clip has none."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("file", "start", "end", "modality"))
    for role, record in chosen.items():
        for modality in MODALITIES:
            for segment in record.modality_segments(modality):
                writer.writerow((f"{role.name}.mp4", segment.start_s, segment.end_s, modality))
    return buffer.getvalue()


def make(out: Path, work: Path, clips: int = SET_CLIPS, workers: int = 1) -> None:
    """Write the clips and their labels.

    Args:
        out: the folder; clips of an earlier run are replaced.
        work: folder for the generated set.
        clips: size of the generated set.
        workers: processes.
    """
    synthesize(work, layout="lavdf", clips=clips, seed=SEED, workers=workers)
    chosen = choose(read_records("lavdf", work, "test"))
    for role, record in chosen.items():
        shrink(work / record.file, out / f"{role.name}.mp4", role.streams)
    write_text(out / "labels.csv", labels_csv(chosen))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=examples_folder(), help="default: the package's folder")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        make(options.out, Path(work) / "set", workers=options.workers)
    for path in sorted(options.out.glob("*.mp4")):
        print(f"{path.stat().st_size:7} {path}")


if __name__ == "__main__":
    main()

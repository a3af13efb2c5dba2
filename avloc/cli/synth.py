"""`avloc synth`: a seed > a labelled set of clips in a dataset's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.limits import default_workers
from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import output_folder, path, positive, whole
from avloc.core.records import VideoRecord
from avloc.errors import shown

if TYPE_CHECKING:
    from avloc.datasets.synthetic.generate import GenerationSettings


LAYOUT_NAMES = (
    *("lavdf", "avdeepfake1m", "avdeepfake1m++"),
    *("partialspoof", "halftruth", "llamapartialspoof", "rttm"),  # sound alone
)
"""The keys of `avloc.datasets.synthetic.generate.LAYOUTS`, which takes long to import."""


@dataclass(frozen=True, slots=True)
class SynthOptions:
    """The options of `avloc synth`.

    Attributes:
        out: the new dataset's folder.
        layout: a key of `avloc.datasets.synthetic.generate.LAYOUTS`.
        clips: number of clips.
        seed: seed of the set.
        speech: a folder of recordings; None: the bundled ones.
        corruptions: whether to inject the faults of real sets.
        workers: processes.
    """

    out: Path
    layout: str
    clips: int
    seed: int
    speech: Path | None
    corruptions: bool
    workers: int

    def settings(self) -> GenerationSettings:
        """The settings that a set's folder keeps."""
        from avloc.datasets.synthetic.generate import GenerationSettings

        speech = None if self.speech is None else str(self.speech)
        return GenerationSettings(self.layout, self.clips, self.seed, speech, self.corruptions)


def parse(arguments: Sequence[str]) -> SynthOptions:
    """Parse the verb's arguments."""
    options = parser("synth", "avloc synth clips --layout lavdf --clips 200 --seed 7")
    options.add_argument("out", type=output_folder, help="folder for the new dataset")
    options.add_argument("--layout", required=True, help=f"layout of the dataset: {', '.join(LAYOUT_NAMES)}")
    options.add_argument("--clips", type=whole, required=True, help="number of clips, at least 9")
    options.add_argument("--seed", type=whole, default=0, help="the same seed gives the same files (default: 0)")
    options.add_argument(
        "--speech",
        type=path,
        help="folder of speech recordings, one sub-folder per speaker (default: the bundled recordings)",
    )
    options.add_argument(
        "--corruptions",
        action="store_true",
        help="inject the faults of real sets, each into one training clip: no audio, 30 fps, a truncated file, a segment past "
        "the end, an odd name, contradicting lists (listed in corruptions.json)",
    )
    options.add_argument(
        "--workers", type=positive, default=default_workers(), help="number of processes (default: one per core)"
    )
    return SynthOptions(**vars(options.parse_args(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Generate the set and print its size."""
    options = parse(arguments)
    from avloc.datasets.synthetic.generate import is_finished

    if is_finished(options.out, options.settings()):
        print(f"{shown(options.out)}: finished earlier, all {options.clips} clips exist; nothing to do")
        return 0
    print(_summary(options.out, _synthesize(options)))
    return 0


def _synthesize(options: SynthOptions) -> list[VideoRecord]:
    from tqdm import tqdm

    from avloc.datasets.synthetic.generate import synthesize

    with tqdm(total=options.clips, unit="clip", desc="synth", disable=None) as bar:
        return synthesize(
            options.out,
            layout=options.layout,
            clips=options.clips,
            seed=options.seed,
            speech=options.speech,
            corruptions=options.corruptions,
            workers=options.workers,
            progress=bar.update,
        )


def _summary(out: Path, records: Sequence[VideoRecord]) -> str:
    seconds = sum(record.duration_s or 0 for record in records)
    fake = sum(bool(record.segments) for record in records)
    return f"{out}: {len(records)} clips ({fake} with forged words), {seconds / 60:.1f} minutes"

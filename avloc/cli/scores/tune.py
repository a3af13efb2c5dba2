"""`avloc tune`: raw rows of a validation split > the decoding settings that score best, and their gain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.limits import default_workers
from avloc.cli.arguments.parser import command_line, parser
from avloc.cli.arguments.values import output, path, positive, whole
from avloc.cli.scores.fits import check_ways, naming
from avloc.cli.scores.provenance import recorded_settings, scoring_provenance
from avloc.core.provenance import FIT, METADATA, PREDICTIONS, Provenance
from avloc.errors import AvlocError, shown
from avloc.io.provenance import write_sidecar

if TYPE_CHECKING:
    from avloc.evaluation.inputs.rows import FloatRows
    from avloc.inference.raw.search import Tuning

EXAMPLE = """avloc predict --checkpoint best.ckpt --dataset lavdf --root R --split dev --store S --raw --out dev.h5
  avloc tune dev.h5 R/metadata.min.json --protocol lavdf --save tuned.json
  avloc predict --checkpoint best.ckpt --dataset lavdf --root R --split test --store S --tuned tuned.json \\
              --out predictions.json
  avloc tune dev.h5 --use tuned.json --out dev.json  # rows of the validation split, without running the network again"""
DESCRIPTION = """Search the settings of decoding (soft-NMS, boundary voting, boundary power, gate, rows kept) that score best on \
the rows before suppression of a validation split. The gain that is printed was cross-validated: each fold of source videos is \
judged under settings that were chosen without it. Rows of a test split are refused."""

CLIPS = 2000


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of `avloc tune`; see its help."""

    raw: Path
    labels: Path | None
    protocol: str | None
    objective: str | None
    clips: int
    workers: int
    save: Path | None
    use: Path | None
    out: Path | None
    command: str

    def provenance(self) -> Provenance:
        """Return the record of the run."""
        files = {PREDICTIONS: self.raw, METADATA: self.labels, FIT: self.use}
        return scoring_provenance(self.command, recorded_settings(self), files)


def parse(arguments: Sequence[str]) -> TuneOptions:
    """Parse the command line."""
    from avloc.evaluation.protocols import PROTOCOLS

    options = parser("tune", EXAMPLE, description=DESCRIPTION)
    options.add_argument("raw", type=path, metavar="RAW.h5", help="rows that avloc predict --raw wrote")
    options.add_argument("labels", type=path, nargs="?", help="metadata with the labels of the same clips")
    search = options.add_argument_group("search")
    search.add_argument(
        "--protocol",
        help=f"protocol of the metadata: {', '.join(PROTOCOLS)}, or a .yaml file (default: none; a search needs one)",
    )
    search.add_argument(
        "--objective",
        help="the score to raise: score, 'mean AP', 'mean AR', AP@0.5, AR@50, … (default: the protocol's combined score, or its "
        "mean AP)",
    )
    search.add_argument(
        "--clips",
        type=positive,
        default=CLIPS,
        help=f"search on about this many clips, drawn by whole source videos (default: {CLIPS})",
    )
    search.add_argument(
        "--workers",
        type=whole,
        default=default_workers(),
        help="processes that decode; 0: none but this one (default: one per core)",
    )
    search.add_argument("--save", type=output, metavar="F.json", help="write the settings to this file (default: none)")
    use = options.add_argument_group("use")
    use.add_argument("--use", type=path, metavar="F.json", help="settings that --save wrote (default: none, search)")
    use.add_argument("--out", type=output, help="write the rows under these settings (default: none)")
    return TuneOptions(**vars(options.parse_args(arguments)), command=command_line("tune", arguments))


def run(arguments: Sequence[str]) -> int:
    """Search settings, or decode raw rows by them."""
    options = parse(arguments)
    check_ways(options.labels, options.use, options.save, options.out)
    if options.use is not None and options.out is not None:
        _decode(options.raw, options.use, options.out)
        write_sidecar(options.out, options.provenance())
    elif options.labels is not None and options.save is not None:
        _search(options, options.labels, options.save)
    return 0


def _search(options: TuneOptions, labels: Path, save: Path) -> None:
    from tqdm import tqdm

    from avloc.evaluation.protocols import get_protocol
    from avloc.evaluation.truth import read_truth
    from avloc.inference.raw.raw_file import RawFile
    from avloc.inference.raw.search import check_validation, tune
    from avloc.inference.raw.tuned_file import write_tuned
    from avloc.inference.split.dataset_truth import is_table, table_truth

    if options.protocol is None:
        raise AvlocError(f"{labels}: --protocol is missing: it says which field holds the segments")
    protocol = get_protocol(options.protocol)
    raw = RawFile(options.raw)
    check_validation(raw)
    split = raw.settings.split  # labels of other splits are not read
    truth = table_truth(labels, split) if is_table(labels) else read_truth(labels, protocol.segments_field, split)
    with naming(labels), tqdm(unit="setting", desc="tune", disable=None) as bar:
        tuning = tune(
            raw,
            truth,
            protocol,
            objective=options.objective,
            clips=options.clips,
            workers=options.workers,
            progress=bar.update,
        )
    _print_tuning(tuning)
    record = options.provenance()
    settings = {**record.settings, "network": raw.settings.network, "objective": tuning.objective}
    write_tuned(save, tuning.tuned, replace(record, settings=settings).to_dict())
    print(f"{shown(save)}: {_changes(tuning)}")


def _print_tuning(tuning: Tuning) -> None:
    from avloc.evaluation.reporting.tables import Table, percent
    from avloc.evaluation.reporting.terminal import print_tables

    lines = []
    for name, gain in tuning.gains.items():
        before = tuning.untuned_scores[name]
        numbers = [before, before + gain.value, gain.value, gain.low, gain.high]
        lines.append([name.upper().replace("SCORE", "score"), *map(percent, numbers)])
    note = (
        f"Strict, mean of {len(tuning.fold_tuned)} folds of {tuning.sources} source videos, each under settings chosen on the\n"
        f"others by {tuning.objective}, and the gain with its 95 % interval; {tuning.tried} settings tried."
    )
    print_tables([Table("Tuning", ["", "untuned", "tuned", "gain", "low", "high"], lines, note=note)])


def _changes(tuning: Tuning) -> str:
    """Name the settings that differ from the checkpoint's."""
    before, tuned = tuning.untuned.values(), tuning.tuned.values()
    changes = [f"{name} {before[name]:g} > {value:g}" for name, value in tuned.items() if value != before[name]]
    return ", ".join(changes) or "the checkpoint's own settings are the best"


def _decode(raw_path: Path, use: Path, out: Path) -> None:
    from tqdm import tqdm

    from avloc.evaluation.predictions import write_predictions
    from avloc.inference.raw.decoding import decode_clips
    from avloc.inference.raw.raw_file import RawFile
    from avloc.inference.raw.tuned_file import read_tuned

    raw, tuned = RawFile(raw_path), read_tuned(use)
    counts = {"clips": 0, "rows": 0}

    def clips() -> Iterator[tuple[str, FloatRows]]:
        with tqdm(total=len(raw.files()), unit="clip", desc="decode", disable=None) as bar:
            for file, rows in decode_clips(raw, tuned):
                counts["clips"] += 1
                counts["rows"] += len(rows)
                yield file, rows
                bar.update(1)

    write_predictions(out, clips())
    print(f"{shown(out)}: {counts['clips']} clips, {counts['rows']} rows")

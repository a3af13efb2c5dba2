"""`avloc submit`: predictions > checked, repaired, zipped for the challenge's server."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.main import default_workers, parser, positive
from avloc.errors import AvlocError
from avloc.io.files import read_json, write_csv

if TYPE_CHECKING:
    from avloc.evaluation.submission import SubmissionCheck

SHOWN = 10
# Predictions leave out the split's folder, stores and dataset roots have it.
FOLDERS = ("", "test/", "testA/", "testB/", "val/", "dev/", "train/")


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    from avloc.evaluation import submission as validation
    from avloc.evaluation.predictions import read_detections
    from avloc.evaluation.truth import read_file_list

    options = parser(
        "submit",
        "avloc submit predictions.json --files AV-Deepfake1M/test_files.txt --durations features --out submission.zip",
        description="check a submission, repair what is safe to repair, say what was done, and zip it as the challenges "
        "want it (prediction.json, prediction.txt). Repaired: "
        + "; ".join(f"{validation.KINDS[k]} ({done})" for k, done in validation.REPAIRED.items()),
    )
    options.add_argument(
        "predictions", type=Path, help='{"file": [[score, start, end], …]}, or .txt with file;score lines'
    )
    options.add_argument("--files", type=Path, help="the clips that are asked for, one a line (test_files.txt)")
    options.add_argument("--out", type=Path, help="the zip file; without it, the predictions are only checked")
    options.add_argument(
        "--durations", type=Path, metavar="S|R|FILE",
        help="where the clips' lengths are known from: a feature store, the dataset's folder (clips are probed), "
        'or a json file {"file": seconds}',
    )  # fmt: skip
    options.add_argument(
        "--max-rows", type=positive, default=validation.MAX_ROWS,
        help=f"rows of a clip that are not too many (default {validation.MAX_ROWS})",
    )  # fmt: skip
    options.add_argument("--no-repair", action="store_true", help="refuse instead of repairing")
    options.add_argument("--problems", type=Path, help="write every problem into this CSV")
    options.add_argument("--detections", type=Path, help="file;score lines that become prediction.txt")
    options.add_argument(
        "--detections-from-rows", action="store_true", help="make prediction.txt of the score of each clip's best row"
    )
    options.add_argument("--workers", type=positive, default=default_workers(), help="threads that probe clips")
    given = options.parse_args(arguments)
    if given.detections and given.detections_from_rows:
        raise AvlocError("--detections and --detections-from-rows exclude each other")
    files = read_file_list(given.files) if given.files else None
    if given.predictions.suffix == ".txt":
        return _detections_only(given.predictions, files, given.out, refuse=given.no_repair)

    found = read_detections(given.detections) if given.detections else None
    durations_s = None
    if given.durations is not None:
        durations_s = read_durations(given.durations, _names(given.predictions, files), given.workers)
    checked = validation.check_submission(given.predictions, files, durations_s, max_rows=given.max_rows)
    counts = checked.counts()
    _show(checked, counts, repaired=not given.no_repair and given.out is not None)
    if given.problems is not None:
        found_in = (p for kind in counts for p in checked.problems(kind))
        rows = ((p.kind, p.file, "" if p.row is None else p.row, p.detail) for p in found_in)
        write_csv(given.problems, ("kind", "file", "row", "detail"), rows)
    if given.out is None:
        return 1 if counts else 0
    if given.no_repair and counts:
        raise AvlocError(f"{given.predictions}: {sum(counts.values())} problems, and --no-repair was given")
    mended = validation.repair(checked, files, durations_s, max_rows=given.max_rows)
    if found is not None:
        found = _aligned_detections(given.detections, found, mended.files, refuse=given.no_repair)
    elif given.detections_from_rows:
        found = validation.detections_from_rows(mended)
    from tqdm import tqdm

    with tqdm(total=len(mended), unit="clip", desc="write", disable=None) as bar:
        names = validation.write_submission(given.out, mended, detections=found, progress=bar.update)
    print(f"{given.out}: {', '.join(names)}; {len(mended)} clips, {len(mended.rows.scores)} rows")
    return 0


def _names(predictions: Path, files: list[str] | None) -> list[str]:
    """The clips whose lengths are needed."""
    if files is not None:
        return files
    from avloc.evaluation.predictions import read_predictions

    return read_predictions(predictions, []).files


def _show(checked: SubmissionCheck, counts: Mapping[str, int], *, repaired: bool) -> None:
    from avloc.evaluation.submission import summary

    if not counts:
        print("no problems found", file=sys.stderr)
    for kind, line in zip(counts, summary(counts, repaired=repaired), strict=True):
        print(line, file=sys.stderr)
        for problem in itertools.islice(checked.problems(kind), SHOWN):
            print(f"    {problem}", file=sys.stderr)
        if counts[kind] > SHOWN:
            print(f"    … and {counts[kind] - SHOWN} more (--problems FILE.csv lists all)", file=sys.stderr)


def _detections_only(path: Path, files: list[str] | None, out: Path | None, *, refuse: bool) -> int:
    from avloc.evaluation.predictions import Predictions, read_detections
    from avloc.evaluation.submission import write_submission

    found = read_detections(path)
    aligned = _aligned_detections(path, found, files or list(found), refuse=refuse)
    if out is None:
        return 0 if aligned == found else 1
    names = write_submission(out, Predictions.of({}), detections=aligned, segments=False)
    print(f"{out}: {', '.join(names)}; {len(aligned)} clips")
    return 0


def _aligned_detections(
    path: Path, found: Mapping[str, float], files: Sequence[str], *, refuse: bool
) -> dict[str, float]:
    """In the order of the list; a missing clip gets the score 0, an extra one is left out, and both are said."""
    missing, extra = [f for f in files if f not in found], sorted(found.keys() - set(files))
    for names, what, done in ((missing, "missing", "filled with the score 0"), (extra, "not in the list", "left out")):
        if names:
            line = f"{path}: {len(names)} clips are {what}, the first is {names[0]}"
            if refuse:
                raise AvlocError(f"{line}, and --no-repair was given")
            print(f"{line} → {done}", file=sys.stderr)
    return {file: found.get(file, 0.0) for file in files}


def read_durations(source: Path, files: Sequence[str], workers: int) -> dict[str, float]:
    """Seconds of the clips that `source` knows, by name.

    Args:
        source: a feature store, a dataset's folder, or a json file {"file": seconds}.
        files: the clips.
        workers: threads that probe the clips of a dataset's folder.

    Raises:
        AvlocError: if the source is none of these, or knows none of the clips.
    """
    if source.is_file():
        known = _from_json(source)
        durations_s = {file: seconds for file in files if (seconds := _look_up(known.get, file)) is not None}
    elif any(source.glob("*/store.json")):
        durations_s = _from_store(source, files)
    elif source.is_dir():
        durations_s = _from_clips(source, files, workers)
    else:
        raise AvlocError(f"{source}: no such store, dataset folder or json file")
    if not durations_s:
        raise AvlocError(f"{source}: knows the length of none of the clips; do the file names match?")
    if len(durations_s) < len(files):
        print(f"warning: {source} does not know the length of {len(files) - len(durations_s)} clips", file=sys.stderr)
    return durations_s


def _look_up(get: Callable[[str], float | None], file: str) -> float | None:
    return next((seconds for folder in FOLDERS if (seconds := get(folder + file)) is not None), None)


def _from_json(path: Path) -> dict[str, float]:
    known = read_json(path, "file of lengths")
    if not isinstance(known, dict) or not all(type(v) in (int, float) and v > 0 for v in known.values()):
        raise AvlocError(f'{path}: want {{"file": seconds}}')
    return {file: float(seconds) for file, seconds in known.items()}


def _from_store(root: Path, files: Sequence[str]) -> dict[str, float]:
    from avloc.feature_extraction.store.feature_store import FeatureStore

    store = FeatureStore(root)
    extractors = store.extractors()

    def seconds(file: str) -> float | None:
        return max((store.grid(name, file).end_s for name in extractors if store.has(name, file)), default=None)

    return {file: s for file in files if (s := _look_up(seconds, file)) is not None}


def _from_clips(root: Path, files: Sequence[str], workers: int) -> dict[str, float]:
    from concurrent.futures import ThreadPoolExecutor

    from tqdm import tqdm

    from avloc.errors import MediaError
    from avloc.feature_extraction.media.decode import probe

    def seconds(name: str) -> float | None:
        if not (root / name).is_file():
            return None
        try:
            return probe(root / name).duration_s
        except MediaError:
            return None

    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = pool.map(lambda file: _look_up(seconds, file), files)
        progress = tqdm(zip(files, found, strict=True), total=len(files), unit="clip", desc="lengths", disable=None)
        return {file: s for file, s in progress if s is not None}

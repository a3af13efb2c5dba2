"""`avloc submit`: predictions > checked, repaired, and zipped for the challenge's server."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.limits import default_workers
from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import output, path, positive
from avloc.cli.scores.fits import naming
from avloc.errors import AvlocError, shown
from avloc.io.files import read_json, write_csv

if TYPE_CHECKING:
    from avloc.evaluation.predictions import Predictions
    from avloc.evaluation.submission import SubmissionCheck

EXAMPLE = "avloc submit predictions.json --files AV-Deepfake1M/test_files.txt --durations features --out submission.zip"
SHOWN_PROBLEMS = 10
MOST = 0.5
"""Exit code 1 if more than this share of the required clips is missing."""
# Predictions leave out the split's folder; stores and dataset roots have it.
SPLIT_FOLDERS = ("", "test/", "testA/", "testB/", "val/", "dev/", "train/")


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """The options of `avloc submit`; see its help."""

    predictions: Path
    files: Path | None
    out: Path | None
    durations: Path | None
    max_rows: int
    no_repair: bool
    problems: Path | None
    detections: Path | None
    detections_from_rows: bool
    threads: int


def parse(arguments: Sequence[str]) -> SubmitOptions:
    """Parse the command line."""
    from avloc.evaluation.submission import MAX_ROWS, PROBLEM_KINDS, REPAIRS

    options = parser(
        "submit",
        EXAMPLE,
        description="Check a submission, make all safe repairs, list them, and zip the result as the challenges want it "
        "(prediction.json, prediction.txt). Repairs: "
        + "; ".join(f"{PROBLEM_KINDS[kind]} ({repair})" for kind, repair in REPAIRS.items()),
    )
    options.add_argument(
        "predictions",
        type=path,
        help='{"file": [[score, start, end], …]}, another form that avloc evaluate reads, or a .txt with one file;score '
        "per line",
    )
    options.add_argument(
        "--files", type=path, help="list of the required clips, one per line, as test_files.txt (default: any clips)"
    )
    options.add_argument("--out", type=output, help="the zip file (default: none, the predictions are only checked)")
    options.add_argument(
        "--durations",
        type=path,
        metavar="S|R|FILE",
        help="source of the clips' durations: a feature store, the dataset's folder (clips are probed), "
        'or a json file {"file": seconds} (default: none, segments are not cut to their clips)',
    )
    options.add_argument(
        "--max-rows", type=positive, default=MAX_ROWS, help=f"maximum number of rows per clip (default: {MAX_ROWS})"
    )
    options.add_argument("--no-repair", action="store_true", help="refuse a file with problems instead of repairing it")
    options.add_argument(
        "--problems", type=output, help="write every problem to this CSV file (default: print ten of a kind)"
    )
    _add_detection_options(options)
    options.add_argument(
        "--threads",
        type=positive,
        default=default_workers(),
        help="threads that probe clips for --durations (default: one per core)",
    )
    return SubmitOptions(**vars(options.parse_args(arguments)))


def _add_detection_options(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--detections", type=path, help="file with one file;score per line, for prediction.txt (default: none)"
    )
    options.add_argument(
        "--detections-from-rows", action="store_true", help="make prediction.txt from the score of each clip's best row"
    )


def run(arguments: Sequence[str]) -> int:
    """Check the predictions, then repair and zip them if an output file is named."""
    from avloc.evaluation.truth import read_file_list

    options = parse(arguments)
    if options.detections and options.detections_from_rows:
        raise AvlocError("--detections and --detections-from-rows exclude each other")
    files = read_file_list(options.files) if options.files else None
    if options.predictions.suffix == ".txt":
        return _submit_clip_scores(options, files)
    return _submit_segments(options, files)


def _submit_segments(options: SubmitOptions, files: list[str] | None) -> int:
    from avloc.evaluation.detection import read_clip_scores
    from avloc.evaluation.submission import check_submission, clip_scores_from_rows, repair

    clip_scores = read_clip_scores(options.detections) if options.detections else None
    durations_s = None
    if options.durations is not None:
        durations_s = read_durations(options.durations, _clip_names(options.predictions, files), options.threads)
    check = check_submission(options.predictions, files, durations_s, max_rows=options.max_rows)
    counts = check.counts()
    if check.misread and options.out is None:  # with --out it is the error below
        print(f"warning: {shown(options.predictions)}: {check.misread}", file=sys.stderr)
    _print_problems(check, counts, repaired=not options.no_repair and options.out is not None)
    if options.problems is not None:
        _write_problems(options.problems, check, counts)
    if options.out is None:
        return 1 if counts or check.misread else 0
    if check.misread:
        raise AvlocError(f"{options.predictions}: {check.misread}; nothing was written")
    if options.no_repair and counts:
        raise AvlocError(f"{options.predictions}: {sum(counts.values())} problems, and --no-repair was given")
    with naming(options.predictions):
        repaired = repair(check, files, durations_s, max_rows=options.max_rows)
    unscored = 0
    if options.detections is not None and clip_scores is not None:
        clip_scores, unscored = _align_clip_scores(
            options.detections, clip_scores, repaired.files, refuse=options.no_repair
        )
    elif options.detections_from_rows:
        clip_scores = clip_scores_from_rows(repaired)
    _write_submission(options.out, repaired, clip_scores)
    if not len(repaired.rows.scores):
        return _say_loud(f"no clip of {options.predictions} has a row: all {len(repaired)} clips are filled")
    return _exit_code(options, max(counts.get("missing", 0), unscored), len(repaired))


def _exit_code(options: SubmitOptions, missing: int, total: int) -> int:
    """Return 1, and say so in a last line, if most of the required clips are missing and were filled; else 0."""
    if missing <= MOST * total:
        return 0
    return _say_loud(
        f"{missing} of the {total} clips of {options.files} are missing in {options.predictions} and filled"
    )


def _say_loud(text: str) -> int:
    """Print that a submission was written that cannot score well; return exit code 1."""
    sys.stdout.flush()  # this is the last line
    print(
        f"WARNING: {shown(text)}; this submission will score near 0. Is --files the list of the predicted split?",
        file=sys.stderr,
    )
    return 1


def _clip_names(predictions: Path, files: list[str] | None) -> list[str]:
    """Return the clips whose durations are needed."""
    if files is not None:
        return files
    from avloc.evaluation.predictions import read_predictions

    return read_predictions(predictions, []).files


def _print_problems(check: SubmissionCheck, counts: Mapping[str, int], *, repaired: bool) -> None:
    from avloc.evaluation.submission import summarize_problems

    if not counts and not check.misread:
        print("no problems found")
    for kind, line in zip(counts, summarize_problems(counts, repaired=repaired), strict=True):
        print(line, file=sys.stderr)
        for problem in itertools.islice(check.problems(kind), SHOWN_PROBLEMS):
            print(f"    {problem}", file=sys.stderr)
        if counts[kind] > SHOWN_PROBLEMS:
            print(f"    … and {counts[kind] - SHOWN_PROBLEMS} more (--problems FILE.csv lists all)", file=sys.stderr)


def _write_problems(out: Path, check: SubmissionCheck, kinds: Mapping[str, int]) -> None:
    problems = (problem for kind in kinds for problem in check.problems(kind))
    rows = ((p.kind, p.file, "" if p.row is None else p.row, p.detail) for p in problems)
    write_csv(out, ("kind", "file", "row", "detail"), rows)


def _write_submission(out: Path, predictions: Predictions, clip_scores: Mapping[str, float] | None) -> None:
    from tqdm import tqdm

    from avloc.evaluation.submission import write_submission

    with tqdm(total=len(predictions), unit="clip", desc="write", disable=None) as bar:
        names = write_submission(out, predictions, clip_scores=clip_scores, progress=bar.update)
    print(f"{shown(out)}: {', '.join(names)}; {len(predictions)} clips, {len(predictions.rows.scores)} rows")


def _submit_clip_scores(options: SubmitOptions, files: list[str] | None) -> int:
    """Check a file of clip scores, and zip it if an output file is named."""
    from avloc.evaluation.detection import read_clip_scores
    from avloc.evaluation.predictions import Predictions
    from avloc.evaluation.submission import write_submission

    clip_scores = read_clip_scores(options.predictions)
    if not clip_scores:
        raise AvlocError(f"{options.predictions}: has no clips")
    aligned, missing = _align_clip_scores(
        options.predictions, clip_scores, files or list(clip_scores), refuse=options.no_repair
    )
    if options.out is None:
        return 0 if aligned == clip_scores else 1
    names = write_submission(options.out, Predictions.from_dict({}), clip_scores=aligned, segments=False)
    print(f"{shown(options.out)}: {', '.join(names)}; {len(aligned)} clips")
    return _exit_code(options, missing, len(aligned))


def _align_clip_scores(
    file_path: Path, clip_scores: Mapping[str, float], files: Sequence[str], *, refuse: bool
) -> tuple[dict[str, float], int]:
    """Bring clip scores into the order of the list; a missing clip gets the score 0, an extra one is left out.

    Returns:
        The scores, and the number of missing clips.

    Raises:
        AvlocError: if none of the clips is in the list; with `refuse`, if any repair is needed.
    """
    from avloc.evaluation.detection import rename_clips
    from avloc.evaluation.inputs.names import describe_mismatch

    clip_scores, notes = rename_clips(clip_scores, files)
    for note in notes:
        if refuse:
            raise AvlocError(f"{file_path}: {note}, and --no-repair was given")
        print(f"{shown(file_path)}: {note}", file=sys.stderr)
    if files and clip_scores.keys().isdisjoint(files):
        raise AvlocError(describe_mismatch(file_path, list(clip_scores), files, "the list", notes))
    missing, extra = [f for f in files if f not in clip_scores], sorted(clip_scores.keys() - set(files))
    for names, problem, repair in (
        (missing, "missing", "filled with the score 0"),
        (extra, "not in the list", "left out"),
    ):
        if names:
            line = f"{file_path}: {len(names)} clips are {problem}, the first is {shown(names[0])}"
            if refuse:
                raise AvlocError(f"{line}, and --no-repair was given")
            print(f"{shown(line)} → {repair}", file=sys.stderr)
    return {file: clip_scores.get(file, 0.0) for file in files}, len(missing)


def read_durations(source: Path, files: Sequence[str], workers: int) -> dict[str, float]:
    """Look up the durations of clips in seconds; clips that `source` does not know are left out, with a warning.

    Args:
        source: a feature store, a dataset's folder, or a json file {"file": seconds}.
        files: names of the clips.
        workers: threads that probe the clips of a dataset's folder.

    Raises:
        AvlocError: if the source is none of these, or knows none of the clips.
    """
    if source.is_file():
        json_durations_s = _read_json_durations(source)
        durations_s = {file: s for file in files if (s := _look_up(json_durations_s.get, file)) is not None}
    elif any(source.glob("*/store.json")):
        durations_s = _read_store_durations(source, files)
    elif source.is_dir():
        durations_s = _probe_durations(source, files, workers)
    else:
        raise AvlocError(f"{source}: no such store, dataset folder or json file")
    if not durations_s and files:
        raise AvlocError(f"{source}: has the duration of none of the {len(files)} clips, such as {shown(files[0])}")
    if len(durations_s) < len(files):
        print(f"warning: {shown(source)} lacks the duration of {len(files) - len(durations_s)} clips", file=sys.stderr)
    return durations_s


def _look_up(get: Callable[[str], float | None], file: str) -> float | None:
    return next((seconds for folder in SPLIT_FOLDERS if (seconds := get(folder + file)) is not None), None)


def _read_json_durations(path: Path) -> dict[str, float]:
    durations_s = read_json(path, "file of durations")
    if not isinstance(durations_s, dict) or not all(type(v) in (int, float) and v > 0 for v in durations_s.values()):
        raise AvlocError(f'{path}: want {{"file": seconds}}')
    return {file: float(seconds) for file, seconds in durations_s.items()}


def _read_store_durations(root: Path, files: Sequence[str]) -> dict[str, float]:
    from avloc.feature_extraction.store.feature_store import FeatureStore

    store = FeatureStore(root)
    extractors = store.extractors()

    def end_s(file: str) -> float | None:
        return max((store.grid(name, file).end_s for name in extractors if store.has(name, file)), default=None)

    return {file: seconds for file in files if (seconds := _look_up(end_s, file)) is not None}


def _probe_durations(root: Path, files: Sequence[str], workers: int) -> dict[str, float]:
    from concurrent.futures import ThreadPoolExecutor

    from tqdm import tqdm

    from avloc.errors import MediaError
    from avloc.feature_extraction.media.probe import probe

    def duration_s(name: str) -> float | None:
        if not (root / name).is_file():
            return None
        try:
            return probe(root / name).duration_s
        except MediaError:
            return None

    with ThreadPoolExecutor(max(1, workers)) as pool:
        durations_s = pool.map(lambda file: _look_up(duration_s, file), files)
        progress = tqdm(
            zip(files, durations_s, strict=True), total=len(files), unit="clip", desc="durations", disable=None
        )
        return {file: seconds for file, seconds in progress if seconds is not None}

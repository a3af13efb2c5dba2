"""The time of `avloc evaluate`, by stage, beside the published compiled evaluator.

    python benchmarks/evaluation.py                                   # avloc alone
    python benchmarks/evaluation.py --published OTHER_VENV/bin/python  # both, in turn

The published evaluator is the package `avdeepfake1m` (CC BY-NC 4.0, needs numpy < 2). It needs an environment of its own, whose
interpreter `--published` names; nothing of it is imported here. Both read the same two files, of the size of AV-Deepfake1M's
validation split: 57,000 clips of 100 rows. The official numbers of both are compared: they must be equal.

Each side is timed `--repeats` times in one process after its imports, turn by turn; the output shows medians. Whole processes
are timed too, since a user waits for those.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
from timing import timed

from avloc.evaluation.hits import Scores, find_hits
from avloc.evaluation.matching import Mode
from avloc.evaluation.predictions import align, read_predictions
from avloc.evaluation.protocols import PROTOCOLS
from avloc.evaluation.truth import read_truth

PUBLISHED = """
import json, sys, time
from avdeepfake1m.evaluation import ap_ar_1d
for line in sys.stdin:
    begin = time.perf_counter()
    out = ap_ar_1d(sys.argv[1], sys.argv[2], "file", "fake_segments", 1, [0.5, 0.75, 0.9, 0.95], [50, 30, 20, 10, 5],
                   [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
    seconds = time.perf_counter() - begin
    print(json.dumps([seconds, list(out["ap"].values()), list(out["ar"].values())]), flush=True)
"""
MODES: dict[str, tuple[Mode, ...]] = {"official": ("official",), "both": ("official", "strict")}


class Files(NamedTuple):
    """A prediction file and the metadata of the same clips."""

    predictions: Path
    metadata: Path


# Generated files.


def random_labels(random: np.random.Generator, seconds: float) -> list[list[float]]:
    """One to three fakes of 0.16 to 0.52 s on a grid of 0.02 s, at random places in a clip."""
    starts = random.uniform(0, seconds - 0.6, random.integers(1, 4))
    labels = [[round(s / 0.02) * 0.02, round(s / 0.02) * 0.02 + 0.02 * random.integers(8, 27)] for s in starts]
    return [[round(a, 2), round(b, 2)] for a, b in labels]


def random_rows(
    random: np.random.Generator, seconds: float, labels: Sequence[Sequence[float]], rows: int, *, ordered: bool
) -> npt.NDArray[np.float64]:
    """Rows (rows, 3) of score, start and end: short segments anywhere, and one near each label. Ordered: by falling score."""
    start = random.uniform(0, seconds - 0.3, rows)
    end = start + random.uniform(0.1, 0.6, rows)
    score = random.beta(0.5, 3, rows)
    score = np.sort(score)[::-1] if ordered else score
    for j, (a, b) in enumerate(labels):
        start[3 * j % rows], end[3 * j % rows] = a + random.normal(0, 0.02), b + random.normal(0, 0.02)
    return np.stack([score, start, end], axis=1)


def metadata_entry(k: int, seconds: float, labels: list[list[float]]) -> dict[str, object]:
    """Clip `k` as an entry of AV-Deepfake1M's metadata; every fourth clip is real."""
    kind = "real" if k % 4 == 0 else ("audio_modified", "visual_modified", "both_modified")[k % 3]
    file = f"id{k % 5000:05d}/{k:011x}/{k % 97:05d}/{'real' if kind == 'real' else 'fake'}.mp4"
    modal = {
        f"{m}_fake_segments": labels if kind in (f"{m}_modified", "both_modified") else [] for m in ("audio", "visual")
    }
    return {
        "file": file,
        "original": None if kind == "real" else file.replace("fake.mp4", "real.mp4"),
        "split": "val",
        "modify_type": kind,
        "audio_model": None if kind == "real" else "yourtts",
        "fake_segments": labels,
        **modal,
        "video_frames": int(25 * seconds),
        "audio_frames": int(16000 * seconds),
    }


def make_files(folder: Path, clips: int, rows: int, *, ordered: bool = True, system: int = 0) -> Files:
    """Write predictions and metadata of clips of 4–15 s, three quarters of them with one to three fakes.

    Existing files of the same size are kept.

    Args:
        folder: of the files.
        clips: number of clips.
        rows: number of rows of each.
        ordered: rows by falling score.
        system: whose rows; those of other systems differ, for the same clips and labels.
    """
    name = f"{clips}x{rows}{'' if ordered else '-unsorted'}{f'-system{system}' if system else ''}"
    files = Files(folder / f"{name}.prediction.json", folder / f"{name}.metadata.json")
    if files.predictions.is_file() and files.metadata.is_file():
        return files
    random, of_system, entries = np.random.default_rng(0), np.random.default_rng([0, system]), []
    with files.predictions.open("w") as out:
        out.write("{")
        for k in range(clips):
            seconds = random.uniform(4, 15)
            labels = random_labels(random, seconds) if k % 4 else []
            entry = metadata_entry(k, seconds, labels)
            proposals = random_rows(random, seconds, labels, rows, ordered=ordered)
            if system:
                proposals = random_rows(of_system, seconds, labels, rows, ordered=ordered)
            texts = ", ".join(f"[{s:.4f}, {a:.2f}, {b:.2f}]" for s, a, b in proposals)
            out.write(f"{', ' if k else ''}{json.dumps(entry['file'])}: [{texts}]")
            entries.append(entry)
        out.write("}")
    files.metadata.write_text(json.dumps(entries))
    return files


# Both sides.


class StagedScores(NamedTuple):
    """Seconds of each stage of an evaluation, and its scores by mode."""

    seconds: dict[str, float]
    scores: dict[Mode, Scores]


def evaluate_in_stages(files: Files, modes: tuple[Mode, ...]) -> StagedScores:
    """Evaluate as `avloc evaluate` does, and time each stage."""
    protocol = PROTOCOLS["avdeepfake1m"]
    truth = timed(lambda: read_truth(files.metadata, "fake_segments", details=False))
    predictions = timed(lambda: read_predictions(files.predictions))
    aligned = timed(lambda: align(predictions.result, truth.result.files))
    hits = timed(
        lambda: find_hits(
            aligned.result.rows,
            truth.result.labels,
            modes=modes,
            ap_ious=protocol.ap_ious,
            ar_counts=protocol.ar_counts,
        )
    )
    scores = timed(lambda: {mode: hits.result[mode].scores(protocol.ap_ious) for mode in modes})
    stages = {
        "read metadata": truth,
        "read predictions": predictions,
        "align": aligned,
        "match and sort": hits,
        "curves": scores,
    }
    return StagedScores({name: stage.seconds for name, stage in stages.items()}, scores.result)


class PublishedEvaluator:
    """The published evaluator in a process of its own, which evaluates once per call.

    Args:
        interpreter: Python of an environment that has it.
        files: the files to evaluate.
    """

    def __init__(self, interpreter: str, files: Files) -> None:
        command = [interpreter, "-c", PUBLISHED, *map(str, files)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self) -> tuple[float, list[float]]:
        """Evaluate; returns seconds, and AP and AR in one list."""
        print(file=_pipe(self._process.stdin), flush=True)
        seconds, ap, ar = json.loads(_pipe(self._process.stdout).readline())
        return seconds, [*ap, *ar]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@dataclass(slots=True)
class Comparison:
    """Measurements of both sides, turn by turn.

    Attributes:
        stages: seconds of avloc's stages, by group of modes and turn.
        published_s: seconds of the published evaluator, by turn.
        difference: largest difference of an official number.
    """

    stages: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {name: [] for name in MODES})
    published_s: list[float] = field(default_factory=list)
    difference: float = 0.0

    def totals(self) -> dict[str, float]:
        """The median seconds of all of avloc's stages, by group of modes."""
        return {name: statistics.median(sum(run.values()) for run in runs) for name, runs in self.stages.items()}


def compare(files: Files, repeats: int, published: PublishedEvaluator | None) -> Comparison:
    """Time both sides in turn, and compare their official numbers."""
    comparison = Comparison()
    for _ in range(repeats):
        for name, modes in MODES.items():
            seconds, scores = evaluate_in_stages(files, modes)
            comparison.stages[name].append(seconds)
        if published is not None:
            published_s, numbers = published()
            comparison.published_s.append(published_s)
            official = [*scores["official"].ap.values(), *scores["official"].ar.values()]
            comparison.difference = max(abs(a - b) for a, b in zip(numbers, official, strict=True))
    return comparison


def time_processes(commands: Mapping[str, Sequence[str]], repeats: int) -> dict[str, list[float]]:
    """The seconds of each command from its start to its end, turn by turn; modules are compiled once, as in an installation."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = partial(subprocess.run, input="\n", text=True, check=True, capture_output=True, env=environment)
    for _ in range(repeats):
        for name, command in commands.items():
            process = timed(lambda command=command: run(command))
            seconds[name].append(process.seconds)
    return seconds


# Command line.


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Options of the command line.

    Attributes:
        published: interpreter of an environment with the published evaluator; None: avloc alone.
        clips: number of clips.
        rows: rows per clip.
        repeats: timed runs of each side.
        unsorted: rows in random order.
        folder: for the generated files.
    """

    published: str | None
    clips: int
    rows: int
    repeats: int
    unsorted: bool
    folder: Path


def parse(arguments: Sequence[str] | None = None) -> EvaluationOptions:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", help="interpreter of an environment with the published evaluator")
    parser.add_argument("--clips", type=int, default=57_000, help="number of clips (default: 57000)")
    parser.add_argument("--rows", type=int, default=100, help="rows per clip (default: 100)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side (default: 5)")
    parser.add_argument("--unsorted", action="store_true", help="rows in random order")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("benchmark-files"),
        help="folder for generated files (default: benchmark-files)",
    )
    return EvaluationOptions(**vars(parser.parse_args(arguments)))


def print_stages(comparison: Comparison) -> None:
    """Print the medians of avloc's stages."""
    totals = comparison.totals()
    for name, runs in comparison.stages.items():
        print(f"\navloc, {name} (median of {len(runs)}):")
        for stage in runs[0]:
            print(f"  {stage:18} {statistics.median(run[stage] for run in runs):6.3f} s")
        print(f"  {'all':18} {totals[name]:6.3f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def print_ratios(comparison: Comparison) -> None:
    """Print the published evaluator's time relative to avloc's."""
    median = statistics.median(comparison.published_s)
    print(f"\npublished evaluator (official only): {median:.3f} s")
    for name, total in comparison.totals().items():
        print(f"ratio, published : avloc {name}: {median / total:.2f}")
    print(f"largest difference of an official number: {comparison.difference:.1e}")


def print_processes(published: str, files: Files, repeats: int) -> None:
    """Print the times of whole processes, and the medians of the ratios within each turn."""
    avloc = [sys.executable, "-m", "avloc", "evaluate", *map(str, files), "--protocol", "avdeepfake1m"]
    numbers = str(files.predictions.with_suffix(".numbers.json"))
    commands = {
        "published": [published, "-c", PUBLISHED, *map(str, files)],
        "avloc, official": [*avloc, "--mode", "official"],
        "avloc, both": avloc,
        "avloc --json": [*avloc, "--json", numbers],
        "avloc --json --insight": [*avloc, "--json", numbers, "--insight"],
    }
    seconds = time_processes(commands, repeats)
    print("\nwhole processes (medians):")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["published"], values, strict=True))
        print(f"  {name:22} {statistics.median(values):6.3f} s   published : this {ratio:.2f}")


def main() -> None:
    """Write the files, and measure."""
    options = parse()
    options.folder.mkdir(parents=True, exist_ok=True)
    files = make_files(options.folder, options.clips, options.rows, ordered=not options.unsorted)
    print(f"{options.clips} clips × {options.rows} rows, {files.predictions.stat().st_size / 1e6:.0f} MB of json")
    published = None if options.published is None else PublishedEvaluator(options.published, files)
    comparison = compare(files, options.repeats, published)
    print_stages(comparison)
    if published is not None and options.published is not None:
        published.close()
        print_ratios(comparison)
        print_processes(options.published, files, options.repeats)


if __name__ == "__main__":
    main()

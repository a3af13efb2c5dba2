"""Fusion of two systems' segments and scores of clips, at AV-Deepfake1M's sizes: seconds and memory.

    python benchmarks/evidence.py

Two files of 343,240 clips (the test split) × 100 rows are fused by whole processes of `avloc fuse --use`, with a fusion that was
fitted on 2,000 other clips. The peak is of the process. Then 57,000 clip scores (the validation split) are scored in this
process: AUC, EER, minDCF, actDCF, Cllr and min Cllr; and by whole processes of `avloc evaluate`. Medians of `--repeats` runs.
The files take some gigabytes of `--folder`, and stay there for the next time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from timing import median_seconds

from avloc.evaluation.detection import save_clip_scores, score_detection
from avloc.evaluation.evidence.costs import score_evidence
from evaluation import make_files, time_processes

PROTOCOL = "avdeepfake1m"
FITTED_CLIPS = 2_000
SYSTEMS = 2


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """Options of the command line.

    Attributes:
        fused_clips: number of clips that are fused.
        rows: rows per clip of each system.
        scored_clips: number of clips with a score.
        repeats: timed runs.
        folder: for the generated files.
    """

    fused_clips: int
    rows: int
    scored_clips: int
    repeats: int
    folder: Path


class Cost(NamedTuple):
    """What one process took.

    Attributes:
        seconds: from its start to its end.
        peak_gb: largest resident memory.
    """

    seconds: float
    peak_gb: float


def parse(arguments: Sequence[str] | None = None) -> EvidenceOptions:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fused-clips", type=int, default=343_240, help="clips to fuse (default: 343240)")
    parser.add_argument("--rows", type=int, default=100, help="rows per clip of each system (default: 100)")
    parser.add_argument("--scored-clips", type=int, default=57_000, help="clips to score (default: 57000)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs (default: 3)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("benchmark-files"),
        help="folder for generated files (default: benchmark-files)",
    )
    return EvidenceOptions(**vars(parser.parse_args(arguments)))


def run_measured(command: Sequence[str]) -> Cost:
    """Run a command; its time and memory are those that the system counted for this process alone.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    # The largest child counts in RUSAGE_CHILDREN, so a process in between sees this command alone.
    code = (
        "import json, resource, subprocess, sys, time\n"
        "begin = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "seconds = time.perf_counter() - begin\n"
        "print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    seconds, kilobytes = json.loads(done.stdout)
    return Cost(seconds, kilobytes / 1e6)


def measure_fusion(options: EvidenceOptions) -> list[Cost]:
    """Fit a fusion on few clips, and use it on many, `repeats` times."""
    avloc = [sys.executable, "-m", "avloc", "fuse"]
    few = [make_files(options.folder, FITTED_CLIPS, options.rows, system=k) for k in range(SYSTEMS)]
    many = [make_files(options.folder, options.fused_clips, options.rows, system=k) for k in range(SYSTEMS)]
    fusion, fused = options.folder / "fusion.json", options.folder / "fused.json"
    labels = ["--labels", str(few[0].metadata), "--protocol", PROTOCOL, "--save", str(fusion)]
    run_measured([*avloc, *(str(files.predictions) for files in few), *labels])
    use = [*avloc, *(str(files.predictions) for files in many), "--use", str(fusion), "--out", str(fused)]
    costs = [run_measured(use) for _ in range(options.repeats)]
    fused.unlink()
    return costs


def measure_clip_scores(options: EvidenceOptions) -> dict[str, float]:
    """Score random log-likelihood ratios of clips in this process, and by `avloc evaluate`; median seconds of each."""
    metadata = make_files(options.folder, options.scored_clips, rows=1).metadata
    entries = json.loads(metadata.read_text())
    is_fake = np.array([bool(entry["fake_segments"]) for entry in entries])
    scores = np.random.default_rng(0).normal(np.where(is_fake, 2.0, -2.0), 2.0)
    file = options.folder / f"{options.scored_clips}.clip-scores.txt"
    save_clip_scores(file, dict(zip((entry["file"] for entry in entries), scores.tolist(), strict=True)))
    verb = [sys.executable, "-m", "avloc", "evaluate", str(file), str(metadata), "--protocol", PROTOCOL, "--llr"]
    seconds = median_seconds(
        {
            "AUC, EER, F1": lambda: score_detection(scores, is_fake),
            "costs and Cllr": lambda: score_evidence(scores, is_fake),
        },
        options.repeats,
    )
    processes = time_processes({"avloc evaluate, whole process": verb}, options.repeats)
    return seconds | {name: statistics.median(values) for name, values in processes.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    options = parse(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"{options.scored_clips} clip scores (medians of {options.repeats}):", flush=True)
    for name, seconds in measure_clip_scores(options).items():
        print(f"  {name:30} {seconds:7.3f} s", flush=True)
    print(
        f"\n{SYSTEMS} files of {options.fused_clips} clips × {options.rows} rows, fused by a whole process:", flush=True
    )
    costs = measure_fusion(options)
    print(f"  seconds  {statistics.median(cost.seconds for cost in costs):.1f} (median of {len(costs)})")
    print(f"  peak     {max(cost.peak_gb for cost in costs):.2f} GB")
    print(f"this process peaked at {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()

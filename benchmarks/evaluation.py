"""How long `avloc evaluate` takes, by stage, beside the published compiled evaluator.

    python benchmarks/evaluation.py                                   # ours alone
    python benchmarks/evaluation.py --published OTHER_VENV/bin/python  # both, in turn

The published evaluator is the package `avdeepfake1m` (CC BY-NC 4.0, needs numpy < 2), so it lives in an environment of its
own, whose interpreter is given; nothing of it is imported here. Both read the same two files: AV-Deepfake1M's validation
split in size, 57,000 clips of 100 rows. The official numbers of both are compared: they must be equal.

Each side is timed `--repeats` times in one process after its imports, turn by turn; medians are printed. Whole processes
are timed too, since that is what a user waits for.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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


def make_files(folder: Path, clips: int, rows: int, *, ordered: bool = True) -> tuple[Path, Path]:
    """Predictions and metadata of clips of 4–15 s, three quarters of them with one to three fakes."""
    name = f"{clips}x{rows}{'' if ordered else '-unsorted'}"
    predictions, metadata = folder / f"{name}.prediction.json", folder / f"{name}.metadata.json"
    if predictions.is_file() and metadata.is_file():
        return predictions, metadata
    random = np.random.default_rng(0)
    entries = []
    with predictions.open("w") as out:
        out.write("{")
        for k in range(clips):
            kind = "real" if k % 4 == 0 else ("audio_modified", "visual_modified", "both_modified")[k % 3]
            file = f"id{k % 5000:05d}/{k:011x}/{k % 97:05d}/{'real' if kind == 'real' else 'fake'}.mp4"
            seconds = random.uniform(4, 15)
            starts = random.uniform(0, seconds - 0.6, random.integers(1, 4)) if k % 4 else ()
            labels = [[round(s / 0.02) * 0.02, round(s / 0.02) * 0.02 + 0.02 * random.integers(8, 27)] for s in starts]
            labels = [[round(a, 2), round(b, 2)] for a, b in labels]
            start = random.uniform(0, seconds - 0.3, rows)
            end = start + random.uniform(0.1, 0.6, rows)
            score = random.beta(0.5, 3, rows)
            score = np.sort(score)[::-1] if ordered else score
            for j, (a, b) in enumerate(labels):
                start[3 * j % rows], end[3 * j % rows] = a + random.normal(0, 0.02), b + random.normal(0, 0.02)
            texts = ", ".join(f"[{s:.4f}, {a:.2f}, {b:.2f}]" for s, a, b in zip(score, start, end, strict=True))
            out.write(f"{', ' if k else ''}{json.dumps(file)}: [{texts}]")
            modal = {
                f"{m}_fake_segments": labels if kind in (f"{m}_modified", "both_modified") else []
                for m in ("audio", "visual")
            }
            entries.append({
                "file": file, "original": None if kind == "real" else file.replace("fake.mp4", "real.mp4"), "split": "val",
                "modify_type": kind, "audio_model": None if kind == "real" else "yourtts", "fake_segments": labels, **modal,
                "video_frames": int(25 * seconds), "audio_frames": int(16000 * seconds),
            })  # fmt: skip
        out.write("}")
    metadata.write_text(json.dumps(entries))
    return predictions, metadata


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def ours_by_stage(predictions: Path, metadata: Path, modes: tuple[str, ...]) -> tuple[dict[str, float], Any]:
    """Seconds of each stage, and the scores."""
    from avloc.evaluation.metrics import find_hits
    from avloc.evaluation.predictions import align, read_predictions
    from avloc.evaluation.protocols import PROTOCOLS
    from avloc.evaluation.truth import read_truth

    protocol = PROTOCOLS["avdeepfake1m"]
    seconds: dict[str, float] = {}
    seconds["read metadata"], truth = timed(lambda: read_truth(metadata, "fake_segments", details=False))
    seconds["read predictions"], found = timed(lambda: read_predictions(predictions))
    seconds["align"], aligned = timed(lambda: align(found, truth.files))
    options = {"ap_ious": protocol.ap_ious, "ar_counts": protocol.ar_counts, "modes": modes}
    seconds["match and sort"], hits = timed(lambda: find_hits(aligned.rows, truth.labels, **options))
    seconds["curves"], scores = timed(lambda: {mode: hits[mode].scores(protocol.ap_ious) for mode in modes})
    return seconds, scores


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--published", help="interpreter of an environment with the published evaluator")
    options.add_argument("--clips", type=int, default=57_000)
    options.add_argument("--rows", type=int, default=100)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--unsorted", action="store_true", help="rows in random order")
    options.add_argument("--folder", type=Path, default=Path("benchmark-files"), help="for the generated files")
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    files = make_files(given.folder, given.clips, given.rows, ordered=not given.unsorted)
    print(f"{given.clips} clips × {given.rows} rows, {files[0].stat().st_size / 1e6:.0f} MB of json")

    other = None
    if given.published:
        command = [given.published, "-c", PUBLISHED, *map(str, files)]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    modes = {"official": ("official",), "both": ("official", "strict")}
    stages: dict[str, list[dict[str, float]]] = {name: [] for name in modes}
    theirs: list[float] = []
    for _ in range(given.repeats):
        for name, wanted in modes.items():
            seconds, scores = ours_by_stage(*files, wanted)
            stages[name].append(seconds)
        if other is not None and other.stdin is not None and other.stdout is not None:
            print(file=other.stdin, flush=True)
            published_seconds, ap, ar = json.loads(other.stdout.readline())
            theirs.append(published_seconds)
            official = scores["official"]
            differing = max(
                abs(a - b) for a, b in zip([*ap, *ar], [*official.ap.values(), *official.ar.values()], strict=True)
            )
    totals = {name: statistics.median(sum(run.values()) for run in runs) for name, runs in stages.items()}
    for name, runs in stages.items():
        print(f"\navloc, {name} (median of {given.repeats}):")
        for stage in runs[0]:
            print(f"  {stage:18} {statistics.median(run[stage] for run in runs):6.3f} s")
        print(f"  {'all':18} {totals[name]:6.3f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    if other is None:
        return
    other.communicate()
    median = statistics.median(theirs)
    print(f"\npublished evaluator (official only): {median:.3f} s")
    for name, total in totals.items():
        print(f"ratio, published : avloc {name}: {median / total:.2f}")
    print(f"largest difference of an official number: {differing:.1e}")
    whole_processes(given, files)


def whole_processes(given: Any, files: tuple[Path, Path]) -> None:
    """From the start of Python to its end, in turn."""
    commands = {
        "avloc, official": [sys.executable, "-m", "avloc", "evaluate", *map(str, files), "--protocol", "avdeepfake1m",
                            "--mode", "official"],
        "avloc, both": [sys.executable, "-m", "avloc", "evaluate", *map(str, files), "--protocol", "avdeepfake1m"],
        "published": [given.published, "-c", PUBLISHED, *map(str, files)],
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(given.repeats):
        for name, command in commands.items():
            seconds[name].append(
                timed(
                    lambda command=command: subprocess.run(
                        command, input="\n", text=True, check=True, capture_output=True
                    )
                )[0]
            )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("\nwhole processes (median):")
    for name, value in medians.items():
        print(f"  {name:18} {value:6.3f} s   published : this {medians['published'] / value:.2f}")


if __name__ == "__main__":
    main()

"""Results of finished runs > tables in Markdown, with the speed of each network.

Legend: B batch, T steps.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from systems import SYSTEMS, System

from avloc.core.timeline import TimeGrid, rows_in
from avloc.datasets.loading.batch import FeatureInputs, StreamInputs

if TYPE_CHECKING:
    from avloc.models import Network

COLUMNS = ("ap@0.5", "ap@0.75", "ap@0.9", "ap@0.95", "ar@10")
SUBSETS = ("all", "audio", "visual", "both", "unseen")
CLIP_S = 9.0

Scores = dict[str, dict[str, float]]
"""Metrics by subset of the test split."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The content of a run's result file.

    Attributes:
        system: name of the system.
        title: its title in the table.
        seed: of the training.
        epochs: passes over the training split.
        parameters: number of the network's parameters.
        train_s: seconds of training; 0 for another system's network.
        validation_ap: the best validation AP; None for another system's network.
        scores: metrics by subset of the test split.
        threads: of torch.
    """

    system: str
    title: str
    seed: int
    epochs: int
    parameters: int
    train_s: float
    validation_ap: float | None
    scores: Scores
    threads: int


def build_network(system: System) -> Network:
    """A system's network, with random weights."""
    module, _, name = system.network.rpartition(".")
    return cast("Network", getattr(import_module(module), name)(**system.arguments))


def random_inputs(arguments: Mapping[str, Any], steps: int) -> FeatureInputs | StreamInputs:
    """One clip of noise, at the rates that a network of these arguments takes."""
    rates = [arguments.get(f"{modality}_rows_per_step") for modality in ("audio", "visual")]
    rows = [steps if rate is None else rows_in(steps, rate) for rate in rates]
    audio, video = (torch.randn(1, n, arguments[k]) for n, k in zip(rows, ("audio_dim", "visual_dim"), strict=True))
    audio_mask, video_mask, step_mask = (torch.ones(1, n, dtype=torch.bool) for n in (*rows, steps))
    if rates[0] is None:
        return FeatureInputs(audio, video, audio_mask, video_mask)
    return StreamInputs(audio, video, audio_mask, video_mask, torch.zeros(1), torch.zeros(1), step_mask)


class Speed(NamedTuple):
    """Median milliseconds of the network and of decoding."""

    network_ms: float
    decode_ms: float


def measure_speed(system: System, threads: int, repeats: int = 9) -> Speed:
    """Measure a network on one clip of nine seconds."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = build_network(system)
    cast(torch.nn.Module, network).eval()
    grid = TimeGrid(0.0, system.hop_s, round(CLIP_S / system.hop_s))
    inputs = random_inputs(network.arguments, grid.length)
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        with torch.inference_mode():
            output = network(**inputs._asdict())
        middle = time.perf_counter()
        network.decode(output, [grid])
        times.append((middle - begin, time.perf_counter() - middle))
    return Speed(*(1000 * statistics.median(column) for column in zip(*times[1:], strict=True)))


def read_results(out: Path, names: Sequence[str]) -> dict[str, list[RunResult]]:
    """The finished runs of each system that has any, by seed."""
    results = {
        name: [RunResult(**json.loads(path.read_text())) for path in sorted((out / "runs").glob(f"{name}-[0-9]*.json"))]
        for name in names
    }
    return {name: runs for name, runs in results.items() if runs}


def score_table(results: Mapping[str, Sequence[RunResult]], subset: str) -> list[str]:
    """A subset's scores as lines of Markdown: mean ± standard deviation over the seeds."""
    head = "| system | seeds | " + " | ".join(COLUMNS) + " |"
    lines = [f"\n**{subset}**, strict, percent\n", head, "|---" * (len(COLUMNS) + 2) + "|"]
    for name, runs in results.items():
        cells = [format_percent([run.scores[subset][column] for run in runs]) for column in COLUMNS]
        lines.append(f"| {SYSTEMS[name].title} | {len(runs)} | " + " | ".join(cells) + " |")
    return lines


def cost_table(results: Mapping[str, Sequence[RunResult]], threads: int) -> list[str]:
    """Parameters and times as lines of Markdown."""
    lines = ["\n| system | parameters | training | network, 9 s | decoding, 9 s |", "|---|---|---|---|---|"]
    for name, runs in results.items():
        speed, train_s = measure_speed(SYSTEMS[name], threads), statistics.median(run.train_s for run in runs)
        lines.append(
            f"| {SYSTEMS[name].title} | {runs[0].parameters / 1e6:.2f} M | {train_s:.0f} s ({runs[0].threads} threads) "
            f"| {speed.network_ms:.1f} ms | {speed.decode_ms:.1f} ms |"
        )
    return lines


def format_percent(values: Sequence[float]) -> str:
    """Mean ± standard deviation of fractions, in percent.

    >>> format_percent([0.5]), format_percent([0.25, 0.75])
    ('50.0', '50.0 ± 35.4')
    """
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"

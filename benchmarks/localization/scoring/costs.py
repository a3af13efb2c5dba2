"""Parameters, time of training, trials and speed of each system > a table.

Legend: B batch, T steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from comparing.system import System, build_network
from comparing.systems import SYSTEMS
from scoring.tables import Table, percent

from avloc.core.timeline import TimeGrid, rows_in
from avloc.datasets.loading.batch import FeatureInputs, StreamInputs

if TYPE_CHECKING:
    from comparing.experiment import RunResult

CLIP_S = 9.0


def random_inputs(arguments: Mapping[str, Any], steps: int) -> FeatureInputs | StreamInputs:
    """Make one clip of noise, at the rates that a network of these arguments takes."""
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


def count_settings(name: str, tried: Mapping[str, Sequence[RunResult]]) -> int:
    """Count the settings of a system's network that were trained and validated: the system itself, its trials and ablations.

    Args:
        name: of the system.
        tried: the finished runs of all systems, of the short budget.
    """
    system = SYSTEMS[name]
    return sum(
        1
        for other, runs in tried.items()
        if runs
        and not SYSTEMS[other].held_back
        and (SYSTEMS[other].network, SYSTEMS[other].modality) == (system.network, system.modality)
    )


def cost_table(
    results: Mapping[str, Sequence[RunResult]], tried: Mapping[str, Sequence[RunResult]], threads: int
) -> Table:
    """Draw the table of one budget.

    Args:
        results: the finished runs of each system in the budget, with its chosen setting.
        tried: the finished runs of all systems in the short budget, for the number of trials.
        threads: of the speed.
    """
    rows = []
    for name, runs in results.items():
        system = SYSTEMS[runs[0].system]  # the chosen setting
        runs = tried.get(system.weights_of, runs)  # a setting of the decoding alone costs the training of its network
        speed, on_cpu = measure_speed(system, threads), [run.train_s for run in runs if run.device == "cpu"]
        cells = [
            (f"{runs[0].parameters / 1e6:.2f} M",),
            (f"{count_settings(name, tried)}",),
            (f"{statistics.median(run.epochs for run in runs):g}",),
            (f"{statistics.median(on_cpu):.0f} s" if on_cpu else "–",),
            (f"{speed.network_ms:.1f} ms",),
            (f"{speed.decode_ms:.1f} ms",),
        ]
        rows.append(((system.title,), cells))
    columns = ["parameters", "settings tried", "epochs", "training", "network", "decoding"]
    used = sorted({run.threads for runs in results.values() for run in runs if run.device == "cpu"})
    note = (
        f"Median over seeds; training with {', '.join(map(str, used))} threads a run (runs on a GPU do not count); network and "
        f"decoding for one clip of {CLIP_S:g} s, median of nine, {threads} threads."
    )
    budget = next(iter(results.values()))[0].budget
    return Table(f"costs-{budget}", f"Costs, {budget} budget", "system", columns, rows, (note,))


def trials_table(tried: Mapping[str, Sequence[RunResult]]) -> Table:
    """Draw the validation AP of each setting that was tried, with seed 0: the basis of the choices."""
    rows = []
    for name, runs in tried.items():
        first = [run.validation for run in runs if run.seed == 0]
        if first and not SYSTEMS[name].held_back:
            metrics = ("ap", "ap@0.5", "ap@0.95", "ar@10")
            rows.append(
                ((SYSTEMS[name].title,), [(f"{SYSTEMS[name].lr:g}",), *((percent(first[0][m]),) for m in metrics)])
            )
    columns = ["rate", "AP", "AP@.5", "AP@.95", "AR@10"]
    return Table("trials", "Settings tried, validation split, seed 0, short budget", "setting", columns, rows)

"""The vocabulary of the GPU checks: amounts of work, the setting of a run, rows of results, and measurements on a device.

Speed is a median after a warm-up, with the device synchronized. Correctness is the difference from the CPU's float32 result,
relative to its largest value (`relative_difference`); it includes the device's own rounding, such as TF32 in convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from timing import median_seconds

if TYPE_CHECKING:
    import torch

    from avloc.datasets.loading.batch import Batch


@dataclass(frozen=True, slots=True)
class Sizes:
    """The amount of work.

    Attributes:
        clips: generated clips, of 6 s on average.
        speech_clips: clips that the extraction of sound takes: several batches of the pipeline.
        video_clips: clips that the extraction of video takes.
        extraction_rounds: rounds of each extraction; their medians are taken.
        video_stride: frames per window of MViTv2-S.
        repeats: timed runs of a network.
        batfd: arguments of `BATFD` that differ from the published size.
        batfd_plus: the same of `BATFDPlus`.
        map_frames: T of both.
        map_durations: D of both.
        batch: B, clips of a training step.
        steps: T of a training step.
        epochs: epochs of training through Lightning.
        localized_clips: clips to localize.
    """

    clips: int = 192
    speech_clips: int = 192
    video_clips: int = 48
    extraction_rounds: int = 3
    video_stride: int = 4
    repeats: int = 10
    batfd: Mapping[str, object] = field(default_factory=dict)
    batfd_plus: Mapping[str, object] = field(default_factory=dict)
    map_frames: int = 512
    map_durations: int = 40
    batch: int = 16
    steps: int = 225
    epochs: int = 2
    localized_clips: int = 8


_SMALL_MAP = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (7, 6), "samples": 4}
FULL = Sizes()
QUICK = Sizes(
    clips=9,
    speech_clips=1,
    video_clips=1,
    extraction_rounds=1,
    video_stride=200,
    repeats=1,
    batfd=_SMALL_MAP,
    batfd_plus={**_SMALL_MAP, "video_encoder": "c3d", "audio_encoder": "cnn"},
    map_frames=24,
    map_durations=9,
    batch=2,
    steps=19,
    epochs=1,
    localized_clips=1,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """The conditions of a run, the same for all checks.

    Attributes:
        device: a device of torch: `cuda`, `cuda:1`, `cpu`.
        clips: root of the generated clips, in LAV-DF's layout.
        sizes: the amount of work.
        workers: processes that decode.
    """

    device: str
    clips: Path
    sizes: Sizes
    workers: int

    @property
    def files(self) -> list[str]:
        """The clips, relative to their root."""
        return sorted(str(path.relative_to(self.clips)) for path in self.clips.rglob("*.mp4"))


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes:
        check: name of the check.
        measure: name of the quantity.
        value: the measured number.
        unit: its unit; empty for a number without one.
        difference: relative difference from the CPU's float32 result; None where nothing is compared.
    """

    check: str
    measure: str
    value: float
    unit: str
    difference: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A part of the package to measure.

    Attributes:
        name: stands in the first column of its rows.
        run: returns the rows; raises what goes wrong. Importable by name, since it runs in a process of its own.
        budget_s: the check is stopped after this time.
        needs_clips: whether it reads the generated clips.
    """

    name: str
    run: Callable[[Setting], list[Row]]
    budget_s: float
    needs_clips: bool = True


def relative_difference(values: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """The largest absolute difference, relative to the reference's largest absolute value.

    NaN on both sides counts as equal.

    Raises:
        ValueError: if the shapes differ, or a value is NaN on one side only.

    >>> relative_difference([1.0, 3.0], [1.0, 4.0])
    0.25
    """
    a, b = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"want values of shape {b.shape}, got {a.shape}")
    unequal = np.isnan(a) != np.isnan(b)
    if unequal.any():
        raise ValueError(f"{unequal.sum()} of {a.size} values are NaN, or the reference's are")
    numbers = ~np.isnan(b)
    difference = np.abs(a[numbers] - b[numbers]).max(initial=0.0)
    return float(difference / (np.abs(b[numbers]).max(initial=0.0) or 1.0))


def synchronize(device: str) -> None:
    """Wait until the device has done all work; the CPU always has."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: str) -> None:
    """Forget the peak of the device's memory until now."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_rows(check: str, measure: str, device: str) -> list[Row]:
    """A row with the peak of the device's memory since the reset; none on the CPU."""
    import torch

    if torch.device(device).type != "cuda":
        return []
    return [Row(check, f"{measure}, peak memory", torch.cuda.max_memory_allocated(device) / 1e9, "GB")]


def autocast(device: str, precision: str) -> torch.autocast:
    """Mixed precision with bf16, or none for float32."""
    import torch

    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")


def train_step(
    network: Any, batch: Batch, device: str, precision: str, optimizer: torch.optim.Optimizer | None = None
) -> float:
    """One training step; without an optimizer the gradients are dropped. Returns the loss."""
    network.train()
    with autocast(device, precision):
        loss = network.loss(network(**batch.inputs._asdict()), batch.targets)["loss"]
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    network.zero_grad()
    return float(loss.detach())


def timed_rows(
    check: str, measure: str, work: Callable[[], object], setting: Setting, difference: float | None = None
) -> list[Row]:
    """Rows of the median milliseconds and the peak memory of work on the device."""

    def synchronized() -> None:
        work()
        synchronize(setting.device)

    reset_peak_memory(setting.device)
    seconds = median_seconds({measure: synchronized}, setting.sizes.repeats)[measure]
    row = Row(check, measure, 1e3 * seconds, "ms", difference)
    return [row, *peak_memory_rows(check, measure, setting.device)]

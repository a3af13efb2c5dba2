"""BA-TFD and BA-TFD+ beside plain code of the published computations (`batfd_reference.py`): speed, memory, equality.

    python benchmarks/batfd.py                 # all parts
    python benchmarks/batfd.py --only sampling # one part

Float32 on the CPU, the published sizes (512 frames, 40 durations, 10 samples, 257 → 512 channels), random weights of a fixed
seed. Both sides run in turn in one process; the table shows medians and their ratio. Memory is the peak above the process's
memory right before the work, each side in a process of its own. `gpu.py` measures both networks on a GPU.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from batfd_reference import PUBLISHED_SIZE, dense_relation, dense_trunk, dense_weights, list_nms, loop_label
from timing import median_seconds, timed
from torch import Tensor
from torch.nn import functional as F

from avloc.core.timeline import TimeGrid
from avloc.evaluation.matching import Labels
from avloc.evaluation.metrics import score_rows
from avloc.evaluation.predictions import Predictions
from avloc.heads.map_nms import SoftNMS, soft_nms_map
from avloc.heads.maps import MapDecoding, boundary_map, decode_map
from avloc.models.batfd.boundary_module import BoundaryModule, MapFusion
from avloc.models.batfd.boundary_sampling import CellSampling, cell_sampling, first_starts
from avloc.models.batfd.network import BATFD
from avloc.models.batfd.plus import RelationModule

T, D, N = PUBLISHED_SIZE
C, WIDTHS = 256, (512, 128)
UNITS = {"s": (1, 3), "ms": (1e3, 3), "MB": (1, 0)}  # factor and digits
DECODINGS: tuple[MapDecoding, ...] = ("aligned", "published")

Work = Callable[[], object]
Head = TypeVar("Head", BoundaryModule, RelationModule)


def table_line(label: str, plain: float, avloc: float, target: str, unit: str = "s") -> str:
    """A line of the table: both sides, their ratio, and the ratio to reach."""
    factor, digits = UNITS[unit]
    both = "  ".join(f"{side * factor:9.{digits}f} {unit:2}" for side in (plain, avloc))
    return f"{label:58} {both}  {plain / avloc:7.1f}×  (want {target})"


# Memory.


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def _measure_peak(sender: Connection, prepare: Callable[[], Work]) -> None:
    """Send the peak of the work's memory, in MB above the memory right before."""
    torch.set_num_threads(2)
    with torch.inference_mode():
        work = prepare()
        before = _resident_mb()
        with open("/proc/self/clear_refs", "w") as file:  # forget the peak of the preparation
            file.write("5")
        work()
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    sender.send(peak * 1024 / 1e6 - before)


def peak_mb(prepare: Callable[[], Work]) -> float:
    """Measure the peak memory of work in a process of its own, in MB.

    Args:
        prepare: makes the work, and is not measured; importable by name.

    Raises:
        RuntimeError: if the process dies.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_peak, args=(sender, prepare))
    process.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:
        raise RuntimeError("the measured process died") from None
    finally:
        process.join()


def _features() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(1, C + 1, T)


def _module(kind: type[Head]) -> Head:
    torch.manual_seed(0)
    return kind(features=C + 1, samples=N, widths=WIDTHS).eval()


def _head() -> tuple[BoundaryModule, BoundaryModule, MapFusion]:
    fusion = MapFusion(features=C + 1, durations=D)
    return _module(BoundaryModule), _module(BoundaryModule), fusion


def prepare_sparse() -> Work:
    """BA-TFD behind its encoders, sparse; building the sampling's weights is part of the work."""
    (video, audio, fusion), features = _head(), _features()

    def work() -> object:
        sampling = cell_sampling(T, D, N, "published")
        return fusion(video(features, sampling), audio(features, sampling), features, features)

    return work


def prepare_dense() -> Work:
    """BA-TFD behind its encoders with one dense matrix for both modalities (the published code has one for each)."""
    (video, audio, fusion), features = _head(), _features()

    def work() -> object:
        weights = dense_weights()
        maps = [m.out(dense_trunk(m, features, weights))[:, 0].sigmoid() for m in (video, audio)]
        return fusion(*maps, features, features)

    return work


def prepare_relation() -> Work:
    """BA-TFD+'s boundary module of this package."""
    module, features = _module(RelationModule), _features()
    return lambda: module(features, cell_sampling(T, D, N, "published"))


def prepare_dense_relation() -> Work:
    """BA-TFD+'s boundary module in plain code."""
    module, features = _module(RelationModule), _features()
    return lambda: dense_relation(module, features, dense_weights())


# Parts.


def sampling(repeats: int) -> None:
    """Measure boundary sampling and fold, the sampling's weights, and the memory of all behind the encoders."""
    build_s, dense_matrix = timed(dense_weights)

    def build() -> CellSampling:
        cell_sampling.cache_clear()
        return cell_sampling(T, D, N, "published")

    print(table_line("building the sampling's weights", build_s, median_seconds({"": build}, repeats)[""], "≥ 30"))
    module, features = _module(BoundaryModule), _features()
    fold, cells = module.trunk.fold, build()

    def dense() -> Tensor:
        sampled = torch.matmul(features, dense_matrix).reshape(1, -1, N, D, T)
        return F.conv3d(sampled, fold.weight[..., None, None], fold.bias)[0, :, 0]

    def sparse() -> Tensor:
        return cells(fold.table(features[0])) + fold.bias

    with torch.inference_mode():
        seconds = median_seconds({"dense": dense, "sparse": sparse}, repeats)
        difference = (dense() - sparse().reshape(T, D, -1).permute(2, 1, 0)).abs().max().item()
    print(table_line("sampling and fold, one modality", seconds["dense"], seconds["sparse"], "≥ 10"))
    sparse_mb = sum(x.nbytes for x in (cells.rows.columns, cells.rows.weights, cells.rows.offsets)) / 1e6
    print(
        table_line("the sampling's weights in memory", dense_matrix.nbytes / 1e6, sparse_mb, "no 419 MB matrix", "MB")
    )
    print(f"  largest difference {difference:.1e}")
    peaks = peak_mb(prepare_dense), peak_mb(prepare_sparse)
    print(table_line("peak memory behind BA-TFD's encoders", *peaks, "≥ 4", "MB"))


def relation(repeats: int) -> None:
    """Measure BA-TFD+'s boundary module; both sides have their sampling's weights already."""
    module, features, weights = _module(RelationModule), _features(), dense_weights()
    cells = cell_sampling(T, D, N, "published")
    with torch.inference_mode():
        sides = {"plain": lambda: dense_relation(module, features, weights), "avloc": lambda: module(features, cells)}
        seconds = median_seconds(sides, repeats)
        difference = (sides["plain"]() - sides["avloc"]()).abs().max().item()
    print(table_line("BA-TFD+'s boundary module", seconds["plain"], seconds["avloc"], "≥ 2"))
    peaks = peak_mb(prepare_dense_relation), peak_mb(prepare_relation)
    print(table_line("its peak memory", *peaks, "avloc < 600 MB", "MB"))
    print(f"  largest difference {difference:.1e}")


def frames(repeats: int) -> None:
    """Measure all of BA-TFD on a clip of 215 frames in an input of 512, and its difference under bf16 autocast."""
    torch.manual_seed(0)
    network = BATFD(sampling="published").eval()
    real = 215
    video, audio = torch.rand(1, 3, T, 96, 96), torch.randn(1, 64, 4 * T)
    video[:, :, real:], audio[:, :, 4 * real :] = 0, math.log(0.01)
    count = torch.tensor([real])
    with torch.inference_mode():
        sides = {"all": lambda: network(video, audio), "real": lambda: network(video, audio, count)}
        seconds = median_seconds(sides, max(1, repeats // 2))
        whole, part = sides["all"](), sides["real"]()
    print(table_line("BA-TFD (C3D), 215 real frames of 512", seconds["all"], seconds["real"], "≥ 1.8"))
    names = ("fused_map", "video_map", "audio_map", "video_logits", "audio_logits", "video_features")
    difference = max((getattr(whole, n) - getattr(part, n))[..., :real].abs().max().item() for n in names)
    print(f"  largest difference over the real frames {difference:.1e}")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):  # float16 has no fast kernels on CPUs
        half = network(video, audio, count)
    changes = (half.fused_map - part.fused_map)[..., :real].abs()
    print(
        f"  under bf16 autocast the fused map differs by {changes.mean():.1e} on average, {changes.max():.1e} at most"
    )


def lists(repeats: int) -> None:
    """Measure soft-NMS of one clip's map, and a map's label."""
    random = np.random.default_rng(0)
    steps = 215
    scores = random.random((steps, D)) ** 4
    t, w = np.indices(scores.shape)
    scores[t + w + 1 > steps] = -np.inf
    settings = SoftNMS()
    plain = median_seconds({"": lambda: list_nms(scores, 0.04, 101, settings)}, max(1, repeats // 2))[""]
    avloc = median_seconds({"": lambda: soft_nms_map(scores, first_width=1, hop_s=0.04, keep=101)}, 50)[""]
    print(table_line(f"soft-NMS of {int(np.isfinite(scores).sum())} cells", plain, avloc, "≥ 50", "ms"))
    cells, kept = soft_nms_map(scores, first_width=1, hop_s=0.04, keep=101)
    expected = np.array(list_nms(scores, 0.04, 101, settings))
    rows = np.column_stack([kept, cells[:, 0] * 0.04, (cells.sum(axis=1) + 1) * 0.04])
    print(f"  largest difference {np.abs(rows - expected).max():.1e}")
    segments = np.array([[2.673, 3.266], [6.324, 7.376]])
    grid = TimeGrid(0, 0.04, 220)
    plain = median_seconds({"": lambda: loop_label(segments, 220, 220)}, repeats)[""]
    avloc = median_seconds({"": lambda: boundary_map(segments, grid, D, 220)}, 200)[""]
    print(table_line("a map's label, 220 frames, two fakes", plain, avloc, "≥ 300", "ms"))
    difference = np.abs(boundary_map(segments, grid, D, 220) - loop_label(segments, 220, 220)).max()
    print(f"  largest difference {difference:.1e}")


def random_segments(random: np.random.Generator, end_s: float, step_s: float) -> npt.NDArray[np.float64]:
    """One to three fakes (S, 2) of 0.16 to 1.6 s whose lengths are whole steps; those past the end are left out."""
    segments, position = [], 0.0
    for _ in range(int(random.integers(1, 4))):
        start = position + step_s * int(random.integers(1, 40))
        end = start + step_s * int(random.integers(math.ceil(0.16 / step_s), math.floor(1.6 / step_s)))
        if end > end_s:
            break
        segments.append((start, end))
        position = end + 0.2
    return np.array(segments).reshape(-1, 2)


def oracle_ap(step_s: float, decoding: MapDecoding, records: int = 200) -> dict[float, float]:
    """Strict AP by IoU of decoded ground-truth maps of generated records."""
    random = np.random.default_rng(0)
    rows, labels = {}, []
    for k in range(records):
        grid = TimeGrid(0, 0.04, int(random.integers(100, 400)))
        segments = random_segments(random, grid.end_s, step_s)
        proposals = decode_map(boundary_map(segments, grid, D, grid.length), grid, decoding=decoding)
        rows[str(k)] = np.column_stack([proposals.scores, proposals.segments])
        labels.append(segments)
    scores = score_rows(
        Predictions.from_dict(rows).rows,
        Labels.from_clips(labels),
        ap_ious=(0.5, 0.75, 0.9, 0.95),
        ar_counts=(10,),
        mode="strict",
    )
    return dict(scores.ap)


def oracle(repeats: int) -> None:
    """Decode ground-truth maps: the cost of decoding alone, as strict AP of 200 records of one to three fakes."""
    for label, step_s in (("fakes on frames (0.04 s)", 0.04), ("fakes on the 0.02 s grid", 0.02)):
        for decoding in DECODINGS:
            ap = oracle_ap(step_s, decoding)
            print(f"{label}, decoding {decoding:10} " + "  ".join(f"AP@{k:g} {v:.4f}" for k, v in ap.items()))


PARTS = {"sampling": sampling, "relation": relation, "frames": frames, "lists": lists, "oracle": oracle}


@dataclass(frozen=True, slots=True)
class BATFDOptions:
    """Options of the command line: the part to run (None: all), and timed runs of each side."""

    only: str | None
    repeats: int


def parse(arguments: Sequence[str] | None = None) -> BATFDOptions:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="run this part only (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side (default: 5)")
    return BATFDOptions(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Run the parts."""
    options = parse()
    torch.set_num_threads(2)
    print(f"{'':58} {'plain':>12}  {'avloc':>12}  {'ratio':>8}")
    for name, part in PARTS.items():
        if options.only in (None, name):
            first_starts.cache_clear()
            part(options.repeats)


if __name__ == "__main__":
    main()

"""BA-TFD and BA-TFD+ here beside the same written out plainly: dense sampling, a whole attention matrix, Python lists.

    python benchmarks/batfd.py                 # all parts
    python benchmarks/batfd.py --only sampling # one of them
    python benchmarks/batfd.py --gpu           # forward pass, training step and memory of both networks on a GPU

Float32 on CPU, the published sizes (512 frames, 40 durations, 10 samples, 257 → 512 channels), random weights of a fixed seed.
Both sides run in turn in one process; medians and their ratio are printed. Memory is the peak above what the process held
before, each side in a process of its own.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avloc.core.timeline import TimeGrid
from avloc.evaluation.matching import Labels
from avloc.evaluation.metrics import evaluate
from avloc.evaluation.predictions import Predictions
from avloc.heads.map_nms import SoftNMS, soft_nms_map
from avloc.heads.maps import boundary_map, decode_map
from avloc.models.batfd.boundary_module import BoundaryModule, MapFusion
from avloc.models.batfd.boundary_sampling import cell_sampling, first_starts
from avloc.models.batfd.network import BATFD
from avloc.models.batfd.plus import BATFDPlus, RelationModule

T, D, N, C, WIDTHS = 512, 40, 10, 256, (512, 128)


# The plain sides.


def dense_weights(kind: str = "published") -> Tensor:
    """Every point of every cell as a column of a (T, N·D·T) matrix, point by point."""
    weights = np.zeros((T, N, D, T), dtype=np.float32)
    for start in range(T - 1):
        for d in range(min(T - 1 - start, D)):
            low, high = (start, d + 1) if kind == "published" else (start, start + d + 1)
            a, b = low - (high - low) / 2, high + (high - low) / 2
            for n in range(N):
                x = a + n * (b - a) / (N - 1)
                if 0 <= x <= T - 1:
                    down, up = math.floor(x), math.ceil(x)
                    weights[down, n, d, start] += 1 - (x - down)
                    weights[up, n, d, start] += 1 - (up - x)
    return torch.from_numpy(weights.reshape(T, -1))


def dense_trunk(module: Any, features: Tensor, weights: Tensor) -> Tensor:
    """`MapTrunk` with sampling before the fold: (B, C + 1, T) → (B, 128, D, T)."""
    trunk = module.trunk
    sampled = torch.matmul(features, weights).reshape(len(features), -1, N, D, T)
    x = F.leaky_relu(F.conv3d(sampled, trunk.fold.weight[..., None, None], trunk.fold.bias)[:, :, 0], 0.01)
    x = F.leaky_relu(F.conv2d(x, trunk.squeeze.weight[..., None, None], trunk.squeeze.bias), 0.01)
    return F.leaky_relu(trunk.context(x), 0.01)


def dense_relation(module: RelationModule, features: Tensor, weights: Tensor) -> Tensor:
    """`RelationModule` with dense sampling and the position attention's matrix written out."""
    relation = module.relation
    x = dense_trunk(module, features, weights)
    y = relation.position_in(x)
    attention = relation.position
    q = attention.query(y).flatten(2).transpose(1, 2)
    k, v = (F.max_pool2d(part(y), 2).flatten(2) for part in (attention.key, attention.value))
    matrix = torch.matmul(q, k).softmax(-1)  # 1, D·T, D·T / 4
    y = y + attention.out(torch.matmul(matrix, v.transpose(1, 2)).transpose(1, 2).reshape(y.shape))
    position = relation.position_mid(y)
    channel = relation.channel_mid(relation.channel(relation.channel_in(x)))
    maps = [relation.position_out(position), relation.channel_out(channel), relation.both_out(position + channel)]
    return torch.cat(maps, 1).sigmoid()


def list_nms(scores: np.ndarray, hop_s: float, keep: int, settings: SoftNMS) -> list[list[float]]:
    """The published soft-NMS as lists: find the best, compare it with all others, again and again."""
    starts, ends, values = [], [], []
    for t in range(scores.shape[0]):
        for w in range(scores.shape[1]):
            if scores[t, w] > -math.inf:
                starts.append(t * hop_s)
                ends.append((t + w + 1) * hop_s)
                values.append(float(scores[t, w]))
    kept: list[list[float]] = []
    while len(values) > 1 and len(kept) < keep:
        best = values.index(max(values))
        start, end, value = starts.pop(best), ends.pop(best), values.pop(best)
        limit = settings.low + (settings.high - settings.low) * (end - start)
        for k in range(len(values)):
            shared = max(0.0, min(end, ends[k]) - max(start, starts[k]))
            iou = shared / ((end - start) + (ends[k] - starts[k]) - shared)
            if iou > limit:
                values[k] *= math.exp(-(iou**2) / settings.alpha)
        kept.append([value, start, end])
    return kept


def loop_label(segments: np.ndarray, frames: int, steps: int) -> np.ndarray:
    """A boundary map's label cell by cell."""
    label = np.zeros((D, frames), dtype=np.float32)
    for t in range(frames):
        for d in range(D):
            if t + d <= steps:
                best = 0.0
                for start, end in segments * 25:
                    shared = max(0.0, min(end, t + d + 1) - max(start, t))
                    best = max(best, shared / (max(end, t + d + 1) - min(start, t)) if shared else 0.0)
                label[d, t] = best
    return label


# Measuring.


def in_turn(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each side, run in turn after one run that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for k in range(repeats + 1):
        for name, work in sides.items():
            begin = time.perf_counter()
            work()
            if k:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(what: str, plain: float, ours: float, wanted: str, unit: str = "s") -> None:
    """One line of both sides and their ratio."""
    factor, digits = {"s": (1, 3), "ms": (1e3, 3), "MB": (1, 0)}[unit]
    both = "  ".join(f"{side * factor:9.{digits}f} {unit:2}" for side in (plain, ours))
    print(f"{what:58} {both}  {plain / ours:7.1f}×  (want {wanted})")


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def _peak(queue: Any, prepare: Callable[[], Callable[[], Any]]) -> None:
    """Peak memory above what is held once everything is prepared, in MB."""
    torch.set_num_threads(2)
    with torch.inference_mode():
        work = prepare()
        before = _resident_mb()
        with open("/proc/self/clear_refs", "w") as file:  # forget the peak of the preparation
            file.write("5")
        work()
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    queue.put(peak * 1024 / 1e6 - before)


def peak_mb(prepare: Callable[[], Callable[[], Any]]) -> float:
    """Peak memory of some work in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(queue, prepare))
    process.start()
    found = float(queue.get())
    process.join()
    return found


def _features() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(1, C + 1, T)


def _module(kind: type) -> Any:
    torch.manual_seed(0)
    return kind(features=C + 1, samples=N, widths=WIDTHS).eval()


def _head() -> tuple[Any, Any, MapFusion]:
    fusion = MapFusion(features=C + 1, durations=D)
    return _module(BoundaryModule), _module(BoundaryModule), fusion


def prepare_ours() -> Callable[[], Any]:
    """BA-TFD behind its encoders, sparse; the weights of the sampling are part of the work."""
    (video, audio, fusion), features = _head(), _features()

    def work() -> Any:
        sampling = cell_sampling(T, D, N, "published")
        return fusion(video(features, sampling), audio(features, sampling), features, features)

    return work


def prepare_dense() -> Callable[[], Any]:
    """The same with one dense matrix for both modalities (the published code has one for each)."""
    (video, audio, fusion), features = _head(), _features()

    def work() -> Any:
        weights = dense_weights()
        maps = [m.out(dense_trunk(m, features, weights))[:, 0].sigmoid() for m in (video, audio)]
        return fusion(*maps, features, features)

    return work


def prepare_relation() -> Callable[[], Any]:
    """BA-TFD+'s boundary module, as it is here."""
    module, features = _module(RelationModule), _features()
    return lambda: module(features, cell_sampling(T, D, N, "published"))


def prepare_dense_relation() -> Callable[[], Any]:
    """BA-TFD+'s boundary module written out."""
    module, features = _module(RelationModule), _features()
    return lambda: dense_relation(module, features, dense_weights())


# The parts.


def sampling(repeats: int) -> None:
    """Boundary sampling and fold, its weights, and the memory of everything behind the encoders."""
    begin = time.perf_counter()
    weights = dense_weights()
    plain = time.perf_counter() - begin

    def build() -> Any:
        cell_sampling.cache_clear()
        return cell_sampling(T, D, N, "published")

    ours = in_turn({"ours": build}, repeats)["ours"]
    show("building the sampling's weights", plain, ours, "≥ 30")
    module, features = _module(BoundaryModule), _features()
    fold, cells = module.trunk.fold, build()

    def dense() -> Tensor:
        sampled = torch.matmul(features, weights).reshape(1, -1, N, D, T)
        return F.conv3d(sampled, fold.weight[..., None, None], fold.bias)[0, :, 0]

    def sparse() -> Tensor:
        return cells(fold.table(features[0])) + fold.bias

    with torch.inference_mode():
        seconds = in_turn({"dense": dense, "sparse": sparse}, repeats)
        apart = (dense() - sparse().reshape(T, D, -1).permute(2, 1, 0)).abs().max().item()
    show("sampling and fold, one modality", seconds["dense"], seconds["sparse"], "≥ 10")
    megabytes = (
        sum(x.numel() * x.element_size() for x in (cells.rows.columns, cells.rows.weights, cells.rows.offsets)) / 1e6
    )
    show("the sampling's weights in memory", weights.numel() * 4 / 1e6, megabytes, "no 419 MB matrix", "MB")
    print(f"  largest difference {apart:.1e}")
    show("peak memory behind BA-TFD's encoders", peak_mb(prepare_dense), peak_mb(prepare_ours), "≥ 4", "MB")


def relation(repeats: int) -> None:
    """BA-TFD+'s boundary module, both sides with their sampling's weights made before."""
    module, features, weights = _module(RelationModule), _features(), dense_weights()
    cells = cell_sampling(T, D, N, "published")
    with torch.inference_mode():
        sides = {"dense": lambda: dense_relation(module, features, weights), "ours": lambda: module(features, cells)}
        seconds = in_turn(sides, repeats)
        apart = (sides["dense"]() - sides["ours"]()).abs().max().item()
    show("BA-TFD+'s boundary module", seconds["dense"], seconds["ours"], "≥ 2")
    show("its peak memory", peak_mb(prepare_dense_relation), peak_mb(prepare_relation), "ours < 600 MB", "MB")
    print(f"  largest difference {apart:.1e}")


def frames(repeats: int) -> None:
    """Whole BA-TFD on a clip of 215 frames in an input of 512; and in half precision."""
    torch.manual_seed(0)
    network = BATFD(sampling="published").eval()
    real = 215
    video, audio = torch.rand(1, 3, T, 96, 96), torch.randn(1, 64, 4 * T)
    video[:, :, real:], audio[:, :, 4 * real :] = 0, math.log(0.01)
    count = torch.tensor([real])
    with torch.inference_mode():
        seconds = in_turn(
            {"all": lambda: network(video, audio), "real": lambda: network(video, audio, count)}, max(1, repeats // 2)
        )
        whole, part = network(video, audio), network(video, audio, count)
    show("BA-TFD (C3D), 215 real frames of 512", seconds["all"], seconds["real"], "≥ 1.8")
    names = ("fused_map", "video_map", "audio_map", "video_logits", "audio_logits", "video_features")
    apart = max((getattr(whole, n) - getattr(part, n))[..., :real].abs().max().item() for n in names)
    print(f"  largest difference over the real frames {apart:.1e}")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):  # float16 has no fast kernels on CPUs
        half = network(video, audio, count)
    difference = (half.fused_map - part.fused_map)[..., :real].abs()
    print(
        f"  under bf16 autocast the fused map differs by {difference.mean():.1e} on average, {difference.max():.1e} at most"
    )


def lists(repeats: int) -> None:
    """Soft-NMS of one clip's map, and a map's label."""
    random = np.random.default_rng(0)
    steps = 215
    scores = random.random((steps, D)) ** 4
    t, w = np.indices(scores.shape)
    scores[t + w + 1 > steps] = -np.inf
    settings = SoftNMS()
    plain = in_turn({"lists": lambda: list_nms(scores, 0.04, 101, settings)}, max(1, repeats // 2))["lists"]
    ours = in_turn({"ours": lambda: soft_nms_map(scores, first_width=1, hop_s=0.04, keep=101)}, 50)["ours"]
    show(f"soft-NMS of {int(np.isfinite(scores).sum())} cells", plain, ours, "≥ 50", "ms")
    cells, kept = soft_nms_map(scores, first_width=1, hop_s=0.04, keep=101)
    expected = np.array(list_nms(scores, 0.04, 101, settings))
    got = np.column_stack([kept, cells[:, 0] * 0.04, (cells.sum(axis=1) + 1) * 0.04])
    print(f"  largest difference {np.abs(got - expected).max():.1e}")
    segments = np.array([[2.673, 3.266], [6.324, 7.376]])
    grid = TimeGrid(0, 0.04, 220)
    plain = in_turn({"loop": lambda: loop_label(segments, 220, 220)}, repeats)["loop"]
    ours = in_turn({"ours": lambda: boundary_map(segments, grid, D, 220)}, 200)["ours"]
    show("a map's label, 220 frames, two fakes", plain, ours, "≥ 300", "ms")
    print(
        f"  largest difference {np.abs(boundary_map(segments, grid, D, 220) - loop_label(segments, 220, 220)).max():.1e}"
    )


def oracle(repeats: int) -> None:
    """Ground-truth maps decoded: what decoding alone costs. Strict AP of 200 records of one to three fakes."""
    for what, step, kinds in (
        ("fakes on frames (0.04 s)", 0.04, ("aligned", "published")), ("fakes on the 0.02 s grid", 0.02, ("aligned", "published"))
    ):  # fmt: skip
        for kind in kinds:
            random = np.random.default_rng(0)
            rows, labels = {}, []
            for _ in range(200):
                steps = int(random.integers(100, 400))
                grid, found, position = TimeGrid(0, 0.04, steps), [], 0.0
                for _ in range(int(random.integers(1, 4))):
                    start = position + step * int(random.integers(1, 40))
                    end = start + step * int(random.integers(math.ceil(0.16 / step), math.floor(1.6 / step)))
                    if end > grid.end_s:
                        break
                    found.append((start, end))
                    position = end + 0.2
                segments = np.array(found).reshape(-1, 2)
                proposals = decode_map(boundary_map(segments, grid, D, steps), grid, decoding=kind)  # type: ignore[arg-type]
                rows[f"{len(rows)}"] = np.column_stack([proposals.scores, proposals.segments])
                labels.append(segments)
            found_rows = Predictions.of(rows).rows
            score = evaluate(
                found_rows, Labels.of(labels), ap_ious=(0.5, 0.75, 0.9, 0.95), ar_counts=(10,), mode="strict"
            )
            print(f"{what}, decoding {kind:10} " + "  ".join(f"AP@{k:g} {v:.4f}" for k, v in score.ap.items()))


def gpu(repeats: int) -> None:
    """Forward pass, training step and memory of both networks at the published size, on a GPU."""
    if not torch.cuda.is_available():
        print("no GPU here")
        return
    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment
    from avloc.heads.maps import MapTargetMaker, MapTargets

    print(torch.cuda.get_device_name())
    record = VideoRecord("x", "t", None, (Segment(1.0, 1.8),), ())
    one, _ = MapTargetMaker(D)(record, TimeGrid(0, 0.04, 215), T)
    targets = MapTargets(*(torch.as_tensor(t)[None].cuda() for t in one))
    for name, network in (("BATFD", BATFD()), ("BATFDPlus", BATFDPlus())):
        network = network.cuda()
        video, audio = torch.rand(1, 3, T, 96, 96, device="cuda"), torch.randn(1, 64, 4 * T, device="cuda")
        for dtype in (None, torch.bfloat16):

            def run(training: bool, network: Any = network, dtype: Any = dtype, given: Any = (video, audio)) -> None:
                network.train(training)
                with torch.autocast("cuda", dtype=dtype, enabled=dtype is not None), torch.set_grad_enabled(training):
                    output = network(*given)
                    if training:
                        network.loss(output, targets)["loss"].backward()
                        network.zero_grad()
                torch.cuda.synchronize()

            for training in (False, True):
                torch.cuda.reset_peak_memory_stats()
                seconds = in_turn({"x": lambda training=training: run(training)}, repeats)["x"]  # type: ignore[misc]
                peak = torch.cuda.max_memory_allocated() / 1e9
                what = "training step" if training else "forward pass"
                print(
                    f"{name}, {what}, {'float32' if dtype is None else 'bf16'}: {seconds * 1e3:.1f} ms, {peak:.2f} GB"
                )


PARTS = {"sampling": sampling, "relation": relation, "frames": frames, "lists": lists, "oracle": oracle}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", choices=PARTS, help="one part")
    options.add_argument("--gpu", action="store_true", help="the GPU's part alone")
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(2)
    if given.gpu:
        gpu(given.repeats)
        return
    print(f"{'':58} {'plain':>12}  {'avloc':>12}  {'ratio':>8}")
    for name, part in PARTS.items():
        if given.only in (None, name):
            first_starts.cache_clear()
            part(given.repeats)


if __name__ == "__main__":
    main()

"""The checks of `gpu.py`: each measures one part of the package on a device and returns rows of a table.

Networks have random weights of a fixed seed, and clips are generated, so nothing is downloaded. `gpu_measures` says how speed
and correctness are measured. A new check is a function from `Setting` to rows, and an entry of `CHECKS`.

Legend: B batch, C width, T steps or frames.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gpu_front_ends import fine_tuning
from gpu_measures import Check, Row, Setting, Sizes, autocast, relative_difference, timed_rows, train_step
from timing import timed

if TYPE_CHECKING:
    import torch

    from avloc.datasets.loading.batch import Batch
    from avloc.models import Network

PRECISIONS = ("float32", "bf16")
FEATURES = ("logspec", "residual_grid")
DEMO = {  # as configs/demo.yaml
    "audio_dim": 513,
    "visual_dim": 320,
    "audio_spectral_channels": 12,
    "audio_rows_per_step": 4.0,
    "visual_rows_per_step": 1.0,
    "visual_grid_channels": 24,
    "stem_layers": 0,
    "first_steps": 8.0,
    "levels": 4,
    "distance_bins": 16,
}
WITHOUT_DROPOUT = {"dropout": 0.0, "input_dropout": 0.0, "modality_dropout": 0.0}


# BA-TFD and BA-TFD+.


def batfd(setting: Setting) -> list[Row]:
    """Measure BA-TFD on pixels and log-mels."""
    from avloc.models import BATFD

    return _map_network("BATFD", BATFD, setting.sizes.batfd, setting)


def batfd_plus(setting: Setting) -> list[Row]:
    """Measure BA-TFD+ on pixels and log-mels."""
    from avloc.models import BATFDPlus

    return _map_network("BATFDPlus", BATFDPlus, setting.sizes.batfd_plus, setting)


def _map_network(check: str, network_type: type, arguments: Mapping[str, object], setting: Setting) -> list[Row]:
    """Forward pass and training step of one clip in float32 and bf16, with the fused map compared with the CPU's."""
    import torch

    sizes = setting.sizes
    torch.manual_seed(0)
    network: Any = network_type(**arguments, frames=sizes.map_frames, durations=sizes.map_durations)
    video, audio = torch.rand(1, 3, sizes.map_frames, 96, 96), torch.randn(1, 64, 4 * sizes.map_frames)
    with torch.inference_mode():
        reference = network.eval()(video, audio).fused_map.numpy()
    batch = _labelled_batch(network, video, audio).to(setting.device)
    network.to(setting.device)
    rows = []
    for precision in PRECISIONS:  # all before the first training step, which changes the running means of batch norms
        fused = _forward(network, batch, setting.device, precision).fused_map.float().cpu().numpy()
        difference = relative_difference(fused, reference)
        rows += timed_rows(
            check,
            f"forward pass, {precision}",
            lambda p=precision: _forward(network, batch, setting.device, p),
            setting,
            difference,
        )
    for precision in PRECISIONS:
        rows += timed_rows(
            check,
            f"training step, {precision}",
            lambda p=precision: train_step(network, batch, setting.device, p),
            setting,
        )
    return rows


def _labelled_batch(network: Network, video: torch.Tensor, audio: torch.Tensor) -> Batch:
    """A clip with a visual fake from 0.2 to 0.6 s."""
    import torch

    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment, TimeGrid
    from avloc.datasets.loading.batch import Batch, ClipInputs, stack_targets

    frames = video.shape[2]
    records = [VideoRecord("clip", "train", visual_segments=(Segment(0.2, 0.6),))]
    grids = [TimeGrid(0.0, 0.04, frames)]
    inputs = ClipInputs(video, audio, torch.tensor([frames]))
    return Batch(inputs, grids, records, *stack_targets(records, grids, frames, network.target_maker))


def _forward(network: Any, batch: Batch, device: str, precision: str) -> Any:
    import torch

    network.eval()
    with torch.inference_mode(), autocast(device, precision):
        return network(**batch.inputs._asdict())


# Extraction.


def extract_wavlm(setting: Setting) -> list[Row]:
    """Measure extraction with WavLM base+."""
    return _extraction("wavlm_base_plus", {"random": True}, setting, setting.sizes.speech_clips)


def extract_mvit(setting: Setting) -> list[Row]:
    """Measure extraction with MViTv2-S."""
    arguments = {"random": True, "batch": 32, "stride": setting.sizes.video_stride}
    return _extraction("mvit_v2_s", arguments, setting, setting.sizes.video_clips)


def _extraction(name: str, arguments: dict[str, object], setting: Setting, clips: int) -> list[Row]:
    """Rates of the network alone, of decoding alone and of the pipeline, in half precision; features beside the CPU's."""
    from statistics import median

    from extraction import DeviceRates, decode_streams, device_rates

    from avloc.feature_extraction.job.worker import ExtractionSettings

    sizes = setting.sizes
    precision = "bf16" if setting.device == "cpu" else "16"  # float16 has no fast kernels on CPUs
    settings = ExtractionSettings(
        setting.clips,
        ((name, arguments),),
        device=setting.device,
        precision=precision,
        networks_in_parent=True,
        workers=setting.workers,
    )
    files = setting.files[:clips]
    measured = device_rates(settings, files, sizes.extraction_rounds)
    rates = DeviceRates(*(median(column) for column in zip(*measured, strict=True)))
    extractor = settings.build_extractors()[0]
    second = round(extractor.window_cutter().unit / extractor.hop_s)  # frames or samples
    stream = decode_streams(extractor, setting.clips, files[:1])[0][: 2 * second]
    values = extractor.rows([stream])[0]
    extractor.to("cpu", "32")  # type: ignore[attr-defined]
    difference = relative_difference(values, extractor.rows([stream])[0])
    check = f"extraction, {name}"
    label = "bf16" if precision == "bf16" else "fp16"
    return [
        Row(check, f"network alone, {label}", rates.network, "clips/s", difference),
        Row(check, f"decoding alone, {setting.workers} workers", rates.decoding, "clips/s"),
        Row(check, f"pipeline, {label}", rates.pipeline, "clips/s"),
        Row(check, "the pipeline's share of the lower one", median(m.share for m in measured), ""),
    ]


# BoundaryTransformer.


def train_steps(setting: Setting) -> list[Row]:
    """Measure training steps of the demo's BoundaryTransformer on random features; compare the loss after some steps."""
    batch = _feature_batch(setting.sizes)
    steps = max(2, setting.sizes.repeats)
    reference = _losses(batch, "cpu", "float32", steps)
    rows = []
    for precision in PRECISIONS:
        losses = _losses(batch, setting.device, precision, steps)
        network, optimizer, moved = _demo_training(batch, setting.device)
        rows += timed_rows(
            "training",
            f"step of {setting.sizes.batch} clips, {precision}",
            lambda n=network, b=moved, p=precision, o=optimizer: train_step(n, b, setting.device, p, o),
            setting,
        )
        difference = relative_difference([losses[-1]], [reference[-1]])
        rows.append(Row("training", f"loss after {steps} steps, {precision}", losses[-1], "", difference))
    return rows


def _feature_batch(sizes: Sizes) -> Batch:
    """Random features; every other clip has an audio fake."""
    import torch

    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment, TimeGrid, rows_in
    from avloc.datasets.loading.batch import Batch, StreamInputs, stack_targets
    from avloc.models import BoundaryTransformer

    torch.manual_seed(1)
    rows = [rows_in(sizes.steps, DEMO[key]) for key in ("audio_rows_per_step", "visual_rows_per_step")]
    audio, video = (
        torch.randn(sizes.batch, n, DEMO[k]) for n, k in zip(rows, ("audio_dim", "visual_dim"), strict=True)
    )
    masks = [torch.ones(sizes.batch, n, dtype=torch.bool) for n in (*rows, sizes.steps)]
    inputs = StreamInputs(audio, video, *masks[:2], torch.zeros(sizes.batch), torch.zeros(sizes.batch), masks[2])
    records = [
        VideoRecord(str(k), "train", audio_segments=(Segment(0.2, 0.6),) if k % 2 else ()) for k in range(sizes.batch)
    ]
    grids = [TimeGrid(0.0, 0.04, sizes.steps)] * sizes.batch
    maker = BoundaryTransformer(**DEMO).target_maker
    return Batch(inputs, grids, records, *stack_targets(records, grids, sizes.steps, maker))


def _demo_training(batch: Batch, device: str) -> tuple[Any, torch.optim.Optimizer, Batch]:
    """A new network, its optimizer, and the batch, on a device."""
    import torch

    from avloc.models import BoundaryTransformer

    torch.manual_seed(0)
    network = BoundaryTransformer(**DEMO, **WITHOUT_DROPOUT).to(device)  # type: ignore[arg-type]
    return network, torch.optim.AdamW(network.parameters(), lr=1e-3), batch.to(device)


def _losses(batch: Batch, device: str, precision: str, steps: int) -> list[float]:
    network, optimizer, moved = _demo_training(batch, device)
    return [train_step(network, moved, device, precision, optimizer) for _ in range(steps)]


def train_lightning(setting: Setting) -> list[Row]:
    """Train the demo's BoundaryTransformer as `avloc train` does, in bf16: extracted features, epochs, validation."""
    import pytorch_lightning as pl
    import torch

    from avloc.datasets.loading.feature_data import FeatureData
    from avloc.feature_extraction.job.run import extract
    from avloc.feature_extraction.job.worker import ExtractionSettings
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.models import BoundaryTransformer
    from avloc.training.module import LocalizationModule

    device = torch.device(setting.device)
    with tempfile.TemporaryDirectory() as folder:
        settings = ExtractionSettings(setting.clips, tuple((name, {}) for name in FEATURES), workers=setting.workers)
        extract(setting.files, FeatureStore(Path(folder)), settings)
        data = FeatureData(
            dataset="lavdf",
            root=str(setting.clips),
            store=folder,
            extractors=list(FEATURES),
            batch_size=setting.sizes.batch,
        )
        pl.seed_everything(0, verbose=False)
        module = LocalizationModule(BoundaryTransformer(**DEMO))  # type: ignore[arg-type]
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision="bf16-mixed",
            max_epochs=setting.sizes.epochs,
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        seconds = timed(lambda: trainer.fit(module, datamodule=data)).seconds
    losses = [float(value) for name, value in trainer.callback_metrics.items() if "loss" in name]
    if not losses or not np.isfinite(losses).all():
        raise ValueError(f"want finite losses after training, got {losses}")
    measure = f"{setting.sizes.epochs} epochs of {len(setting.files)} clips with validation, bf16"
    return [Row("training through Lightning", measure, seconds, "s")]


def localize(setting: Setting) -> list[Row]:
    """Localize clips with a checkpoint of random weights; compare each step's fakeness with the CPU's."""
    from avloc.inference.localizer import Localizer

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random.ckpt"
        _write_random_checkpoint(checkpoint)
        paths = [setting.clips / file for file in setting.files[: setting.sizes.localized_clips]]
        cpu = Localizer.from_checkpoint(checkpoint)
        reference = [cpu.localize(path).fakeness for path in paths]
        rows = []
        for precision, label in (("32", "float32"), ("bf16", "bf16")):
            localizer = Localizer.from_checkpoint(checkpoint, device=setting.device, precision=precision)
            localizer.localize(paths[0])
            calls = [timed(lambda p=path, at=localizer: at.localize(p)) for path in paths]
            difference = max(
                relative_difference(call.result.fakeness, expected)  # type: ignore[attr-defined]
                for call, expected in zip(calls, reference, strict=True)
            )
            seconds = float(np.median([call.seconds for call in calls]))
            rows.append(Row("localize", f"a clip of about 6 s, {label}", 1e3 * seconds, "ms", difference))
    return rows


def _write_random_checkpoint(path: Path) -> None:
    import torch

    from avloc.core.descriptions import TrainingContext
    from avloc.feature_extraction.extractors.catalog import build_extractor
    from avloc.models import BoundaryTransformer
    from avloc.models.checkpoint import write_checkpoint

    torch.manual_seed(0)
    descriptions = tuple(build_extractor(name, {}).describe() for name in FEATURES)
    network = BoundaryTransformer(**DEMO)  # type: ignore[arg-type]
    write_checkpoint(path, network, TrainingContext(hop_s=0.04, extractors=descriptions, native_rate=True))


CHECKS = (
    Check("BATFD", batfd, budget_s=60, needs_clips=False),
    Check("BATFDPlus", batfd_plus, budget_s=100, needs_clips=False),
    Check("extraction, wavlm_base_plus", extract_wavlm, budget_s=150),
    Check("extraction, mvit_v2_s", extract_mvit, budget_s=150),
    Check("training", train_steps, budget_s=60, needs_clips=False),
    Check("training through Lightning", train_lightning, budget_s=60),
    Check("fine-tuning", fine_tuning, budget_s=90, needs_clips=False),
    Check("localize", localize, budget_s=60),
)

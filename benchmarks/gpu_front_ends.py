"""The check of fine-tuning a speech network within BoundaryTransformer: time and memory of a step, by what learns.

WavLM base+ in its size with random weights, clips of 8 s at 16 kHz in bf16; in the tiny form a small WavLM. Legend: B batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_measures import Row, Setting, Sizes, relative_difference, timed_rows, train_step

if TYPE_CHECKING:
    from avloc.datasets.loading.batch import Batch

SETTINGS = {
    "base+": {"model_type": "wavlm"},  # transformers' defaults are the base size
    "tiny": {
        "model_type": "wavlm",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "conv_dim": [4] * 7,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    },
}
WITHOUT_DROPOUT = {"hidden_dropout": 0.0, "activation_dropout": 0.0, "attention_dropout": 0.0, "feat_proj_dropout": 0.0}
RUNS = (("frozen", False), ("lora", False), ("lora", True), ("all", False), ("all", True))
CLIP_S, HOP_S = 8.0, 0.04


def fine_tuning(setting: Setting) -> list[Row]:
    """Measure training steps with LoRA and with all weights, with and without checkpointing; compare a loss with the CPU's."""
    import torch

    rows = []
    batch = sound_batch(setting.sizes)
    for tuning, checkpointing in RUNS:
        network = speech_network(setting.sizes, tuning, checkpointing).to(setting.device)
        moved = batch.to(setting.device)
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-4)
        rows += timed_rows(
            "fine-tuning",
            f"{tuning}{', checkpointing' if checkpointing else ''}: step of {setting.sizes.batch} clips, bf16",
            lambda n=network, b=moved, o=optimizer: train_step(n, b, setting.device, "bf16", o),
            setting,
        )
        del network, optimizer, parameters
    return [*rows, _loss_row(setting)]


def _loss_row(setting: Setting) -> Row:
    """The loss of one clip in float32, compared with the CPU's."""
    one = sound_batch(setting.sizes, clips=1)
    losses = []
    for device in ("cpu", setting.device):
        network = speech_network(setting.sizes, "lora", False).to(device)
        losses.append(train_step(network, one.to(device), device, "float32"))
    return Row("fine-tuning", "loss of a clip, float32", losses[1], "", relative_difference(losses[1:], losses[:1]))


def speech_network(sizes: Sizes, tuning: str, checkpointing: bool) -> Any:
    """A BoundaryTransformer on a WavLM, without dropout, of a fixed seed."""
    import torch

    from avloc.models import BoundaryTransformer

    torch.manual_seed(0)
    settings = SETTINGS["tiny" if sizes.batch < 4 else "base+"] | WITHOUT_DROPOUT
    return BoundaryTransformer(
        audio_dim=160,
        visual_dim=320,
        audio_rows_per_step=4.0,
        visual_rows_per_step=1.0,
        audio_front_end="speech",
        audio_front_end_options={
            "settings": settings,
            "tuning": tuning,
            "top_layers": 1,
            "checkpointing": checkpointing,
        },
        dropout=0.0,
        input_dropout=0.0,
        modality_dropout=0.0,
    )


def sound_batch(sizes: Sizes, clips: int | None = None) -> Batch:
    """Noise as sound, and random features of the picture; every other clip has an audio fake."""
    import torch

    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment, TimeGrid, rows_in
    from avloc.datasets.loading.batch import Batch, StreamInputs, stack_targets

    count = clips or sizes.batch
    steps = min(sizes.steps, round(CLIP_S / HOP_S))
    torch.manual_seed(1)
    rows = rows_in(steps, 4.0)
    audio = torch.randint(-3000, 3000, (count, rows, 160)).to(torch.int16)
    masks = [torch.ones(count, n, dtype=torch.bool) for n in (rows, steps, steps)]
    video = torch.randn(count, steps, 320)
    inputs = StreamInputs(audio, video, *masks[:2], torch.zeros(count), torch.zeros(count), masks[2])
    fake = (Segment(0.2, 0.6),)
    records = [VideoRecord(str(k), "train", audio_segments=() if k % 2 else fake) for k in range(count)]
    grids = [TimeGrid(0.0, HOP_S, steps)] * count
    maker = speech_network(Sizes(batch=1), "frozen", False).target_maker
    return Batch(inputs, grids, records, *stack_targets(records, grids, steps, maker))

"""frames > MViTv2, log-mels > ViT: BA-TFD+'s encoders, built from torchvision. Legend: B batch, F frames, C width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.video.mvit import MSBlockConfig, MViT
from torchvision.models.vision_transformer import Encoder

from avloc.errors import AvlocError

Size = Literal["t", "s", "b"]
BLOCKS: dict[str, tuple[int, ...]] = {"t": (1, 2, 5, 2), "s": (1, 2, 11, 2), "b": (2, 3, 16, 3)}
STAGE_WIDTHS, STAGE_HEADS, STAGE_KV_STRIDES = (96, 192, 384, 768), (1, 2, 4, 8), (8, 4, 2, 1)
VIT_WIDTHS: dict[str, tuple[int, int]] = {"t": (192, 3), "s": (384, 6), "b": (768, 12)}
VIT_LAYERS = 12
FRAME_SIZE = 96  # pixels per side


class VideoMViT(nn.Module):
    """Video (B, 3, F, 96, 96) > features (B, C, F): Li et al., "MViTv2", CVPR 2022, with one step per frame.

    A frame has 8 × 8 tokens at first and one at the end. Every frame attends to all others, padding included.

    Args:
        size: `t`, `s` or `b`.
        frames: F, fixed.
        width: C, a multiple of 8.
        checkpointed: in training, keep only the blocks' inputs and compute the activations a second time in the backward pass.

    Raises:
        AvlocError: if C is no multiple of 8; by `forward`, if the video does not have F frames.
    """

    def __init__(self, *, size: Size, frames: int, width: int = 256, checkpointed: bool = False) -> None:
        super().__init__()
        if width % STAGE_HEADS[-1]:
            raise AvlocError(f"MViT needs a width that its {STAGE_HEADS[-1]} heads divide, got {width}")
        self.frames, self.width, self.checkpointed = frames, width, checkpointed
        self.mvit = MViT(
            (FRAME_SIZE, FRAME_SIZE),
            frames,
            _block_settings(size, width),
            residual_pool=True,
            residual_with_cls_embed=False,
            rel_pos_embed=True,
            proj_after_attn=True,
            stochastic_depth_prob=0.2,
            patch_embed_kernel=(3, 15, 15),
            patch_embed_stride=(1, 12, 12),
            patch_embed_padding=(1, 3, 3),
        )
        self.mvit.head = nn.Identity()

    def forward(self, video: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Encode a batch (B, 3, F, 96, 96); `n_frames` has no effect, since every frame attends to all others."""
        _check_length(video.shape[2], self.frames, "video")
        x = self.mvit.conv_proj(video).flatten(2).transpose(1, 2)  # B, F·64, 96
        x = self.mvit.pos_encoding(x)
        size = (self.frames, *self.mvit.pos_encoding.spatial_size)
        for block in self.mvit.blocks:
            x, size = _run(lambda x, size, block=block: block(x, size), self, x, size)
        return self.mvit.norm(x)[:, 1:].transpose(1, 2)  # without the class token


class AudioViT(nn.Module):
    """Log-mel (B, 64, 4·F) > one patch of 64 × 4 per frame > features (B, C, F): Dosovitskiy et al., "ViT", ICLR 2021.

    Args:
        size: `t`, `s` or `b`.
        frames: F, fixed.
        width: C.
        checkpointed: in training, keep only the layers' inputs and compute the activations a second time in the backward pass.

    Raises:
        AvlocError: by `forward`, if the log-mels do not have 4·F steps.

    >>> AudioViT(size="t", frames=3, width=4).eval()(torch.zeros(1, 64, 12)).shape
    torch.Size([1, 4, 3])
    """

    def __init__(self, *, size: Size, frames: int, width: int = 256, checkpointed: bool = False) -> None:
        super().__init__()
        hidden, heads = VIT_WIDTHS[size]
        self.frames, self.width, self.checkpointed = frames, width, checkpointed
        self.patch = nn.Conv2d(1, hidden, (64, 4), stride=(64, 4))
        self.encoder = Encoder(frames, VIT_LAYERS, heads, hidden, 4 * hidden, dropout=0.0, attention_dropout=0.0)
        self.project = nn.Linear(hidden, width)

    def forward(self, audio: Tensor) -> Tensor:
        _check_length(audio.shape[2] // 4, self.frames, "audio")
        x = self.patch(audio[:, None])[:, :, 0].transpose(1, 2)  # B, F, hidden
        x = x + self.encoder.pos_embedding
        for layer in self.encoder.layers:
            x = _run(layer, self, x)
        return self.project(self.encoder.ln(x)).transpose(1, 2)


def _block_settings(size: Size, width: int) -> list[MSBlockConfig]:
    """Settings of all blocks; the first block of a stage widens the tokens and halves their grid, the last one has width C."""
    settings = []
    for stage, count in enumerate(BLOCKS[size]):
        for k in range(count):
            first, last = k == 0, stage == 3 and k == count - 1
            q = 2 if first and stage else 1
            settings.append(
                MSBlockConfig(
                    num_heads=STAGE_HEADS[stage],
                    input_channels=STAGE_WIDTHS[stage - 1] if first and stage else STAGE_WIDTHS[stage],
                    output_channels=width if last else STAGE_WIDTHS[stage],
                    kernel_q=[3, 3, 3],
                    kernel_kv=[3, 3, 3],
                    stride_q=[1, q, q],
                    stride_kv=[1, STAGE_KV_STRIDES[stage], STAGE_KV_STRIDES[stage]],
                )
            )
    return settings


def _run(block: Callable[..., Tensor], encoder: VideoMViT | AudioViT, *inputs: object) -> Tensor:
    if encoder.checkpointed and encoder.training and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def _check_length(length: int, frames: int, stream: str) -> None:
    if length != frames:
        raise AvlocError(f"this encoder takes {stream} of {frames} frames, got {length}; pad or squeeze clips to that")

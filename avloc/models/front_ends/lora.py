"""Low-rank updates of linear layers: W x + s·B A x; only A and B learn.

Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022. Written here instead of taken from `peft`: a
checkpoint must not need an optional package to be read, and WavLM's attention passes its layers' weights to a function of torch,
which ignores a layer's own `forward`.

Legend: D inputs, C outputs, K rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class LoRALinear(nn.Module):
    """A frozen linear layer with a low-rank update that learns; at first the update is 0: (…, D) → (…, C).

    Args:
        base: the layer.
        rank: K.
        scale: s; by the paper's convention alpha / K.

    Attributes:
        weight: W + s·B A (C, D), for code that does not call the layer.

    >>> layer = nn.Linear(5, 3)
    >>> x = torch.ones(2, 5)
    >>> bool((LoRALinear(layer, rank=2)(x) == layer(x)).all())
    True
    """

    def __init__(self, base: nn.Linear, *, rank: int, scale: float = 2.0) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), scale
        self.in_features, self.out_features = base.in_features, base.out_features
        self.down = nn.Parameter(torch.empty(rank, base.in_features))  # A
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))  # B
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    @property
    def weight(self) -> Tensor:
        return self.base.weight + self.scale * (self.up @ self.down)

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = linear(linear(x, self.down), self.up)
        return self.base(x) + self.scale * update


def add_lora(module: nn.Module, names: tuple[str, ...], rank: int) -> list[LoRALinear]:
    """Put low-rank updates on the linear layers of these names anywhere in a module; returns them.

    >>> block = nn.ModuleDict({"q_proj": nn.Linear(3, 3), "other": nn.Linear(3, 3)})
    >>> len(add_lora(block, ("q_proj",), rank=2)), type(block["q_proj"]).__name__, type(block["other"]).__name__
    (1, 'LoRALinear', 'Linear')
    """
    added = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if name in names and isinstance(child, nn.Linear):
                added.append(LoRALinear(child, rank=rank))
                parent.add_module(name, added[-1])
    return added

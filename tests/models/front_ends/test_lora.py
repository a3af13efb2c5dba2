from __future__ import annotations

import torch
from torch import nn

from avloc.models.front_ends.lora import LoRALinear, add_lora


def test_the_update_is_of_low_rank_and_alone_learns():
    torch.manual_seed(0)
    base = nn.Linear(7, 5)
    layer = LoRALinear(base, rank=2, scale=3.0)
    with torch.no_grad():
        layer.up.normal_()
    x = torch.randn(4, 7)
    expected = x @ (base.weight + 3.0 * layer.up @ layer.down).T + base.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(nn.functional.linear(x, layer.weight, layer.bias), expected)
    assert torch.linalg.matrix_rank(layer.weight - base.weight) == 2
    layer(x).sum().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is not None] == ["down", "up"]


def test_layers_are_found_by_name_at_any_depth():
    network = nn.ModuleList(nn.ModuleDict({"q_proj": nn.Linear(3, 3), "v": nn.Linear(3, 3)}) for _ in range(2))
    added = add_lora(network, ("q_proj",), rank=1)
    assert [network[0]["q_proj"], network[1]["q_proj"]] == added
    assert all(type(block["v"]) is nn.Linear for block in network)

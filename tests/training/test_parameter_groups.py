from __future__ import annotations

import pytest
from torch import nn

from avloc.errors import AvlocError
from avloc.training.parameter_groups import PretrainedRates, parameter_groups


class Pretrained(nn.Module):
    """Three pretrained layers, of which the middle one is frozen, under a new projection."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.layers[1].requires_grad_(False)
        self.project = nn.Linear(2, 5)

    def pretrained_groups(self):
        return [[p for p in layer.parameters() if p.requires_grad] for layer in reversed(self.layers)]


def test_each_parameter_is_in_one_group_and_rates_fall_from_the_top():
    network = nn.ModuleDict({"front": Pretrained(), "head": nn.Linear(5, 1)})
    groups = parameter_groups(network, 1e-3, PretrainedRates(1e-4, 0.5))
    assert [(group["lr"], group["pretrained"]) for group in groups] == [(1e-3, False), (1e-4, True), (0.25e-4, True)]
    front, head = network["front"], network["head"]
    expected = [[front.project, head], [front.layers[2]], [front.layers[0]]]
    for group, modules in zip(groups, expected, strict=True):
        assert {id(p) for p in group["params"]} == {id(p) for m in modules for p in m.parameters()}


def test_parameters_without_decay_are_in_groups_of_their_own():
    class Undecayed(Pretrained):
        def undecayed_parameters(self):
            return [p for p in self.parameters() if p.dim() <= 1]

    network = nn.ModuleDict({"front": Undecayed(), "head": nn.Linear(5, 1)})
    groups = parameter_groups(network, 1e-3, PretrainedRates(1e-4))
    layers, project, head = network["front"].layers, network["front"].project, network["head"]
    expected = [
        ((1e-3, False, None), [project.weight, head.weight, head.bias]),
        ((1e-3, False, 0.0), [project.bias]),
        ((1e-4, True, None), [layers[2].weight]),
        ((1e-4, True, 0.0), [layers[2].bias]),
        ((1e-4, True, None), [layers[0].weight]),
        ((1e-4, True, 0.0), [layers[0].bias]),
    ]
    assert [(g["lr"], g["pretrained"], g.get("weight_decay")) for g in groups] == [values for values, _ in expected]
    for group, (_, parameters) in zip(groups, expected, strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in parameters]


def test_without_a_rate_of_their_own_pretrained_layers_learn_like_the_rest():
    assert [group["lr"] for group in parameter_groups(Pretrained(), 0.1, PretrainedRates())] == [0.1] * 3


@pytest.mark.parametrize("rates", [PretrainedRates(1e-4), PretrainedRates(None, 0.9), PretrainedRates(None, 1.0, 2)])
def test_rates_without_effect_are_refused(rates):
    with pytest.raises(AvlocError, match="are for pretrained layers that learn, and the network has none"):
        parameter_groups(nn.Linear(2, 2), 0.1, rates)


@pytest.mark.parametrize("rates", [PretrainedRates(0.0), PretrainedRates(None, 1.1), PretrainedRates(None, 1.0, -1)])
def test_rates_out_of_range(rates):
    with pytest.raises(AvlocError, match="want front_end_lr > 0, 0 < layer_decay ≤ 1 and frozen_epochs ≥ 0"):
        rates.check()

from __future__ import annotations

import pytest


def test_every_system_differs_from_the_others():
    from systems import SYSTEMS

    assert len({system.title for system in SYSTEMS.values()}) == len(SYSTEMS)
    settings = [
        (s.network, sorted(map(str, s.arguments.items())), s.lr, s.hop_s, s.pseudo_forgeries, s.weights_of)
        for s in SYSTEMS.values()
    ]
    assert all(settings.count(setting) == 1 for setting in settings)


def test_all_systems_have_one_budget():
    from systems import EPOCHS, MAIN, TRIALS

    assert {system.epochs for system in MAIN.values()} == {EPOCHS}
    assert {system.lr for system in MAIN.values()} == {2e-3}
    assert {system.lr for system in TRIALS.values()} == {1e-3}
    assert [f"{name}_slow" for name in MAIN] == list(TRIALS)


def test_other_arguments_leave_the_system_alone():
    from systems import OURS, System

    system = System("a.B", "b", {"width": 3, "heads": 1})
    wide = system.with_arguments("wide", width=9)
    assert (wide.title, wide.arguments, wide.weights_of) == ("wide", {"width": 9, "heads": 1}, "")
    assert system.arguments == {"width": 3, "heads": 1}
    assert system.decoded_with("other", voting_iou=0.0).weights_of == OURS


@pytest.mark.parametrize("name", ["no_voting", "no_boundaries", "no_merging"])
def test_systems_that_share_weights_have_the_same_parameters(name):
    from systems import SYSTEMS
    from tables import build_network

    shapes = [
        {key: value.shape for key, value in build_network(SYSTEMS[n]).state_dict().items()}
        for n in (name, SYSTEMS[name].weights_of)
    ]
    assert shapes[0] == shapes[1]

from __future__ import annotations

import pytest
import torch

from avloc.models import check_network


def test_every_system_differs_from_the_others():
    from comparing.systems import SYSTEMS

    assert len({system.title for system in SYSTEMS.values()}) == len(SYSTEMS)
    settings = [
        (s.network, sorted(map(str, s.arguments.items())), s.lr, s.hop_s, s.pseudo_forgeries, s.modality, s.weights_of,
         s.extractors, s.data, s.held_back)
        for s in SYSTEMS.values()
    ]  # fmt: skip
    assert all(settings.count(setting) == 1 for setting in settings)
    assert len({system.key for system in SYSTEMS.values() if not system.weights_of}) == len(
        [system for system in SYSTEMS.values() if not system.weights_of]
    )


def test_folds_hold_back_every_sound_method_once():
    from comparing.systems import FOLDS, HELD_BACK, SYSTEMS
    from forging.forgers import SOUND, UNSEEN_MOUTH, UNSEEN_SOUND

    held_back = [method for methods in FOLDS.values() for method in methods]
    assert len({*held_back}) == len(held_back) == 9
    assert not {*held_back} & (UNSEEN_SOUND | UNSEEN_MOUTH)
    assert {*SOUND} - UNSEEN_SOUND <= {*held_back}
    assert HELD_BACK["wide_b"].arguments == SYSTEMS["wide"].arguments
    assert HELD_BACK["wide_b"].held_back == FOLDS["b"]


def test_main_systems_have_the_same_trials_front_ends_and_short_heads():
    from comparing.main_systems import BASELINES, MAIN, REFERENCES, TRIALS
    from comparing.system import OURS

    assert {system.lr for system in MAIN.values()} == {2e-3}
    assert {system.lr for system in TRIALS.values()} == {1e-3}
    assert [f"{name}_slow" for name in MAIN] == list(TRIALS)
    assert [*MAIN] == [*BASELINES, OURS]
    options = ("audio_spectral_channels", "audio_spectral_differences", "visual_grid_channels")
    fronts = {tuple(system.arguments[option] for option in options) for system in MAIN.values()}
    assert len(fronts) == 1
    heads = [system.short for system in (MAIN | REFERENCES).values()]
    assert all(0 < len(head) <= 8 for head in heads)
    assert len(set(heads)) == len(heads)


def test_streams_come_at_their_own_rate_but_for_version_0_1():
    from comparing.systems import SYSTEMS

    hops_s = {"logspec": 0.01, "waveform": 0.01, "whisper_base": 0.02, "residual_grid": 0.04}
    for name, system in SYSTEMS.items():
        rates = [system.arguments[f"{modality}_rows_per_step"] for modality in ("audio", "visual")]
        own = [system.hop_s / hops_s[extractor] for extractor in (system.extractors[0], "residual_grid")]
        expected = [None, None] if name == "version_0_1" else own
        assert rates == pytest.approx(expected), name


def test_every_main_system_can_be_built_and_names_modalities():
    from comparing.main_systems import MAIN, REFERENCES
    from comparing.system import build_network

    for system in (MAIN | REFERENCES).values():
        network = check_network(build_network(system))
        targets = network.target_maker
        assert targets is not None
        if network.longest_segment_steps:  # the corpus has fakes of 1.5 s
            assert network.longest_segment_steps * system.hop_s >= 1.5


@pytest.mark.parametrize("name", ["no_voting", "no_boundaries", "no_merging"])
def test_systems_that_share_weights_have_the_same_parameters(name):
    from comparing.system import build_network
    from comparing.systems import SYSTEMS

    shapes = [
        {key: value.shape for key, value in build_network(SYSTEMS[n]).state_dict().items()}
        for n in (name, SYSTEMS[name].weights_of)
    ]
    assert shapes[0] == shapes[1]


def test_weights_of_version_0_1_depend_on_no_default():
    """The network has the parameters of version 0.1 but for three scales that its distances did not use."""
    from comparing.system import build_network
    from comparing.systems import SYSTEMS

    torch.manual_seed(0)
    network = build_network(SYSTEMS["version_0_1"])
    assert sum(p.numel() for p in network.parameters()) == 978_200


def test_one_system_sees_no_segments():
    from comparing.main_systems import REFERENCES
    from comparing.system import build_network
    from comparing.systems import SYSTEMS

    weak = [name for name, system in SYSTEMS.items() if system.clip_labels_only]
    assert weak == ["clip_labels_only"]
    assert {name: SYSTEMS[name].monitor for name in ("tridet", *weak)} == {
        "tridet": "val/ap",
        "clip_labels_only": "val/auc",
    }
    for system in SYSTEMS.values():
        needs = (
            getattr(build_network(system).target_maker, "needs_segments", True)
            if system in REFERENCES.values()
            else True
        )
        assert needs is not system.clip_labels_only

from __future__ import annotations

from dataclasses import replace


def test_other_arguments_leave_the_system_alone():
    from comparing.system import OURS, System

    system = System("a.B", "b", "c", {"width": 3, "heads": 1})
    wide = system.with_arguments("wide", width=9)
    assert (wide.title, wide.arguments, wide.weights_of) == ("wide", {"width": 9, "heads": 1}, "")
    assert system.arguments == {"width": 3, "heads": 1}
    assert system.decoded_with("other", voting_iou=0.0).weights_of == OURS


def test_what_changes_a_training_changes_the_key():
    from comparing.system import System

    system = System("a.B", "b", "c", {"width": 3})
    others = (
        {"lr": 1e-3},
        {"front_end_lr": 1e-4},
        {"held_back": ("lpc",)},
        {"data": {"copies": 2}},
        {"precision": "bf16-mixed"},
    )
    keys = {system.key, *(replace(system, **other).key for other in others)}
    assert len(keys) == 6
    assert replace(system, title="other", short="o", setting="s").key == system.key

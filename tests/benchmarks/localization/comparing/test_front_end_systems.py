from __future__ import annotations

from avloc.models.front_ends.lips import LipFrontEnd
from avloc.models.stems import Stem


def test_front_ends_read_samples_and_judge_the_audio_alone():
    from comparing.front_end_systems import FRONT_ENDS
    from comparing.main_systems import REFERENCES
    from comparing.system import build_network

    assert FRONT_ENDS["audio_alone"] is REFERENCES["audio_alone"]
    for name, system in FRONT_ENDS.items():
        is_cached = name in ("audio_alone", "cached_plain")
        assert system.modality == "audio"
        assert system.extractors == ("logspec" if is_cached else "waveform", "residual_grid")
        assert isinstance(build_network(system).stems[0], Stem) == is_cached
    assert [name for name, system in FRONT_ENDS.items() if system.data] == [
        *("augmented", "borrowed", "spliced", "long_borrowed", "long_both", "two_windows_ranges"),
        *("long_revoiced", "two_windows_revoiced"),
    ]


def test_a_speech_network_that_learns_differs_in_its_tuning_and_rate_alone():
    from comparing.front_end_systems import FRONT_ENDS

    frozen, learning = FRONT_ENDS["whisper_frozen"], FRONT_ENDS["whisper_all"]
    assert (frozen.front_end_lr, learning.front_end_lr) == (None, 1e-4)
    parts = [system.arguments["audio_front_end_options"]["front_ends"] for system in (frozen, learning)]
    assert parts[0][0] == parts[1][0]
    assert [part[1] for part in parts] == [{"name": "whisper", "tuning": tuning} for tuning in ("frozen", "all")]


def test_mouth_crops_differ_from_cells_in_the_visual_stream_alone():
    from comparing.front_end_systems import VISUAL_FRONT_ENDS
    from comparing.system import build_network

    cells, lips = VISUAL_FRONT_ENDS["visual_alone"], VISUAL_FRONT_ENDS["lips"]
    assert isinstance(build_network(lips).stems[1], LipFrontEnd)
    assert (cells.modality, lips.modality) == ("visual", "visual")
    assert {key for key, value in lips.arguments.items() if cells.arguments.get(key) != value} == {
        *("visual_dim", "visual_front_end", "visual_front_end_options"),
    }
    assert [system.extractors for system in (cells, lips)] == [("logspec", "residual_grid"), ("logspec", "mouth")]

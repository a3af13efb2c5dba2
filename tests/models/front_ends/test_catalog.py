from __future__ import annotations

import pytest
from torch import nn

from avloc.errors import AvlocError
from avloc.models.front_ends.catalog import FRONT_ENDS, build_front_end, check_front_end_options, find_front_end

STREAM = {"modality": "audio", "row_width": 160, "rows_per_step": 4.0, "width": 8, "layers": 0, "dropout": 0.1}


@pytest.mark.parametrize(
    ("name", "options", "stream", "message"),
    [
        ("mfcc", {}, {}, "unknown front end 'mfcc', want one of spectrogram, raw, speech, whisper, parallel, lips"),
        ("raw", {"filter": 3}, {}, "front end raw has no option 'filter', it has: filters, kernel, kind"),
        ("raw", {"width": 3}, {}, "front end raw has no option 'width'"),
        ("raw", {"filters": "many"}, {}, "front end raw: filters must be a whole number, got 'many'"),
        ("raw", {"filters": True}, {}, "front end raw: filters must be a whole number, got True"),
        ("raw", {"kind": ["sinc"]}, {}, r"kind of sinc, learned, got 400, \['sinc'\]"),
        ("spectrogram", {"phase": "no"}, {}, "front end spectrogram: phase must be true or false, got 'no'"),
        ("spectrogram", {"n_fft": 512.0}, {}, "front end spectrogram: n_fft must be a whole number, got 512.0"),
        ("lips", {"side": 96.5}, {"modality": "visual"}, "front end lips: side must be a whole number, got 96.5"),
        ("speech", {"weights": 3}, {}, "front end speech: an option has a wrong value"),
        ("raw", [("filters", 3)], {}, "front end raw: its options must be named, got"),
        ("raw", {}, {"modality": "visual"}, "front end raw takes the audio stream, not the visual one"),
        ("raw", {}, {"row_width": 513}, r"takes rows of 160 numbers \(extractor waveform\), the stream has 513"),
        (
            "lips",
            {},
            {"modality": "visual", "row_width": 1},
            r"takes rows of 9216 numbers \(extractor mouth\), the stream has 1",
        ),
        ("raw", {}, {"rows_per_step": None}, "takes its stream at its own rate"),
    ],
)
def test_wrong_front_ends(name, options, stream, message):
    with pytest.raises(AvlocError, match=message):
        build_front_end(name, options, **STREAM | stream)


NO_FRONT_END = {"audio_front_end": "", "visual_front_end": ""}
NO_FRONT_END |= {"audio_front_end_options": None, "visual_front_end_options": None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"audio_front_end_options": {"filters": 3}}, "audio_front_end_options have no effect without audio_front_end"),
        ({"visual_front_end_options": {"side": 32}}, "visual_front_end_options have no effect without"),
        ({"audio_front_end": "raw", "audio_spectral_channels": 4}, "audio_spectral_channels=4 is for cached features"),
        ({"audio_front_end": "raw", "audio_spectral_bins": 9}, "audio_spectral_bins=9 is for cached features"),
        ({"audio_front_end": "raw", "audio_layers": 2}, "audio_layers=2 is for cached features"),
        ({"visual_front_end": "lips", "visual_grid_channels": 4}, "visual_grid_channels=4 is for cached features"),
        ({"visual_front_end": "lips", "visual_layers": 2}, "visual_layers=2 is for cached features"),
    ],
)
def test_arguments_without_effect_are_refused(arguments, message):
    check_front_end_options(NO_FRONT_END | {"visual_layers": 1})
    with pytest.raises(AvlocError, match=message):
        check_front_end_options(NO_FRONT_END | arguments)


def test_a_front_end_is_found_by_its_modality():
    front_end = build_front_end("raw", {"filters": 3, "kernel": 40}, **STREAM)
    network = nn.ModuleDict({"other": nn.Linear(2, 2), "stem": front_end})
    assert find_front_end(network, "audio") is front_end
    assert find_front_end(network, "visual") is None


def test_all_names_are_built():
    assert {name: modality for name, (_, _, modality) in FRONT_ENDS.items()} == {
        "spectrogram": "audio",
        "raw": "audio",
        "speech": "audio",
        "whisper": "audio",
        "parallel": "audio",
        "lips": "visual",
    }

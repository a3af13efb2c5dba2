from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from avloc.datasets.synthetic.speech_pieces import (
    FADE_SAMPLES,
    GRID_SAMPLES,
    MARGIN_SAMPLES,
    SpeechPiece,
    change_rate,
    cut_pieces,
    join_pieces,
    load_speakers,
    scale_to_rms,
)
from avloc.errors import AvlocError


def words(*lengths_s, gap_s=0.1):
    """Bursts of a tone between pauses, at 16 kHz."""
    parts = [np.zeros(4000)]
    for length in lengths_s:
        time = np.arange(round(length * 16000)) / 16000
        parts += [0.5 * np.sin(2 * np.pi * 300 * time), np.zeros(round(gap_s * 16000))]
    return np.concatenate([*parts, np.zeros(12000)]).astype(np.float32)


def test_words_between_pauses_become_pieces():
    samples = words(0.3, 0.24, 0.4)
    pieces = cut_pieces(samples, "a")
    assert len(pieces) == 3
    for piece, length in zip(pieces, (0.3, 0.24, 0.4), strict=True):
        assert piece.speaker == "a"
        assert piece.length % GRID_SAMPLES == 0
        assert abs(piece.length / 16000 - length) <= 0.05
        body = piece.samples[MARGIN_SAMPLES:-MARGIN_SAMPLES]
        assert np.sqrt((body**2).mean()) > 0.25


@pytest.mark.parametrize("samples", [0, MARGIN_SAMPLES, 3 * MARGIN_SAMPLES])
def test_recordings_without_room_for_a_word_give_no_pieces(samples):
    assert cut_pieces(np.ones(samples, dtype=np.float32), "a") == []


def test_rate_shortens_and_keeps_the_grid():
    piece = SpeechPiece("a", np.ones(2 * MARGIN_SAMPLES + 20 * GRID_SAMPLES, dtype=np.float32))
    faster = change_rate(piece, Fraction(5, 4))
    assert faster.length == 14 * GRID_SAMPLES  # (20 + 2 · 5 steps) / 1.25, without the margins of 5 steps
    assert change_rate(piece, Fraction(1)).length == piece.length
    slower = change_rate(piece, Fraction(4, 5))
    assert slower.length > 20 * GRID_SAMPLES
    assert slower.length % GRID_SAMPLES == 0


def test_level_is_that_of_the_middle():
    samples = np.concatenate([np.full(MARGIN_SAMPLES, 9.0), np.full(500, 0.2), np.full(MARGIN_SAMPLES, 9.0)])
    scaled = scale_to_rms(samples.astype(np.float32), 0.1)
    np.testing.assert_allclose(scaled[MARGIN_SAMPLES:-MARGIN_SAMPLES], 0.1, rtol=1e-6)
    assert scale_to_rms(np.zeros(10, dtype=np.float32)).tolist() == [0] * 10


def test_touching_pieces_cross_fade_to_a_constant():
    samples = np.ones(2 * MARGIN_SAMPLES + 10 * GRID_SAMPLES, dtype=np.float32)
    length = 10 * GRID_SAMPLES
    line = join_pieces([(1000, samples), (1000 + length, samples)], 9000)
    assert line.shape == (9000,)
    half = FADE_SAMPLES // 2
    np.testing.assert_allclose(line[1000 + half : 1000 + 2 * length - half], 1, atol=1e-6)
    assert not line[: 1000 - half].any()
    assert not line[1000 + 2 * length + half :].any()
    assert not join_pieces([], 50).any()


def test_speakers_of_folders_and_of_files(tmp_path):
    import soundfile

    (tmp_path / "ann").mkdir()
    for name in ("ann/1.wav", "ann/2.wav", "bob.wav"):
        soundfile.write(tmp_path / name, np.zeros(1600), 16000)
    (tmp_path / "note.txt").write_text("x")
    speakers = load_speakers(tmp_path)
    assert {name: len(recordings) for name, recordings in speakers.items()} == {"ann": 2, "bob": 1}
    assert speakers["bob"][0].shape == (1600,)


def test_unusable_folders_of_speech(tmp_path):
    with pytest.raises(AvlocError, match="none: no such folder of speech recordings"):
        load_speakers(tmp_path / "none")
    with pytest.raises(AvlocError, match=r"no speech recordings \(\.aac, "):
        load_speakers(tmp_path)
    (tmp_path / "a.wav").write_text("none")
    with pytest.raises(AvlocError, match="a speech recording cannot be read"):
        load_speakers(tmp_path)

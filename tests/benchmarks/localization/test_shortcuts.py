from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.synthetic.encode import write_mp4


def test_area_under_the_curve():
    from shortcuts import area_under_curve

    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert area_under_curve(scores, np.array([False, False, True, True])) == 0.75
    assert area_under_curve(np.ones(5), np.array([True, False, True, False, False])) == 0.5


@pytest.fixture
def draw_facts():
    """A function that draws clips of 150 sources; forged ones differ in length by `shift` standard deviations."""
    from shortcuts import Facts

    def draw(shift):
        rng = np.random.default_rng(0)
        return [
            Facts({"file size": [rng.normal(), rng.normal() + shift * len(forged)]}, frozenset(forged), f"s{source}")
            for source in range(150)
            for forged in ((), ("audio",), ("visual",))
        ]

    return draw


def test_a_planted_shortcut_is_found_and_none_where_none_is(draw_facts):
    from shortcuts import find_shortcuts

    [none] = find_shortcuts(draw_facts(0.0), ["file size"])
    assert not none.is_shortcut
    assert none.low < 0.5 < none.high
    assert (none.real, none.forged) == (150, 300)
    [planted] = find_shortcuts(draw_facts(1.0), ["file size"])
    assert planted.is_shortcut
    assert planted.low < planted.auc < planted.high
    assert planted.auc == pytest.approx(0.76, abs=0.06)  # Φ(1 / √2)


def test_sound_is_compared_with_clips_of_forged_sound():
    from shortcuts import Facts, find_shortcuts

    rng = np.random.default_rng(0)
    facts = [
        Facts({"loudness": [rng.normal() + 3 * ("visual" in forged)]}, frozenset(forged), str(source))
        for source in range(60)
        for forged in ((), ("audio",), ("visual",))
    ]
    [row] = find_shortcuts(facts, ["loudness"])
    assert (row.real, row.forged) == (60, 60)
    assert not row.is_shortcut


def test_facts_of_a_clip(tmp_path):
    from shortcuts import EDIT_GROUP, GROUPS, clip_facts, edit_facts

    t = np.arange(32000) / 16000
    samples = (0.2 * np.sin(2 * np.pi * 500 * t)).astype(np.float32)
    samples[16000:] = 0.1 * np.random.default_rng(0).normal(0, 1, 16000)
    (tmp_path / "val").mkdir()
    write_mp4(tmp_path / "val" / "a.mp4", np.full((50, 64, 64, 3), 128, np.uint8), samples, audio_bit_rate=96_000)
    record = VideoRecord(
        "val/a.mp4", "val", 2.0, audio_segments=(Segment(0.2, 0.6),), attributes=(("video_frames", "50"),)
    )
    details = SimpleNamespace(
        words=[(0.2, 0.6), (1.1, 1.6)], video_start_s=0.01, splices=[(1.1, 1.6)], methods={"audio": "lpc"}, source="s"
    )
    facts = clip_facts(tmp_path, record, details)
    assert facts.values.keys() == GROUPS.keys() - {EDIT_GROUP}
    assert facts.values["length, frames, start"] == [pytest.approx(2, abs=0.1), 50, 0.01, 2]
    assert facts.values["number of edits"] == [0, 0, 1, 0, 0, 0, 0]
    mean, _, spread = facts.values["loudness of words"]
    levels = [20 * np.log10(0.2 / np.sqrt(2)), -20]
    assert mean == pytest.approx(np.mean(levels), abs=0.4)
    assert spread == pytest.approx(np.ptp(levels), abs=0.4)
    tilt_of_tone_and_noise = facts.values["spectral tilt of words"]
    assert tilt_of_tone_and_noise[5] > 10  # dB between words
    forged, genuine = edit_facts(record, details)
    assert (forged.forged, genuine.forged) == ({"audio"}, frozenset())
    assert forged.values[EDIT_GROUP] == [pytest.approx(x) for x in (0.4, np.log(0.4), 0.2, 0.3)]


def test_table(monkeypatch, tmp_path, draw_facts):
    import shortcuts

    monkeypatch.setattr(shortcuts, "read_facts", lambda clips, workers: draw_facts(1.0))
    monkeypatch.setattr(shortcuts, "GROUPS", {"file size": ""})
    lines = shortcuts.check(tmp_path).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| file size | 0.7")
    assert lines[2].endswith("| 150 | 300 | **shortcut** |")

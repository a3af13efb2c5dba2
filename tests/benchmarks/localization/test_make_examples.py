from __future__ import annotations

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets import read_records
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError
from avloc.feature_extraction import probe

FORGED = (Segment(1.0, 1.4),)


@pytest.fixture
def script():
    import make_examples

    return make_examples


def records(count=4):
    kinds = {"real": ((), ()), "audio": (FORGED, ()), "visual": ((), FORGED), "both": (FORGED, FORGED)}
    return [
        VideoRecord(f"{kind}{k}.mp4", "test", 9.0 - k, *segments)
        for kind, segments in kinds.items()
        for k in range(count)
    ]


def test_the_shortest_clips_of_each_kind_are_chosen_once(script):
    chosen = script.choose(records())
    assert [role.name for role in chosen] == [role.name for role in script.ROLES]
    assert [chosen[role].file for role in script.ROLES[:2]] == ["both3.mp4", "both2.mp4"]
    assert len({record.file for record in chosen.values()}) == 12


def test_too_few_clips_of_a_kind_are_refused(script):
    with pytest.raises(AvlocError, match="too few clips with the forged modality 'real' for real-sound-alone"):
        script.choose([record for record in records() if record.file != "real0.mp4"])


def test_labels_have_a_row_per_segment_and_modality(script):
    role = script.Role("x", "both")
    assert script.labels_csv({role: records()[-1]}).splitlines() == [
        "file,start,end,modality",
        "x.mp4,1.0,1.4,audio",
        "x.mp4,1.0,1.4,visual",
    ]


def test_a_clip_is_encoded_in_the_best_quality_that_fits(script, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (25, 192, 192, 3)).astype(np.uint8)
    write_mp4(tmp_path / "in.mp4", noise, np.zeros(16_000, np.float32), crf=10)
    script.shrink(tmp_path / "in.mp4", tmp_path / "sound.mp4", ("audio",))
    info = probe(tmp_path / "sound.mp4")
    assert (info.width, info.sample_rate) == (None, 16_000)
    monkeypatch.setattr(script, "QUALITIES", (20, 51))
    monkeypatch.setattr(script, "MOST_BYTES", 300_000)
    script.shrink(tmp_path / "in.mp4", tmp_path / "small.mp4", ("audio", "visual"))
    assert (tmp_path / "small.mp4").stat().st_size < 300_000
    monkeypatch.setattr(script, "MOST_BYTES", 10)
    with pytest.raises(AvlocError, match="bytes at the lowest quality, want at most 10"):
        script.shrink(tmp_path / "in.mp4", tmp_path / "small.mp4", ("audio",))


@pytest.mark.slow
def test_a_set_becomes_the_packages_clips(script, tmp_path):
    script.make(tmp_path / "out", tmp_path / "set", clips=72)
    assert len(read_records("folder", tmp_path / "out")) == 12

from __future__ import annotations

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers.catalog import dataset_modalities, public_name, read_records
from avloc.datasets.readers.partialspoof import (
    NO_SPOOF,
    STEPS_S,
    UNLISTED,
    frame_labels,
    labels_path,
    protocol_path,
    write,
)
from avloc.errors import AvlocError

FAKE = VideoRecord(
    "eval/con_wav/CON_E_0000001.wav", "eval", 2.0, audio_segments=(Segment(0.5, 0.75), Segment(1.9, 2.0))
)
REAL = VideoRecord("eval/con_wav/LA_E_0000002.wav", "eval", 1.5)


@pytest.fixture
def root(tmp_path):
    write(tmp_path, [FAKE, REAL], {})
    return tmp_path


def save(root, frames, step_s=0.01):
    np.save(labels_path(root, "eval", step_s), np.array(frames, dtype=object), allow_pickle=True)


def test_write_and_read_are_inverse(root):
    table = read_records("partialspoof", root, "test")  # the set calls it eval
    assert [(r.file, r.split, r.duration_s, r.audio_segments, r.visual_segments) for r in table] == [
        (r.file, r.split, r.duration_s, r.audio_segments, ()) for r in (FAKE, REAL)
    ]
    assert not table.repaired
    assert public_name("partialspoof", table[0]) == "CON_E_0000001"
    assert dataset_modalities("partialspoof") == ("audio",)
    assert (root / "eval" / "eval.lst").read_text() == "CON_E_0000001\nLA_E_0000002\n"


def test_finest_labels_are_read_and_a_flac_is_found(root):
    for step_s in STEPS_S[:-3]:
        labels_path(root, "eval", step_s).unlink()
    (root / "eval" / "con_wav").mkdir()
    (root / "eval" / "con_wav" / "CON_E_0000001.flac").touch()
    [fake, real] = read_records("partialspoof", root, "eval")
    assert fake.audio_segments == (Segment(0.48, 0.8), Segment(1.76, 2.08))  # frames of 160 ms
    assert (fake.file, fake.duration_s) == ("eval/con_wav/CON_E_0000001.flac", 2.08)
    assert real.audio_segments == ()


def test_a_frame_is_spoof_if_any_part_is():
    record = VideoRecord("a.wav", "eval", 1.0, audio_segments=(Segment(0.3, 0.3001), Segment(0.6, 0.7)))
    assert "".join(frame_labels(record, 0.1)) == "1110110111"[:3] + "011" + "0111"


@pytest.mark.parametrize("kind", [list, np.array, lambda texts: np.array([int(t) for t in texts])])
def test_labels_as_lists_texts_and_numbers(root, kind):
    save(root, {"CON_E_0000001": kind(list("1001")), "LA_E_0000002": kind(list("111"))})
    [fake, real] = read_records("partialspoof", root, "eval")
    assert (fake.audio_segments, fake.duration_s, real.duration_s) == ((Segment(0.01, 0.03),), 0.04, 0.03)


def test_clips_that_one_file_lacks(root):
    save(root, {"CON_E_0000001": ["1", "1"], "LA_E_0000002": ["1"], "other": ["0"]})
    table = read_records("partialspoof", root, "eval")
    assert [r.modality for r in table] == ["real", "real"]
    assert table.repaired == {NO_SPOOF: 1, UNLISTED: 1}
    save(root, {"LA_E_0000002": ["1"]})
    with pytest.raises(
        AvlocError, match=r"eval\.trl\.txt: line 1: the clip CON_E_0000001 has no labels in .*_0\.01\.npy"
    ):
        read_records("partialspoof", root, "eval")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["0", "1"], "LA_E_0000002: has 1 frames of spoof .'0'., but the protocol calls the clip bonafide"),
        (["1", "x"], "LA_E_0000002: want a label '1' .bona fide. or '0' .spoof. per frame, got 'x'"),
        ([], "LA_E_0000002: want a label .* per frame, got list of no frames"),
        ([["1"], ["1"]], "LA_E_0000002: want a label .* per frame"),
        ({"a": 1}, "LA_E_0000002: want a label .* per frame"),
    ],
)
def test_wrong_frame_labels_name_the_clip(root, labels, message):
    save(root, {"CON_E_0000001": ["0"], "LA_E_0000002": labels})
    with pytest.raises(AvlocError, match=message) as error:
        read_records("partialspoof", root, "eval")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "LA_1 a - CON spoof\r\nLA_1 a - CON\r\n",
            "line 2: want speaker, clip, -, system and bonafide or spoof, got 'LA_1 a - CON'",
        ),
        ("LA_1 a - CON fake\n", "line 1: want speaker, clip, -, system and bonafide or spoof"),
        ("LA_1 CON_E_0000001 - CON spoof\n" * 2, "line 2: the clip CON_E_0000001 is in the file more than once"),
        ("LA_1 ../x - CON spoof\n", "entry 1: the file '../x' leads out"),
    ],
)
def test_malformed_protocols_name_the_line(root, text, message):
    save(root, {"a": ["0"], "CON_E_0000001": ["0"]})
    protocol_path(root, "eval").write_bytes(text.encode())
    with pytest.raises(AvlocError, match=message):
        read_records("partialspoof", root, "eval")


def test_missing_files(root, tmp_path):
    with pytest.raises(AvlocError, match="PartialSpoof.LA.cm.train.trl.txt: no such protocol"):
        (protocol_path(root, "train")).unlink()
        read_records("partialspoof", root, "train")
    for step_s in STEPS_S:
        labels_path(root, "eval", step_s).unlink()
    with pytest.raises(AvlocError, match=r"eval_seglab_0\.01\.npy: no such label file, nor one of another step"):
        read_records("partialspoof", root, "eval")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AvlocError, match="no PartialSpoof protocols here, want protocols/PartialSpoof_LA"):
        read_records("partialspoof", tmp_path / "empty")

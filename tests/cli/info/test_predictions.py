from __future__ import annotations

import io
import pickle
from dataclasses import replace

import pytest

from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance
from avloc.errors import AvlocError
from avloc.heads.candidates import PointDecoding
from avloc.inference.raw.raw_file import NamedClip, RawSettings, pack_clips, write_raw
from avloc.io.provenance import write_sidecar

ROWS = {"a.mp4": [[0.9, 1.0, 1.5], [0.25, 2.0, 6.25]], "b.mp4": []}
RTTM = """SPEAKER a 1 2 4.25 <NA> <NA> spoof 0.9 <NA>
SPEAKER a 1 1 1 <NA> <NA> spoof 0.25 <NA>
SPEAKER b 1 0 1 <NA> <NA> bonafide <NA> <NA>
"""
CHECKPOINT = CheckpointIdentity(FileIdentity("best.ckpt", "ab" * 32, 9), "BATFD", "the split train of lavdf")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.json", ROWS),
        (
            "r.json",
            {
                "version": "1.3",
                "results": {
                    "a.mp4": [{"segment": [2.0, 6.25], "score": 0.9}, {"segment": [1, 2], "score": 0.25}],
                    "b.mp4": [],
                },
            },
        ),
        ("p.rttm", RTTM),
        ("p.pkl", None),
    ],
)
def test_predictions_of_all_forms(describe, write, tmp_path, name, content):
    path = tmp_path / name
    if content is None:
        path.write_bytes(pickle.dumps(ROWS))
    else:
        write(name, content)
    description, facts = describe(path, "predictions")
    assert facts["Clips"] == "2, 1 of them without rows"
    assert (facts["Rows"], facts["Scores"], facts["Latest end"]) == ("2, at most 2 per clip", "0.25 to 0.9", "6.25 s")
    assert description.commands[0].startswith(f"avloc evaluate {path} METADATA.json")


def test_no_rows_at_all(describe, write):
    _, facts = describe(write("p.json", {}), "predictions")
    assert (facts["Clips"], facts["Rows"], facts["Scores"]) == ("0", "0", "")


def test_the_record_beside_predictions_is_shown_if_it_is_theirs(describe, write):
    path = write("p.json", ROWS)
    write_sidecar(path, Provenance("0.1.0", "2026-11-26T09:30:00Z", checkpoint=CHECKPOINT))
    _, facts = describe(path, "predictions")
    assert (facts["Trained on"], facts["Made by"]) == ("the split train of lavdf", "avloc 0.1.0")
    write("p.json", {"a.mp4": []})
    _, facts = describe(path, "predictions")
    assert facts["Record"] == "the one beside it is of other content"
    assert "Trained on" not in facts


def test_malformed_predictions_are_named(describe, write):
    with pytest.raises(AvlocError, match=r"p\.json: .*a\.mp4"):
        describe(write("p.json", {"a.mp4": [[0.5, 1.0]]}), "predictions")


def test_scores_of_clips_and_a_key(describe, write):
    description, facts = describe(write("prediction.txt", "a.mp4;0.5\nb.mp4;0.125\n"), "clip_scores")
    assert (facts["Clips"], facts["Scores"]) == ("2", "0.125 to 0.5")
    assert " --save calibration.json" in description.commands[1]
    _, facts = describe(write("scores.tsv", "filename\tcm-score\na\t-1.5\nb\t2\n"), "clip_scores")
    assert facts["Scores"] == "-2 to 1.5"
    assert "sign" in facts["Note"]
    description, facts = describe(
        write("key.tsv", "filename\tcm-label\na\tspoof\nb\tbonafide\nc\tspoof\n"), "clip_scores"
    )
    assert (description.title, facts["Clips"]) == ("key of ASVspoof", "3, 2 of them fake")


def test_raw_rows_are_tuned_on_a_validation_split_alone(describe, tmp_path):
    settings = RawSettings(PointDecoding(), 50, "ab", "lavdf", "dev", "dev")
    for split, option in (("dev", "--save"), ("test", "--use")):
        path = tmp_path / f"{split}.h5"
        write_raw(path, [io.BytesIO(pack_clips([NamedClip("a.mp4", None)]))], replace(settings, split=split))
        description, facts = describe(path, "raw")
        assert (facts["Clips"], facts["Dataset"]) == ("1 clip", f"lavdf, split {split}")
        assert option in description.commands[0]


def test_another_hdf5_file_is_no_file_of_raw_rows(describe, write):
    with pytest.raises(AvlocError, match=r"x\.h5: not a file of raw rows"):
        describe(write("x.h5", "text"), "raw")

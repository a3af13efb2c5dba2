from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.heads.candidates import PointDecoding
from avloc.inference.raw.decoding import RawDecoder, decode_clips
from avloc.inference.raw.raw_file import NamedClip, RawFile
from avloc.inference.raw.tuned_file import TunedSettings

TUNED = TunedSettings(PointDecoding(), 3)


@pytest.fixture
def raw(raw_folder):
    return RawFile(raw_folder / "val.h5")


def test_a_failed_clip_has_no_rows(raw):
    rows = dict(decode_clips([NamedClip("failed", None), next(iter(raw))], TUNED))
    assert {file: each.shape for file, each in rows.items()} == {"failed": (0, 3), "0.mp4": (3, 3)}


@pytest.mark.parametrize("workers", [0, 1])
def test_parts_are_decoded_in_order(raw, workers):
    names = {file: f"x/{file}" for file in raw.files() if file != "7.mp4"}
    with RawDecoder(raw, names, workers=workers) as decoder:
        rows = decoder.rows(TUNED)
        other = decoder.rows(TunedSettings(PointDecoding(), 1))
    assert raw.parts == 2
    assert list(rows) == list(names.values())
    expected = dict(decode_clips(raw, TUNED))
    for file, name in names.items():
        np.testing.assert_array_equal(rows[name], expected[file])
    assert {len(each) for each in other.values()} == {1}


def test_a_damaged_part_is_named(raw, tmp_path):
    shutil.copyfile(raw.path, tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "a") as file:
        counts = file["00001/counts"][()]
        del file["00001/counts"]
        file["00001/counts"] = counts[:-2]
    bad = RawFile(tmp_path / "bad.h5")
    with RawDecoder(bad, {"40.mp4": "40.mp4"}) as decoder, pytest.raises(AvlocError, match="part 1 .*damaged raw rows"):
        decoder.rows(TUNED)

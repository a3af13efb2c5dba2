from __future__ import annotations

import io
import shutil

import h5py
import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.heads.candidates import ClipCandidates, PointCandidates, PointDecoding
from avloc.inference.raw.raw_file import NamedClip, RawFile, RawSettings, is_validation, pack_clips, write_raw
from avloc.inference.raw.windows import RawClip, RawWindow

SETTINGS = RawSettings(PointDecoding(sigma=0.3), 50, "hash", "lavdf", "dev", "dev")


def clip(seed, windows=1, groups=2, shares=1):
    random = np.random.default_rng(seed)

    def branch():
        count = int(random.integers(0, 5))
        scores = random.random((count, 2)).astype(np.float32)
        return PointCandidates(random.random((count, 2)), scores, random.random((count, 2)))

    inner = [(-np.inf, 3.0), (3.0, np.inf)][:windows] if windows > 1 else [(-np.inf, np.inf)]
    return RawClip(
        tuple(
            RawWindow(ClipCandidates(tuple(branch() for _ in range(groups)), random.random()), 7.5, part)
            for part in inner
        ),
        shares,
    )


def same(one, other):
    assert (one.shares, len(one.windows)) == (other.shares, len(other.windows))
    for a, b in zip(one.windows, other.windows, strict=True):
        assert (a.end_s, a.inner_s, a.candidates.step_score) == (b.end_s, b.inner_s, b.candidates.step_score)
        for left, right in zip(a.candidates.branches, b.candidates.branches, strict=True):
            for name in ("segments", "modality_scores", "end_probabilities"):
                x, y = getattr(left, name), getattr(right, name)
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("split", "validation", "expected"),
    [
        ("held-out", "held-out", True),
        ("Dev", "val", True),
        ("train", "val", False),
        ("all", "val", False),
        ("test", "test", False),
        ("testA", "testA", False),
        ("Eval", "Eval", False),
        ("", "", False),
    ],
)
def test_settings_are_tuned_on_no_test_split(split, validation, expected):
    """Whatever a dataset calls its validation split."""
    assert is_validation(split, validation) is expected


def test_clips_come_back_bit_by_bit(tmp_path):
    clips = [
        NamedClip("a.mp4", clip(0)),
        NamedClip("failed\udcff.mp4", None),
        NamedClip("ü.mp4", clip(1, windows=2, shares=3)),
        NamedClip("c.mp4", clip(2)),
    ]
    parts = [pack_clips(clips[:3]), pack_clips([NamedClip("x", None)]), pack_clips(clips[3:])]
    write_raw(tmp_path / "r.h5", (io.BytesIO(part) for part in parts), SETTINGS)
    raw = RawFile(tmp_path / "r.h5")
    assert raw.settings == SETTINGS
    loaded = list(raw)
    assert [each.file for each in loaded] == raw.files() == ["a.mp4", "failed\udcff.mp4", "ü.mp4", "x", "c.mp4"]
    assert (loaded[1].clip, loaded[3].clip) == (None, None)
    for k, one in ((0, clips[0]), (2, clips[2]), (4, clips[3])):
        same(loaded[k].clip, one.clip)


def test_wrong_files(tmp_path, raw_folder):
    with pytest.raises(AvlocError, match="none.h5: no such file of raw rows"):
        RawFile(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(AvlocError, match="text.h5: not a file of raw rows"):
        RawFile(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(AvlocError, match="want raw rows of schema avloc.raw/1, got no schema"):
        RawFile(tmp_path / "other.h5")
    for change in ('{"decoding": {}}', "[]", "{"):
        shutil.copyfile(raw_folder / "val.h5", tmp_path / "bad.h5")
        with h5py.File(tmp_path / "bad.h5", "a") as file:
            file.attrs["settings"] = change
        with pytest.raises(AvlocError, match="damaged settings of raw rows"):
            RawFile(tmp_path / "bad.h5")


def test_damaged_rows_are_one_line(tmp_path, raw_folder):
    shutil.copyfile(raw_folder / "val.h5", tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "a") as file:
        del file["00001/windows"]
    with pytest.raises(AvlocError, match=r"bad\.h5: damaged raw rows .*; run avloc predict --raw again"):
        list(RawFile(tmp_path / "bad.h5"))

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from avloc.core.descriptions import ExtractorDescription
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.loading.features import FeatureDataset
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.npy_export import plan_export, run_export
from avloc.feature_extraction.store.npy_import import ImportOptions, import_features, read_npy_folder
from avloc.feature_extraction.store.shard_tables import read_tables, shard_name
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.feature_extraction.store.summary import iter_problems
from avloc.feature_extraction.store.verify import verify_store

OPTIONS = ImportOptions("tsn", "visual", 0.04)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "npy"
    (folder / "test").mkdir(parents=True)
    np.save(folder / "test" / "b.npy", np.arange(15, dtype=np.float64).reshape(5, 3))
    np.save(folder / "test" / "a c.npy", np.arange(6, dtype=np.int16).reshape(2, 3))
    np.save(folder / "é.npy", np.zeros((0, 3), np.float32))
    np.save(folder / "f.npy", np.asfortranarray(np.arange(12, dtype=np.float16).reshape(4, 3)))
    return folder


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "s")


def test_a_folder_becomes_shards(folder, store):
    progress = []
    report = import_features(read_npy_folder(folder, OPTIONS), store, shard_clips=3, progress=progress.append)
    assert (report.done, report.reused, report.failures, report.clipped) == (4, 0, {}, 0)
    assert progress == [1] * 4
    assert [p.name for p in store.shards("tsn")] == store.planned_shards("tsn")
    assert len(store.shards("tsn")) == 2
    assert verify_store(store, "tsn").faults == []
    assert sorted(store.files("tsn")) == ["f.mp4", "test/a c.mp4", "test/b.mp4", "é.mp4"]
    assert store.read("tsn", "test/b.mp4").values.tolist() == np.arange(15).reshape(5, 3).tolist()
    assert store.read("tsn", "test/a c.mp4").values.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert store.read("tsn", "f.mp4").values[:, 0].tolist() == [0, 3, 6, 9]
    assert store.read("tsn", "test/b.mp4").grid == TimeGrid(0.0, 0.04, 5)
    assert store.length("tsn", "é.mp4") == 0
    assert store.describe("tsn") == ExtractorDescription(
        "tsn", "visual", hop_s=0.04, dim=3, parameters={"imported": True}, receptive_field_s=0.04
    )


def test_clips_whose_shards_are_gone_are_not_counted_as_imported(folder, store):
    (folder / "f.npy").rename(folder.parent / "f.npy")
    import_features(read_npy_folder(folder, OPTIONS), store)
    (folder.parent / "f.npy").rename(folder / "f.npy")
    source = read_npy_folder(folder, OPTIONS)
    report = import_features(source, store)
    assert (report.done, report.reused) == (1, 3)
    next(path for path in store.shards("tsn") if len(read_tables(path).files) == 3).unlink()
    with pytest.raises(
        StoreError, match=r"tsn: 3 clips were in shards that are gone; remove plan-.*\.json there and run"
    ):
        import_features(source, store)


def test_existing_shards_are_kept(folder, store):
    source = read_npy_folder(folder, OPTIONS)
    import_features(source, store, shard_clips=3)
    first, second = store.shards("tsn")
    second.unlink()
    before = first.stat().st_mtime_ns
    report = import_features(source, FeatureStore(store.root), shard_clips=3)
    assert (report.done, report.reused) == (1, 3)
    assert first.stat().st_mtime_ns == before
    np.save(folder / "f.npy", np.ones((9, 3), np.float16))
    with pytest.raises(StoreError, match=r"was made of another f.npy, of 152 bytes; the one in .* has 182"):
        import_features(source, FeatureStore(store.root), shard_clips=3)


def test_shards_of_other_settings_are_not_kept(folder, store):
    source, other = (read_npy_folder(folder, replace(OPTIONS, hop_s=hop_s)) for hop_s in (0.04, 0.08))
    import_features(source, store, shard_clips=3)
    path = store.root / "tsn" / "store.json"
    path.unlink()
    with pytest.raises(StoreError, match=r"h5: is of another extractor, or of other settings: want .*move it out"):
        import_features(other, store)
    assert not path.exists()
    assert import_features(source, store).reused == 4
    FeatureStore(store.root / "other").prepare(other.description)
    path.write_bytes((store.root / "other" / "tsn" / "store.json").read_bytes())
    with pytest.raises(StoreError, match=r"h5: is of another extractor, or of other settings: want .*move it out"):
        import_features(other, store)


def test_clock_names_and_axes_follow_the_options(folder, store, tmp_path):
    transposed = tmp_path / "transposed"
    transposed.mkdir()
    np.save(transposed / "b.npy", np.arange(15).reshape(5, 3).T)
    options = ImportOptions("byola", "audio", 0.01, start_s=0.25, receptive_field_s=0.5, suffix=".wav", transposed=True)
    import_features(read_npy_folder(transposed, options), store)
    assert store.read("byola", "b.wav").values[4].tolist() == [12, 13, 14]
    assert store.grid("byola", "b.wav") == TimeGrid(0.25, 0.01, 5)
    assert store.describe("byola").receptive_field_s == 0.5


BAD = {
    "nan": (np.array([[1, np.nan, 0]], np.float32), "values that are not finite"),
    "one axis": (np.zeros(3, np.float32), r"want numbers of shape \(rows, numbers\), got float32 of shape \(3,\)"),
    "complex": (np.zeros((2, 3), np.complex64), "want numbers of shape .* got complex64"),
    "texts": (np.array([["a", "b", "c"]]), "got <U1"),
    "objects": (np.array([[1, None, 2]], dtype=object), "not a .npy file of numbers"),
    "dim": (np.zeros((2, 5), np.float32), "want 3 numbers per row, got 5$"),
    "transposed": (np.zeros((3, 7), np.float32), r"got 7; is the file transposed \(--transposed\)"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_unusable_file_is_a_failed_clip(folder, store, kind):
    values, message = BAD[kind]
    np.save(folder / "z.npy", values)
    report = import_features(read_npy_folder(folder, OPTIONS), store)
    assert (report.done, list(report.failures)) == (5, ["z.mp4"])
    assert re.search(message, store.failures("tsn")["z.mp4"])
    assert verify_store(store, "tsn").faults == []
    again = import_features(read_npy_folder(folder, OPTIONS), FeatureStore(store.root))
    assert (again.done, again.reused, list(again.failures)) == (0, 5, ["z.mp4"])
    np.save(folder / "z.npy", np.ones((2, 3), np.float32))
    repaired = import_features(read_npy_folder(folder, OPTIONS), FeatureStore(store.root), retry_failed=True)
    assert (repaired.done, repaired.failures) == (5, {})
    assert FeatureStore(store.root).length("tsn", "z.mp4") == 2


@pytest.mark.parametrize("content", [b"", b"no numpy", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_not_npy(folder, store, content):
    (folder / "z.npy").write_bytes(content)
    assert "not a .npy file of numbers" in import_features(read_npy_folder(folder, OPTIONS), store).failures["z.mp4"]


def test_a_truncated_file_fails(folder, store):
    path = folder / "test" / "b.npy"
    path.write_bytes(path.read_bytes()[:-8])
    assert list(import_features(read_npy_folder(folder, OPTIONS), store).failures) == ["test/b.mp4"]


def test_a_link_that_leaves_the_folder_fails(folder, store, tmp_path):
    np.save(tmp_path / "out.npy", np.ones((2, 3)))
    (folder / "z.npy").symlink_to(tmp_path / "out.npy")
    assert "leads out of" in import_features(read_npy_folder(folder, OPTIONS), store).failures["z.mp4"]


def test_large_values_are_counted_and_long_clips_come_in_pieces(folder, store, monkeypatch):
    from avloc.feature_extraction.store import npy_import as module

    monkeypatch.setattr(module, "PIECE_NUMBERS", 7)
    np.save(folder / "f.npy", np.array([[1, 2, 3]] * 5 + [[1e300, 0, -1e300]]))
    report = import_features(read_npy_folder(folder, OPTIONS), store)
    assert report.clipped == 1
    assert store.read("tsn", "f.mp4").values[4:].tolist() == [[1, 2, 3], [65504, 0, -65504]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ImportOptions(), "--extractor is required, as the folder has no export.json"),
        (ImportOptions("x"), "--modality is required"),
        (ImportOptions("x", "audio"), "--hop is required"),
        (ImportOptions("x", "audio", 0.0), "hop and a receptive field above 0 s"),
        (ImportOptions("x", "audio", float("nan")), "hop and a receptive field above 0 s"),
        (ImportOptions("x", "audio", 0.1, start_s=float("inf")), "and a finite start, got 0.1, 0.1, inf"),
        (ImportOptions("x", "audio", 0.1, receptive_field_s=-1.0), "got 0.1, -1.0"),
        (ImportOptions("x", "smell", 0.1), "modality must be audio or visual, got 'smell'"),
        (ImportOptions("../x", "audio", 0.1), "an extractor's name consists of letters"),
        (ImportOptions(".x", "audio", 0.1), "an extractor's name consists of letters"),
    ],
)
def test_incomplete_or_wrong_options(folder, options, message):
    with pytest.raises(AvlocError, match=message):
        read_npy_folder(folder, options)


def test_nothing_to_import(tmp_path, store):
    with pytest.raises(AvlocError, match="none: no such folder"):
        read_npy_folder(tmp_path / "none", OPTIONS)
    (tmp_path / "npy").mkdir()
    (tmp_path / "npy" / ".a.host.1.tmp.npy").write_bytes(b"half")
    with pytest.raises(AvlocError, match="has no .npy, .npz, .pt, .pth, .h5, .hdf5 files"):
        read_npy_folder(tmp_path / "npy", OPTIONS)
    (tmp_path / "npy" / "a.npy").write_bytes(b"half")
    with pytest.raises(AvlocError, match=r"none of the 1 .npy files can be used; a.npy: not a .npy file"):
        import_features(read_npy_folder(tmp_path / "npy", OPTIONS), store)
    assert not store.root.exists()


def test_other_settings_and_older_stores_are_refused(folder, store):
    import_features(read_npy_folder(folder, OPTIONS), store)
    with pytest.raises(StoreError, match="hop_s was 0.04, now it is 0.08"):
        import_features(read_npy_folder(folder, ImportOptions("tsn", "visual", 0.08)), store)
    path = store.root / "tsn" / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    with pytest.raises(StoreError, match="format version 2, which can be read but not extended"):
        import_features(read_npy_folder(folder, OPTIONS), store)


# Folders exported by avloc.

TOY = ExtractorDescription("toy", "audio", hop_s=0.5, dim=3, version=4, parameters={"mels": 3}, decoder="pyav")


@pytest.fixture
def exported(tmp_path):
    """A store to export."""
    origin = FeatureStore(tmp_path / "origin")
    files = ["b/2.mp4", "b/1.avi", "bad.mp4", "é", "empty.mp4"]
    path = origin.prepare(TOY) / shard_name(0, files)
    random = np.random.default_rng(0)
    with ShardWriter(path, 3, origin.fingerprint("toy")) as shard:
        for k, file in enumerate(files):
            if file == "bad.mp4":
                shard.fail(file, "cannot be decoded")
            else:
                values = random.normal(size=(4 - k, 3)).astype(np.float32)
                shard.append(values)
                shard.end(file, k / 8, problems=["cut off"] * (k == 0), gaps=[(1, 3)] if k == 1 else [])
    return origin


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip(exported, tmp_path, store, dtype):
    out = tmp_path / "out"
    run_export(plan_export(exported, "toy", out, dtype=dtype))
    report = import_features(read_npy_folder(out, ImportOptions()), store)
    assert report.failures == store.failures("toy") == exported.failures("toy") == {"bad.mp4": "cannot be decoded"}
    assert store.describe("toy") == exported.describe("toy")
    assert sorted(store.files("toy")) == sorted(exported.files("toy"))
    problems = {"b/2.mp4": ("cut off",), "b/1.avi": ("no data from 0.62 to 1.62 s",)}
    assert dict(iter_problems(store, "toy")) == dict(iter_problems(exported, "toy")) == problems
    for file in exported.files("toy"):
        before, after = exported.read("toy", file), store.read("toy", file)
        assert before.grid == after.grid
        assert before.gaps == after.gaps == (((1, 3),) if file == "b/1.avi" else ())
        assert before.values.tolist() == after.values.tolist()
    assert verify_store(store, "toy").faults == []
    again = import_features(read_npy_folder(out, ImportOptions("toy", "audio", 0.5, 0.0, suffix=".mp4")), store)
    assert (again.done, again.reused) == (0, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ImportOptions(extractor="other"), "--extractor other contradicts .*export.json, which says toy"),
        (ImportOptions(modality="visual"), "--modality visual contradicts"),
        (ImportOptions(hop_s=0.25), "--hop 0.25 contradicts .* which says 0.5"),
        (ImportOptions(start_s=1.0), "--first-row 1.0 contradicts"),
        (ImportOptions(receptive_field_s=1.0), "--receptive-field 1.0 contradicts"),
        (ImportOptions(suffix=".wav"), "--suffix .wav contradicts"),
        (ImportOptions(transposed=True), "--transposed contradicts"),
        (ImportOptions(key="a"), "--key contradicts"),
        (ImportOptions(width=3), "--width contradicts"),
        (ImportOptions(strip_suffix=".pt"), "--strip-suffix contradicts"),
    ],
)
def test_options_must_agree_with_an_export(exported, tmp_path, options, message):
    run_export(plan_export(exported, "toy", tmp_path / "out"))
    with pytest.raises(AvlocError, match=message):
        read_npy_folder(tmp_path / "out", options)


def test_an_unfinished_or_damaged_export_is_refused(exported, tmp_path):
    out = tmp_path / "out"
    run_export(plan_export(exported, "toy", out))
    (out / "é.npy").rename(tmp_path / "é.npy")
    with pytest.raises(AvlocError, match="has 3 of 4 files, its export is unfinished; run it again"):
        read_npy_folder(out, ImportOptions())
    document = json.loads((out / "export.json").read_text())
    for change, message in (
        ({"format_version": 9}, "want the description of an export of format version 1"),
        ({"names": 3}, "damaged"),
        ({"starts_s": {"a": "x"}}, "damaged"),
        ({"extractor": {}}, r"damaged \(ValueError.*lacks name, modality, hop_s, dim"),
        (
            {"extractor": TOY.to_dict() | {"name": "../x"}},
            r"damaged \(ValueError: .*cannot have name '../x'\); export again",
        ),
    ):
        (out / "export.json").write_text(json.dumps(document | change))
        with pytest.raises(AvlocError, match=message):
            read_npy_folder(out, ImportOptions())


def test_imported_features_can_be_trained_on(folder, store, tmp_path):
    import_features(read_npy_folder(folder, OPTIONS), store)
    other = tmp_path / "sound"
    (other / "test").mkdir(parents=True)
    np.save(other / "test" / "b.npy", np.ones((2, 7), np.float32))
    import_features(read_npy_folder(other, ImportOptions("byola", "audio", 0.1)), store)
    record = VideoRecord("test/b.mp4", "train", 0.2, visual_segments=(Segment(0.04, 0.08),))
    data = FeatureDataset([record], FeatureStore(store.root), ["byola", "tsn"], hop_s=0.04)
    example = data[0]
    assert example.grid == TimeGrid(0.0, 0.04, 5)
    assert {s.shape for s in example.streams} == {(5, 7), (5, 3)}
    assert all(m.all() for m in example.masks)


def test_a_full_disk_is_no_failure_of_a_clip(folder, store, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="no room on the disk: the file needs more than .*00000-"):
        import_features(read_npy_folder(folder, OPTIONS), store)
    assert store.shards("tsn") == []


@pytest.mark.parametrize("entry", [{"gaps": {"a": 3}}, {"gaps": {"a": [[1]]}}, {"gaps": [1]}, {"problems": {"a": 3}}])
def test_damaged_problems_of_an_export_are_named(exported, tmp_path, entry):
    out = tmp_path / "out"
    run_export(plan_export(exported, "toy", out))
    document = json.loads((out / "export.json").read_text())
    (out / "export.json").write_text(json.dumps(document | entry))
    with pytest.raises(AvlocError, match=r"export\.json: damaged \(.*\); export again"):
        read_npy_folder(out, ImportOptions())


def test_an_export_of_an_earlier_release(exported, tmp_path, store):
    out = tmp_path / "out"
    run_export(plan_export(exported, "toy", out))
    document = json.loads((out / "export.json").read_text())
    del document["problems"], document["gaps"]
    (out / "export.json").write_text(json.dumps(document))
    import_features(read_npy_folder(out, ImportOptions()), store)
    assert store.gaps("toy", "b/1.avi") == ()


def test_features_of_others(tmp_path, store):
    """AuViRe's folders: a features.npz per clip, with an array for each modality."""
    folder = tmp_path / "emb"
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    for clip, values in (("000001", rows), ("000002", rows.T.copy())):
        (folder / "test" / clip).mkdir(parents=True)
        np.savez(folder / "test" / clip / "features.npz", audio_features=values, video_features=values[:, :1])
    (folder / "test" / "notes.npz").touch()
    options = ImportOptions("hubert", "audio", 0.04, strip_suffix="/features.npz", key="audio_features", width=3)
    report = import_features(read_npy_folder(folder, options), store)
    assert (report.done, report.failures) == (2, {})
    for file in ("test/000001.mp4", "test/000002.mp4"):
        assert store.read("hubert", file).values.tolist() == rows.tolist()


def test_a_width_tells_files_of_other_axes(folder, store):
    options = ImportOptions("tsn", "visual", 0.04, width=3)
    np.save(folder / "t.npy", np.arange(6).reshape(3, 2))
    np.save(folder / "z.npy", np.zeros((2, 5)))
    report = import_features(read_npy_folder(folder, options), store)
    assert list(report.failures) == ["z.mp4"]
    assert "want 3 numbers per row (--width), got an array of shape (2, 5)" in report.failures["z.mp4"]
    assert store.read("tsn", "t.mp4").values.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert store.length("tsn", "test/b.mp4") == 5


def test_suffixes_are_told_from_the_folder(tmp_path, store):
    folder = tmp_path / "pt"
    folder.mkdir()
    torch.save(torch.ones(4, 3), folder / "a.pt")
    assert read_npy_folder(folder, OPTIONS).files == {"a.mp4": "a.pt"}
    torch.save(torch.ones(4, 3), folder / "b.pth")
    with pytest.raises(AvlocError, match=r"pt: has files of \.pt, \.pth; name one of these with --strip-suffix"):
        read_npy_folder(folder, OPTIONS)
    assert read_npy_folder(folder, replace(OPTIONS, strip_suffix=".pth")).clips == ["b.mp4"]
    with pytest.raises(AvlocError, match="has no _x.pt files"):
        read_npy_folder(folder, replace(OPTIONS, strip_suffix="_x.pt"))
    with pytest.raises(AvlocError, match="--strip-suffix: want an ending of .npy, .npz, .pt"):
        read_npy_folder(folder, replace(OPTIONS, strip_suffix="features"))
    with pytest.raises(AvlocError, match=r"--width tells which files are \(D, T\); leave --transposed out"):
        read_npy_folder(folder, replace(OPTIONS, width=3, transposed=True, strip_suffix=".pt"))

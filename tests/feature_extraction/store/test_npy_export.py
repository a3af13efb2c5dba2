from __future__ import annotations

import json
import os

import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store import npy_export as module
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.npy_export import actionformer_settings, plan_export, run_export, target_name
from avloc.feature_extraction.store.npy_import import ImportOptions, import_features, read_npy_folder
from avloc.feature_extraction.store.shard_file import open_shard
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.io.array_files import open_array
from avloc.io.files import temporary_path

TOY = ExtractorDescription("toy", "visual", hop_s=0.16, dim=3, receptive_field_s=0.64, start_offset_s=0.24)


def write(store, index, clips, start_s=0.0):
    """Write a shard of clips (name → number of rows, or the reason of a failure) whose rows count up from `index`."""
    path = store.prepare(TOY) / shard_name(index, list(clips))
    with ShardWriter(path, 3, store.fingerprint("toy")) as shard:
        for file, rows in clips.items():
            if isinstance(rows, str):
                shard.fail(file, rows)
            else:
                values = index + np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
                shard.add(file, Features(values, TimeGrid(start_s, 0.16, rows)))
    return path


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "s")
    write(store, 0, {"test/a.mp4": 2, "test/b c.mp4": 5, "bad.mp4": "no\npicture"}, start_s=0.24)
    write(store, 1, {"é.mp4": 0, "d.avi": 1, "noending": 2})
    return store


def export(store, out, *, overwrite=False, **more):
    return run_export(plan_export(store, "toy", out, overwrite=overwrite, **more), overwrite=overwrite)


def test_a_shard_of_other_settings_is_refused_before_anything_is_written(store, tmp_path):
    with ShardWriter(store.root / "toy" / shard_name(2, ["e.mp4"]), 3, "0123456789abcdef") as shard:
        shard.end("e.mp4", 0.0)
    with pytest.raises(StoreError, match=f"want the fingerprint {store.fingerprint('toy')}, got 0123456789abcdef"):
        export(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_store_that_changes_meanwhile_is_exported_again(tmp_path, monkeypatch):
    """No file has rows at the positions of an earlier shard, and `export.json` never has other starts than the files."""
    store, out = FeatureStore(tmp_path / "s"), tmp_path / "out"
    write(store, 0, {"bad.mp4": "no picture", "b.mp4": 5})
    plan = plan_export(store, "toy", out)

    def rewrite_and_open(path):
        write(store, 0, {"bad.mp4": 3, "b.mp4": 5}, start_s=0.4)
        return open_shard(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "open_shard", rewrite_and_open)
        with pytest.raises(StoreError, match="toy: changed while it was exported; run the same export again$"):
            run_export(plan)
    assert np.load(out / "b.npy").tolist() == np.arange(15.0).reshape(5, 3).tolist()
    assert export(FeatureStore(store.root), out) == (0, 2)
    document = json.loads((out / "export.json").read_text())
    assert (document["failures"], document["starts_s"]) == ({}, {"bad.mp4": 0.4, "b.mp4": 0.4})


def test_a_file_per_clip_and_a_description(store, tmp_path):
    out = tmp_path / "out"
    progress = []
    plan = plan_export(store, "toy", out)
    assert (plan.clips, plan.failures, out.exists()) == (5, 1, False)
    assert run_export(plan, progress=progress.append) == (5, 0)
    assert progress == [1] * 5
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert files == {"export.json", "test/a.npy", "test/b c.npy", "é.npy", "d.npy", "noending.npy"}
    values = np.load(out / "test" / "a.npy")
    assert values.dtype == np.float32
    assert values.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.load(out / "é.npy").shape == (0, 3)
    document = json.loads((out / "export.json").read_text())
    assert document["starts_s"] == {"test/a.mp4": 0.24, "test/b c.mp4": 0.24}
    assert document["failures"] == {"bad.mp4": "no picture"}
    assert (document["suffix"], document["names"]) == (".mp4", {"d.npy": "d.avi", "noending.npy": "noending"})
    assert document["extractor"] == TOY.to_dict()
    assert document["actionformer"] == {
        "default_fps": 25.0,
        "feat_stride": 4.0,
        "num_frames": 16.0,
        "receptive_field_frames": 16.0,
        "input_dim": 3,
        "file_prefix": "",
        "file_ext": ".npy",
    }


@pytest.mark.parametrize(("hop_s", "start_s", "row"), [(0.16, 0.24, 3), (0.04, 0.0, 7), (0.01, 0.0, 0)])
def test_actionformer_settings_reproduce_the_clock(hop_s, start_s, row):
    settings = actionformer_settings(ExtractorDescription("x", "audio", hop_s=hop_s, dim=5, start_offset_s=start_s))
    middle_s = (row * settings.feat_stride + settings.num_frames / 2) / settings.default_fps
    assert middle_s == pytest.approx(TimeGrid(start_s, hop_s, row + 1).centers_s()[row])


def test_an_export_resumes(store, tmp_path):
    out = tmp_path / "out"
    export(store, out)
    kept = out / "test" / "b c.npy"
    kept_time = kept.stat().st_mtime_ns
    (out / "test" / "a.npy").write_bytes(b"half")
    (out / "d.npy").unlink()
    np.save(out / "é.npy", np.zeros((1, 3), np.float32))
    np.save(out / "noending.npy", np.zeros((2, 3), np.float16))
    assert export(store, out) == (4, 1)
    assert kept.stat().st_mtime_ns == kept_time
    assert np.load(out / "test" / "a.npy").shape == (2, 3)
    assert np.load(out / "noending.npy").dtype == np.float32
    assert export(store, out, overwrite=True) == (5, 0)


def test_files_of_a_dead_process_are_removed(store, tmp_path):
    out = tmp_path / "out"
    export(store, out)
    left = temporary_path(out / "d.npy")
    left = left.with_name(left.name.replace(f".{os.getpid()}.", ".99999999."))
    left.write_bytes(b"half")
    export(store, out)
    assert not left.exists()


def test_another_export_is_not_overwritten(store, tmp_path):
    out = tmp_path / "out"
    export(store, out)
    with pytest.raises(
        AvlocError, match="holds another export, its dtype differs from this one's; name another folder"
    ):
        plan_export(store, "toy", out, dtype="float16")
    assert export(store, out, dtype="float16", overwrite=True) == (5, 0)
    assert np.load(out / "d.npy").dtype == np.float16
    (out / "export.json").unlink()
    with pytest.raises(AvlocError, match=r"holds test/a.npy, but no export.json that describes it"):
        plan_export(store, "toy", out)
    (out / "export.json").write_text("[]")
    with pytest.raises(AvlocError, match="another export, its format_version"):
        plan_export(store, "toy", out)
    (out / "export.json").write_text("{")
    with pytest.raises(AvlocError, match="not a JSON file"):
        plan_export(store, "toy", out)


def test_a_folder_with_unrelated_files_is_accepted(store, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.npy").write_bytes(b"other")
    assert export(store, tmp_path / "out") == (5, 0)


def test_clips_that_would_become_one_file_are_refused_before_anything_is_written(store, tmp_path):
    write(store, 2, {"x.mp4": 1, "test/a.wav": 1})
    with pytest.raises(AvlocError, match=r"test/a.mp4 and test/a.wav would both become .*test/a.npy"):
        plan_export(store, "toy", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_clip_in_two_shards_is_one_file(store, tmp_path):
    write(store, 0, {"test/a.mp4": 2}, start_s=0.24)
    plan = plan_export(store, "toy", tmp_path / "out")
    assert plan.clips == 5
    assert run_export(plan) == (5, 1)


@pytest.mark.parametrize("name", ["../a.mp4", "/tmp/a.mp4", "test/../../a.mp4"])
def test_names_stay_inside(store, tmp_path, name):
    write(store, 2, {name: 1})
    with pytest.raises(AvlocError, match="leads out of"):
        plan_export(store, "toy", tmp_path / "out")


def test_links_stay_inside(store, tmp_path):
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path, tmp_path / "out" / "test")
    with pytest.raises(AvlocError, match="leads out of"):
        plan_export(store, "toy", tmp_path / "out")


def test_wrong_input(store, tmp_path):
    with pytest.raises(AvlocError, match="exported as float32 or float16, got int8"):
        plan_export(store, "toy", tmp_path / "out", dtype="int8")
    with pytest.raises(StoreError, match="no features of 'other'"):
        plan_export(store, "other", tmp_path / "out")
    store.shards("toy")[0].write_bytes(b"no")
    with pytest.raises(StoreError, match="a damaged shard"):
        plan_export(store, "toy", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_extractor_without_shards(tmp_path):
    store = FeatureStore(tmp_path / "s")
    store.prepare(TOY)
    assert export(store, tmp_path / "out") == (0, 0)
    assert json.loads((tmp_path / "out" / "export.json").read_text())["clips"] == 0


@pytest.mark.parametrize("key", [None, "visual"])
@pytest.mark.parametrize("suffix", [".npz", "/features.npz", ".pt", ".h5"])
def test_other_forms_come_back_through_an_import(store, tmp_path, suffix, key):
    out = tmp_path / "out"
    assert export(store, out, suffix=suffix, key=key) == (5, 0)
    assert open_array(out / target_name("test/a.mp4", suffix), key).tolist() == [[0, 1, 2], [3, 4, 5]]
    (out / target_name("test/a.mp4", suffix)).write_bytes(b"half")
    assert export(store, out, suffix=suffix, key=key) == (1, 4)
    document = json.loads((out / "export.json").read_text())
    assert (document["file_suffix"], document["key"]) == (suffix, key)
    assert document["actionformer"]["file_ext"] == suffix
    back = FeatureStore(tmp_path / "back")
    report = import_features(read_npy_folder(out, ImportOptions()), back)
    assert (report.done, report.failures) == (6, {"bad.mp4": "no picture"})
    assert back.describe("toy") == TOY
    for file in store.files("toy"):
        assert back.grid("toy", file) == store.grid("toy", file)
        assert np.array_equal(back.read("toy", file).values, store.read("toy", file).values)
    with pytest.raises(AvlocError, match="holds another export, its file_suffix differs"):
        plan_export(store, "toy", out)


def test_exports_of_earlier_releases_are_of_npy_files(store, tmp_path):
    out = tmp_path / "out"
    export(store, out)
    document = json.loads((out / "export.json").read_text())
    del document["file_suffix"], document["key"]
    (out / "export.json").write_text(json.dumps(document))
    assert export(store, out) == (0, 5)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            {"suffix": ".txt"},
            "want an ending of .npy, .npz, .pt, .pth, .h5, .hdf5, as .npz or /features.npz, got '.txt'",
        ),
        ({"suffix": "npz"}, "want an ending of .npy, .npz"),
        ({"key": "visual"}, "a .npy file has one array without a name, got 'visual'; leave the key out, or write .npz"),
    ],
)
def test_forms_that_cannot_be_written(store, tmp_path, form, message):
    with pytest.raises(AvlocError, match=message):
        plan_export(store, "toy", tmp_path / "out", **form)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "target"),
    [("a.mp4", "a.npy"), ("a/b.c.mp4", "a/b.c.npy"), ("a", "a.npy"), ("a.b/c", "a.b/c.npy"), (".mp4", ".mp4.npy")],
)
def test_target_names(file, target):
    assert target_name(file) == target

"""Sets in each layout with every corruption injected, through reading, extraction and training data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from avloc.datasets.loading.features import FeatureDataset
from avloc.datasets.readers import avdeepfake1m
from avloc.datasets.readers.catalog import public_name, read_records
from avloc.datasets.synthetic.generate import synthesize
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.clip_features import ClipFeatures
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.store.feature_store import FeatureStore

EXTRACTORS = [("logmel", {}), ("residual_grid", {})]


@pytest.fixture(scope="module", params=["lavdf", "avdeepfake1m", "avdeepfake1m++"])
def corrupted_set(request, tmp_path_factory, render_plainly):
    root = tmp_path_factory.mktemp("corruptions") / "set"
    with render_plainly():
        records = synthesize(root, layout=request.param, clips=18, seed=5, corruptions=True)
    return request.param, root, records, json.loads((root / "corruptions.json").read_text())


def test_synth_and_read_are_inverse(corrupted_set):
    layout, root, records, _ = corrupted_set
    read = {r.file: r for r in read_records(layout, root)}
    hidden = [r for r in records if not read[r.file].labelled]
    assert len(read) == len(records)
    for record in records:
        if read[record.file].labelled:
            assert read[record.file].segments == record.segments
            assert read[record.file].modality == record.modality
    assert len({r.split for r in hidden}) == {"lavdf": 0, "avdeepfake1m": 1, "avdeepfake1m++": 2}[layout]
    if layout == "avdeepfake1m++":
        assert {public_name(layout, r).split("/")[0] for r in records if r.split == "train"} == {"vox_celeb_2", "lrs3"}
        assert (root / read[records[0].file].file).with_suffix(".json").is_file()  # beside the clip


def test_second_run_changes_nothing(corrupted_set):
    layout, root, records, corruptions = corrupted_set
    assert synthesize(root, layout=layout, clips=18, seed=5, corruptions=True) == records
    assert json.loads((root / "corruptions.json").read_text()) == corruptions


def test_extraction_copes_with_every_corruption(corrupted_set, tmp_path):
    layout, root, _, corruptions = corrupted_set
    table = read_records(layout, root, "train")
    store = FeatureStore(tmp_path / "s")
    workers = 1 if layout == "lavdf" else 0  # processes take seconds to start, and don't depend on the layout
    report = job.extract(table.files, store, ExtractionSettings(root, EXTRACTORS, workers=workers), shard_clips=4)
    assert list(report.failures) == [corruptions["truncated"]]
    assert probe(root / corruptions["other frame rate"]).fps == 30
    assert decode(root / corruptions["no sound"], []).problems == ["no audio stream"]
    assert store.length("logmel", corruptions["no sound"]) == 0
    assert store.has("logmel", corruptions["odd name"])
    assert " " in corruptions["odd name"]
    assert not corruptions["odd name"].isascii()
    clip = corruptions["other frame rate"]
    assert abs(store.grid("residual_grid", clip).end_s - store.grid("logmel", clip).end_s) < 0.1  # on one clock
    with pytest.raises(
        AvlocError, match=r"1 of \d+ clips have no features of .* \(1 recorded as failed, 0 not extracted\)"
    ):
        FeatureDataset(table, store, ["logmel", "residual_grid"], hop_s=0.04)
    data = FeatureDataset(table, store, ["logmel", "residual_grid"], hop_s=0.04, allow_missing=True)
    assert data.missing == [corruptions["truncated"]]
    assert data.clamped == 1
    examples = {e.record.file: e for e in (data[k] for k in range(len(data)))}
    past = examples[corruptions["past the end"]]
    assert past.record.segments[-1].end_s == pytest.approx(past.grid.end_s, abs=0.05)
    assert not examples[corruptions["no sound"]].masks[0].any()
    live = FeatureDataset(
        table, ClipFeatures(root, ["logmel", "residual_grid"]), ["logmel", "residual_grid"], hop_s=0.04
    )
    for k, record in enumerate(table):
        if record.file == corruptions["truncated"]:
            with pytest.raises(MediaError, match=re.escape(f"{root / record.file}: ")):
                _ = live[k]
            continue
        one, other = live[k], examples[record.file]
        assert (one.record, one.grid, one.end_s) == (other.record, other.grid, other.end_s)
        for a, b in zip((*one.streams, *one.masks), (*other.streams, *other.masks), strict=True):
            np.testing.assert_array_equal(a, b)


def test_contradicting_lists_and_odd_spellings(corrupted_set):
    layout, root, _, corruptions = corrupted_set
    if layout == "lavdf":
        assert "contradicting lists" not in corruptions
        return
    table = read_records(layout, root, "train")
    assert table.repaired == {avdeepfake1m.CONTRADICTING: 1}
    by_file = {r.file: r for r in table}
    assert by_file[corruptions["contradicting lists"]].visual_segments == ()
    assert by_file[corruptions["odd spelling"]].modality == "both"


def test_json_per_clip_replaces_the_list(corrupted_set, tmp_path):
    layout, root, _, corruptions = corrupted_set
    if layout == "lavdf":
        return
    listed = {r.file: r for r in read_records(layout, root, "train")}
    (root / "train_metadata.json").rename(tmp_path / "away.json")
    try:
        each = {r.file: r for r in read_records(layout, root, "train")}
        assert each.keys() == listed.keys()
        assert each[corruptions["odd spelling"]] == listed[corruptions["odd spelling"]]
    finally:
        (tmp_path / "away.json").rename(root / "train_metadata.json")


def test_links_that_leave_the_folder_are_refused(tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_text("x")
    root = tmp_path / "set"
    (root / "test").mkdir(parents=True)
    (root / "test" / "a.mp4").symlink_to(secret)
    (root / "link").symlink_to(tmp_path)
    (root / "test" / "inner.mp4").symlink_to(root / "test" / "a.mp4")
    files = ["test/a.mp4", "link/secret.mp4", "test/inner.mp4"]
    report = job.extract(files, FeatureStore(tmp_path / "s"), ExtractionSettings(root, (("logmel", {}),)))
    assert len(report.failures) == 3
    assert all("leads out of" in reason for reason in report.failures.values())
    assert Path(secret).read_text() == "x"

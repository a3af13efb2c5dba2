"""Sets in each layout with every known trap planted: what is read, extracted, and trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avloc.datasets.loading.features import FeatureDataset
from avloc.datasets.readers import avdeepfake1m
from avloc.datasets.readers.catalog import public_name, read_records
from avloc.datasets.synthetic.generate import synthesize
from avloc.errors import AvlocError
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.media.decode import decode, probe
from avloc.feature_extraction.store.feature_store import FeatureStore

EXTRACTORS = [("logmel", {}), ("residual_grid", {})]


@pytest.fixture(scope="module", params=["lavdf", "avdeepfake1m", "avdeepfake1m++"])
def planted(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("traps") / "set"
    records = synthesize(root, layout=request.param, clips=18, seed=5, traps=True, workers=2)
    return request.param, root, records, json.loads((root / "traps.json").read_text())


def test_synth_and_read_are_inverse(planted):
    layout, root, records, _ = planted
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


def test_a_second_run_is_the_same(planted):
    layout, root, records, traps = planted
    assert synthesize(root, layout=layout, clips=18, seed=5, traps=True, workers=2) == records
    assert json.loads((root / "traps.json").read_text()) == traps


def test_extraction_copes_with_every_trap(planted, tmp_path):
    layout, root, _, traps = planted
    table = read_records(layout, root, "train")
    store = FeatureStore(tmp_path / "s")
    report = job.extract(table.files, store, ExtractionSettings(root, EXTRACTORS, workers=2), shard_clips=4)
    assert list(report.failures) == [traps["truncated"]]
    assert probe(root / traps["other frame rate"]).fps == 30
    assert decode(root / traps["no sound"], []).problems == ["no audio stream"]
    assert store.length("logmel", traps["no sound"]) == 0
    assert store.has("logmel", traps["odd name"])
    assert " " in traps["odd name"]
    assert not traps["odd name"].isascii()
    clip = traps["other frame rate"]
    assert abs(store.grid("residual_grid", clip).end_s - store.grid("logmel", clip).end_s) < 0.1  # on one clock
    with pytest.raises(
        AvlocError, match=r"1 of \d+ clips have no features of .* \(1 recorded as failed, 0 not extracted\)"
    ):
        FeatureDataset(table, store, ["logmel", "residual_grid"], hop_s=0.04)
    data = FeatureDataset(table, store, ["logmel", "residual_grid"], hop_s=0.04, allow_missing=True)
    assert data.missing == [traps["truncated"]]
    assert data.clamped == 1
    examples = {e.record.file: e for e in (data[k] for k in range(len(data)))}
    past = examples[traps["past the end"]]
    assert past.record.segments[-1].end_s == pytest.approx(past.grid.end_s, abs=0.05)
    assert not examples[traps["no sound"]].masks[0].any()


def test_contradicting_lists_and_odd_spellings(planted):
    layout, root, _, traps = planted
    if layout == "lavdf":
        assert "contradicting lists" not in traps
        return
    table = read_records(layout, root, "train")
    assert table.repaired == {avdeepfake1m.CONTRADICTING: 1}
    by_file = {r.file: r for r in table}
    assert by_file[traps["contradicting lists"]].visual_segments == ()
    assert by_file[traps["odd spelling"]].modality == "both"


def test_a_json_per_clip_is_enough(planted, tmp_path):
    layout, root, _, traps = planted
    if layout == "lavdf":
        return
    listed = {r.file: r for r in read_records(layout, root, "train")}
    (root / "train_metadata.json").rename(tmp_path / "away.json")
    try:
        each = {r.file: r for r in read_records(layout, root, "train")}
        assert each.keys() == listed.keys()
        assert each[traps["odd spelling"]] == listed[traps["odd spelling"]]
    finally:
        (tmp_path / "away.json").rename(root / "train_metadata.json")


def test_faults_of_the_lists_are_counted(tmp_path):
    entry = {"file": "a.mp4", "modify_type": "both_modified", "audio_fake_segments": [], "visual_fake_segments": []}
    entries = [
        {**entry, "fake_segments": [[1, 2]]},
        {**entry, "file": "b.mp4", "audio_fake_segments": [[1, 2]], "fake_segments": [[1, 2], [3, 4]]},
    ]
    (tmp_path / "val_metadata.json").write_text(json.dumps(entries))
    table = read_records("avdeepfake1m", tmp_path, "val")
    assert table.repaired == {avdeepfake1m.ONLY_UNION: 1, avdeepfake1m.NO_UNION: 1}
    assert (table[0].modality, table[1].modality) == ("both", "audio")


def test_links_out_of_the_folder_are_refused(tmp_path):
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

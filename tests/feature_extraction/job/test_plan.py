from __future__ import annotations

import pytest

from avloc.cli.main import main
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.plan import JobPlan
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore


def run(clips, files, store, *names, **options):
    """Extract clips with the named extractors, `Toy` by default."""
    settings = ExtractionSettings(clips, tuple((name, {}) for name in names or ("avloc_toys.Toy",)))
    return job.extract(files, FeatureStore(store), settings, **options)


def shards(store, extractor="toy"):
    return {path.name: path.stat().st_mtime_ns for path in FeatureStore(store).shards(extractor)}


def verify(store):
    return main(["store", "verify", str(store)])


def test_one_clip_more_costs_one_clip(toys, clips, names, tmp_path):
    run(clips, names[:4], tmp_path / "s", shard_clips=3)
    before = shards(tmp_path / "s")
    report = run(clips, names, tmp_path / "s", shard_clips=1)
    assert (report.done, report.reused, list(report.failures)) == (2, 4, ["broken.mp4"])
    assert before.items() <= shards(tmp_path / "s").items()
    assert sorted(FeatureStore(tmp_path / "s").files("toy")) == names[:5]
    again = run(clips, names, tmp_path / "s")  # in shards of 1, as saved
    assert (again.done, again.reused, list(again.failures)) == (0, 6, ["broken.mp4"])
    assert len(shards(tmp_path / "s")) == 4
    assert verify(tmp_path / "s") == 0


def test_a_subset_of_the_stored_clips_costs_nothing(toys, clips, names, tmp_path):
    run(clips, names, tmp_path / "s", shard_clips=4)
    before = shards(tmp_path / "s")
    report = run(clips, [names[1], names[5]], tmp_path / "s")
    assert (report.done, report.reused, list(report.failures)) == (0, 2, ["broken.mp4"])
    assert shards(tmp_path / "s") == before
    assert verify(tmp_path / "s") == 0


def test_another_shard_size_is_refused(toys, clips, names, tmp_path):
    run(clips, names, tmp_path / "s", shard_clips=4)
    with pytest.raises(StoreError, match="has these clips in shards of 4, and --shard-clips says 3; leave it out"):
        run(clips, names, tmp_path / "s", shard_clips=3)
    next(iter(FeatureStore(tmp_path / "s").shards("toy"))).unlink()
    assert run(clips, names, tmp_path / "s").done == 4
    assert len(shards(tmp_path / "s")) == 2


def test_a_further_extractor_gets_shards_of_the_same_clips(toys, clips, names, tmp_path):
    run(clips, names, tmp_path / "s", shard_clips=4)
    report = run(clips, names, tmp_path / "s", "avloc_toys.Toy", "logmel")
    assert (report.done, report.reused) == (6, 0)
    assert [*shards(tmp_path / "s")] == [*shards(tmp_path / "s", "logmel")]


def test_an_extractor_with_some_of_the_clips_and_one_with_none(toys, clips, names, tmp_path):
    run(clips, names[:4], tmp_path / "s", shard_clips=3)
    report = run(clips, names, tmp_path / "s", "avloc_toys.Toy", "logmel", shard_clips=3)
    assert report.done == 2 + 6  # `toy` of two clips, `logmel` of all
    store = FeatureStore(tmp_path / "s")
    assert sorted(store.files("toy")) == sorted(store.files("logmel")) == names[:5]
    again = run(clips, names, tmp_path / "s", "avloc_toys.Toy", "logmel")
    assert again.done == 0
    assert again.reused == 2 + 6
    assert verify(tmp_path / "s") == 0


def test_tasks_of_an_array_over_a_partly_stored_list(toys, clips, names, tmp_path):
    run(clips, names[:2], tmp_path / "s", shard_clips=1)
    reports = [run(clips, names, tmp_path / "s", shard_clips=2, array_index=(k, 2)) for k in range(2)]
    assert [(r.done, r.reused) for r in reports] == [(2, 2), (2, 0)]
    assert sorted(FeatureStore(tmp_path / "s").files("toy")) == names[:5]


def test_failed_clips_of_another_list_are_tried_again_too(toys, clips, names, tmp_path, frames):
    run(clips, [names[0], "broken.mp4"], tmp_path / "s")
    write_mp4(clips / "broken.mp4", frames[:9], None)
    assert list(run(clips, ["broken.mp4", *names[:3]], tmp_path / "s").failures) == ["broken.mp4"]
    for array_index in ((0, 3), (1, 3), (2, 3)):
        run(clips, ["broken.mp4", *names[:3]], tmp_path / "s", array_index=array_index, retry_failed=True)
    assert FeatureStore(tmp_path / "s").length("toy", "broken.mp4") == 9
    assert verify(tmp_path / "s") == 0


def test_missing_shards_of_another_list_are_an_error(toys, clips, names, tmp_path):
    run(clips, names[:2], tmp_path / "s")
    run(clips, names, tmp_path / "s")
    for path in FeatureStore(tmp_path / "s").shards("toy"):
        path.unlink()
    with pytest.raises(StoreError, match=r"2 clips were in shards that are gone; remove plan-.*\.json there"):
        run(clips, names, tmp_path / "s")


def test_clip_count_is_the_number_of_reported_clips(toys, clips, names, tmp_path):
    run(clips, names[:2], tmp_path / "s", shard_clips=1)
    settings = ExtractionSettings(clips, (("avloc_toys.Toy", {}), ("logmel", {})))
    plan = JobPlan(names, FeatureStore(tmp_path / "s"), settings, shard_clips=4)
    report = job.run_plan(plan)
    assert plan.clip_count() == report.done + report.reused == 4 + 6
    assert plan.own_files() == [*names[2:], *names[:2]]


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (["cuda", "cuda:0"], "want different devices of one kind, as in cuda:0,cuda:1, got cuda,cuda:0"),
        (["cpu", "cuda:0"], "want different devices of one kind"),
        (["cuda:77", "cuda:78"], "device 'cuda:77' cannot be used here"),
    ],
)
def test_devices_are_checked_before_anything_is_written(toys, clips, names, tmp_path, devices, message):
    settings = ExtractionSettings(clips, (("avloc_toys.Network", {}),))
    with pytest.raises(AvlocError, match=message):
        JobPlan(names, FeatureStore(tmp_path / "s"), settings, devices=devices)
    assert not (tmp_path / "s").exists()


def test_a_store_that_is_a_file(toys, clips, names, tmp_path):
    (tmp_path / "s").write_text("x")
    with pytest.raises(StoreError, match="s: is a file, want the store's folder"):
        run(clips, names, tmp_path / "s")


def test_shards_made_with_other_settings_are_not_reused(clips, names, tmp_path):
    def extract(store, n_fft, files=names, **options):
        settings = ExtractionSettings(clips, (("logmel", {"n_fft": n_fft}),))
        return job.extract(files, FeatureStore(store), settings, **options)

    def reused(n_fft, files=names):
        report = extract(tmp_path / "a", n_fft, files)
        return report.done, report.reused

    extract(tmp_path / "a", 512, shard_clips=4)
    extract(tmp_path / "b", 2048, names[:1])
    description = tmp_path / "a" / "logmel" / "store.json"
    text = description.read_bytes()
    description.unlink()
    message = "is of another extractor, or of other settings: want the fingerprint .*move it out of the store"
    with pytest.raises(StoreError, match=message):
        reused(2048)
    assert not description.exists()  # nothing was written
    assert reused(512) == (0, 6)
    assert description.read_bytes() == text
    description.write_bytes((tmp_path / "b" / "logmel" / "store.json").read_bytes())
    for files in (names, names[1:3]):  # the saved list, and one that is new to the store
        with pytest.raises(StoreError, match=message):
            reused(2048, files)

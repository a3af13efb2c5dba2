from __future__ import annotations

import functools
import json
from dataclasses import replace

import pytest

from avloc.errors import AvlocError
from avloc.evaluation import write_predictions
from avloc.evaluation.detection import read_clip_scores
from avloc.feature_extraction.job.engines import local
from avloc.inference.settings import LocalizerSettings
from avloc.inference.split import run as module
from avloc.inference.split.parts import PartDone, PredictionSettings, run_parts
from avloc.inference.split.run import predict_to_file
from avloc.io.files import file_sha256
from avloc.io.provenance import read_sidecar


@pytest.fixture(scope="module")
def split(generated_split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    generated_split.write_split(folder, 37)
    return folder


@pytest.fixture
def settings(split, monkeypatch):
    monkeypatch.setattr(module, "PART_CLIPS", 8)
    monkeypatch.syspath_prepend(str(split))
    localizer = LocalizerSettings(split / "fast.ckpt", network="fast_net.FastNet")
    return PredictionSettings(localizer, "csv", split, "test", split / "features", keep=5)


@pytest.fixture
def whole(settings, tmp_path):
    report = predict_to_file(settings, tmp_path / "whole.json")
    assert (report.summary.clips, report.summary.rows, report.summary.failed) == (37, 185, 0)
    assert (report.reused, report.missing) == (0, 0)
    return (tmp_path / "whole.json").read_bytes()


def stopped(count):
    """An engine that is interrupted after some parts."""

    def engine(specs, settings):
        done = 0
        for event in run_parts(specs, settings):
            yield event
            done += isinstance(event, PartDone)
            if done == count:
                raise KeyboardInterrupt

    return engine


def test_a_stopped_run_goes_on_where_it_stopped(settings, whole, tmp_path):
    out, progress = tmp_path / "p.json", []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            predict_to_file(settings, out, engine=stopped(2))
        assert not out.exists()
    report = predict_to_file(settings, out, progress=lambda *counts: progress.append(counts))
    assert report.reused == 32
    assert progress == [(k, 37) for k in range(32, 38)]
    assert out.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "p.json",
        "p.json.provenance",
        "whole.json",
        "whole.json.provenance",
    ]


def test_the_record_beside_a_file_names_the_checkpoint_and_the_settings(settings, tmp_path):
    out = tmp_path / "p.json"
    predict_to_file(settings, out, command="avloc predict …")
    record = read_sidecar(out)
    assert record.output.sha256 == file_sha256(out)
    assert record.checkpoint.file.sha256 == file_sha256(settings.localizer.file)
    assert (record.checkpoint.name, record.command) == ("FastNet", "avloc predict …")
    assert {name: record.settings[name] for name in ("dataset", "split", "keep")} == {
        "dataset": "csv",
        "split": "test",
        "keep": 5,
    }


def test_tasks_of_an_array_make_parts_and_a_last_run_writes_the_file(settings, whole, tmp_path):
    out, counts = tmp_path / "p.json", []
    for k in (2, 0):
        report = predict_to_file(settings, out, array_index=(k, 3))
        counts.append((report.summary.clips, report.missing))
    assert counts == [(8, 4), (16, 2)]
    assert not out.exists()
    assert predict_to_file(settings, out).reused == 24  # task 1 never ran
    assert out.read_bytes() == whole
    with pytest.raises(AvlocError, match="--shard i/n needs 0 <= i < n, got 3/3"):
        predict_to_file(settings, out, array_index=(3, 3))


def test_several_devices_share_the_parts(settings, whole, tmp_path):
    engine = functools.partial(local.run, devices=["cpu", "cpu"], run_units=run_parts)
    # The processes have their own PART_CLIPS, but the specs say which clips.
    report = predict_to_file(settings, tmp_path / "p.json", engine=engine)
    assert report.summary.clips == 37
    assert (tmp_path / "p.json").read_bytes() == whole


def test_other_settings_are_refused_until_the_journal_is_gone(settings, split, tmp_path):
    from dataclasses import replace

    out = tmp_path / "p.json"
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(settings, out, engine=stopped(1))
    for change, message in (
        ({"keep": 6}, "whose keep was 5, now it is 6"),
        ({"batch_size": 2}, "whose batch_size was None, now it is 2"),
        ({"split": "all", "dataset": "folder"}, "whose"),
    ):
        if "dataset" in change:
            (split / "x.mp4").touch()
        with pytest.raises(AvlocError, match=message):
            predict_to_file(replace(settings, **change), out)
    predict_to_file(settings, out)
    assert len(json.loads(out.read_text())) == 37


def test_a_failed_clip_is_a_row_with_its_reason(generated_split, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART_CLIPS", 8)
    words = generated_split.write_split(tmp_path, 23, failed=2)
    assert words[-1] == "--allow-missing"
    monkeypatch.syspath_prepend(str(tmp_path))
    localizer = LocalizerSettings(tmp_path / "fast.ckpt", network="fast_net.FastNet")
    settings = PredictionSettings(localizer, "csv", tmp_path, "test", tmp_path / "features", allow_missing=True)
    report = predict_to_file(settings, tmp_path / "p.json")
    assert report.summary.failures == dict.fromkeys(["000003.mp4", "000013.mp4"], "no features in the store")
    predictions = json.loads((tmp_path / "p.json").read_text())
    assert (len(predictions), predictions["000003.mp4"], len(predictions["000004.mp4"])) == (23, [], 100)
    assert (tmp_path / "p.failures.csv").read_text().splitlines()[1] == "000003.mp4,no features in the store"


def test_raw_rows_resume_and_decode_to_the_predictions(tiny_set, tiny_store, tiny_checkpoint, tmp_path, monkeypatch):
    from dataclasses import replace

    from avloc.inference.raw.decoding import decode_clips
    from avloc.inference.raw.raw_file import RawFile
    from avloc.inference.raw.tuned_file import TunedSettings

    monkeypatch.setattr(module, "PART_CLIPS", 2)
    settings = PredictionSettings(LocalizerSettings(tiny_checkpoint), "lavdf", tiny_set, "dev", tiny_store, keep=9)
    raw_settings, out = replace(settings, raw=True), tmp_path / "dev.h5"
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(raw_settings, out, engine=stopped(1))
    with pytest.raises(AvlocError, match="whose raw was True, now it is False"):
        predict_to_file(settings, out)
    assert predict_to_file(raw_settings, out).reused == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev.h5", "dev.h5.provenance"]
    raw = RawFile(out)
    assert (raw.settings.split, raw.settings.validation, raw.settings.keep) == ("dev", "dev", 9)
    assert len(raw.settings.network) == 64
    predict_to_file(settings, tmp_path / "dev.json")
    write_predictions(
        tmp_path / "decoded.json", decode_clips(raw, TunedSettings(raw.settings.decoding, raw.settings.keep))
    )
    assert (tmp_path / "decoded.json").read_bytes() == (tmp_path / "dev.json").read_bytes()


def test_detection_writes_the_best_score_of_each_clip(settings, whole, tmp_path):
    out = tmp_path / "prediction.txt"
    detection = replace(settings, task="detection")
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(detection, out, engine=stopped(2))
    with pytest.raises(AvlocError, match="whose task was 'detection', now it is None"):
        predict_to_file(settings, out)
    predict_to_file(detection, out)
    scores = {file: rows[0][0] for file, rows in json.loads(whole).items()}
    assert read_clip_scores(out) == pytest.approx(scores, rel=1e-5)
    assert [*read_clip_scores(out)] == [*scores]

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.io.files import temporary_path

BOTH = (("logmel", {}), ("residual_grid", {}))


def run(root, files, store, extractors=BOTH, *, backend="pyav", **options):
    settings = ExtractionSettings(root, extractors, backend)
    return job.extract(files, FeatureStore(store), settings, **options)


def test_extracts_records_failures_and_resumes(clips, tmp_path):
    files = [*(f"{k} ä.mp4" for k in range(5)), "broken.mp4"]
    store, events = FeatureStore(tmp_path / "s"), []
    report = run(clips, files, store.root, shard_clips=4, progress=events.append)
    assert (report.done, report.reused, list(report.failures)) == (6, 0, ["broken.mp4"])
    assert [type(e) for e in events] == [*[ClipReport] * 4, ShardDone, *[ClipReport] * 2, ShardDone]
    assert [e.file for e in events if isinstance(e, ClipReport)] == files
    assert report.media_s == pytest.approx(1.2 * 4 + 0.52, abs=0.3)
    assert "cannot be opened as media" in store.failures("logmel")["broken.mp4"]
    assert [store.length("residual_grid", f) for f in files[:5]] == [10, 11, 12, 13, 14]
    assert store.length("logmel", "3 ä.mp4") == 0  # no sound: an empty stream, not a failure

    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*.h5")}
    one = next(iter(times))
    one.unlink()
    again = run(clips, files, tmp_path / "s", shard_clips=4)
    assert again.done + again.reused == 6
    assert list(again.failures) == ["broken.mp4"]
    assert {p: t for p, t in times.items() if p != one}.items() <= {
        p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*.h5")
    }.items()


def test_the_tasks_of_a_job_array_together_are_the_job(clips, tmp_path):
    files = [f"{k} ä.mp4" for k in range(5)]
    for k in range(2):
        run(clips, files, tmp_path / "parts", shard_clips=2, array_index=(k, 2))
    run(clips, files, tmp_path / "whole", shard_clips=2)
    parts, whole = FeatureStore(tmp_path / "parts"), FeatureStore(tmp_path / "whole")
    for name, _ in BOTH:
        assert sorted(parts.files(name)) == sorted(whole.files(name)) == files
        for file in files:
            np.testing.assert_array_equal(parts.read(name, file).values, whole.read(name, file).values)


def test_wrong_settings_write_nothing(clips, tmp_path):
    store = FeatureStore(tmp_path / "s")
    for arguments, message in (
        ({"array_index": (2, 2)}, "0 <= i < n, got 2/2"),
        ({"shard_clips": 0}, "at least 1 clip"),
    ):
        with pytest.raises(AvlocError, match=message):
            run(clips, ["0 ä.mp4"], store.root, **arguments)
    with pytest.raises(AvlocError, match="unknown extractor"):
        run(clips, ["0 ä.mp4"], store.root, (*BOTH, ("x", {})))
    assert not store.root.exists()
    run(clips, ["0 ä.mp4"], store.root)
    with pytest.raises(StoreError, match="dim was 64, now it is 80"):
        run(clips, ["0 ä.mp4"], store.root, (("logmel", {"bands": 80}),))


def test_a_store_belongs_to_one_set_of_clips(clips, tmp_path, frames):
    run(clips, ["0 ä.mp4"], tmp_path / "s")
    write_mp4(clips / "0 ä.mp4", frames, None)
    with pytest.raises(StoreError, match=r"was made of another 0 ä.mp4, of \d+ bytes; the one in .* has \d+"):
        run(clips, ["0 ä.mp4"], tmp_path / "s")


def test_failed_clips_are_tried_again_with_retry_failed(clips, tmp_path, frames):
    files = ["0 ä.mp4", "late.mp4"]
    store = tmp_path / "s"
    assert list(run(clips, files, store).failures) == ["late.mp4"]
    write_mp4(clips / "late.mp4", frames, None)
    assert run(clips, files, store).reused == 2
    report = run(clips, files, store, retry_failed=True)
    assert (report.done, report.reused, report.failures) == (2, 0, {})
    assert FeatureStore(store).length("residual_grid", "late.mp4") == 30


def test_the_decoder_is_part_of_the_settings(clips, tmp_path):
    run(clips, ["0 ä.mp4"], tmp_path / "s", backend="decord")
    with pytest.raises(StoreError, match="decoder was 'decord', now it is 'pyav'"):
        run(clips, ["0 ä.mp4"], tmp_path / "s")


def test_unusable_weights_write_nothing(clips, tmp_path):
    weights = tmp_path / "bad.pth"
    weights.write_text("none")
    store = FeatureStore(tmp_path / "s")
    with pytest.raises(AvlocError, match="want a state dict of torchvision's r3d_18"):
        run(clips, ["0 ä.mp4"], store.root, (*BOTH, ("r3d_18", {"weights": str(weights)})))
    assert not store.root.exists()


def test_files_of_a_dead_process_are_removed(clips, tmp_path):
    store = FeatureStore(tmp_path / "s")
    run(clips, ["0 ä.mp4"], store.root)
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = temporary_path(store.root / "logmel" / "00007-12345678.h5")
    left = left.with_name(left.name.replace(f".{os.getpid()}.", f".{dead.pid}."))
    running = temporary_path(store.root / "logmel" / "00008-12345678.h5")
    left.write_text("x")
    running.write_text("x")
    run(clips, ["0 ä.mp4"], store.root)
    assert not left.exists()
    assert running.exists()  # its process runs


MEMORY = """
import json, sys
from pathlib import Path
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.pipeline import ClipReport
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.job.worker import ExtractionSettings
root, count, early = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
extractors = (("logspec", {}), ("residual_grid", {}), ("wavlm_base_plus", {"weights": sys.argv[4], "layers": "all"}))
kilobytes = []
def progress(event):
    if isinstance(event, ClipReport):
        kilobytes.append(int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]))
names = [f"{k % 40:02d}.mp4" for k in range(count)]
job.extract(names, FeatureStore(sys.argv[5]), ExtractionSettings(root, extractors), shard_clips=100, progress=progress)
print(json.dumps([max(kilobytes[:early]), max(kilobytes[early:])]))
"""


@pytest.mark.parametrize(
    ("count", "early"), [(90, 30), pytest.param(2000, 200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_memory_stays_flat(tmp_path, frames, beep, count, early):
    """In one process, networks and decoders included: at most 5 % more than for the first clips."""
    from transformers import WavLMConfig, WavLMModel

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
    WavLMModel(WavLMConfig(conv_dim=(32,) * 7, num_conv_pos_embedding_groups=2, **small)).save_pretrained(
        tmp_path / "w"
    )
    random = np.random.default_rng(0)
    for k in range(40):  # of unequal lengths, up to 2 s
        turns = random.integers(1, 60)
        write_mp4(
            tmp_path / "clips" / f"{k:02d}.mp4", frames[random.integers(0, 30, turns)], np.tile(beep, 2)[: turns * 640]
        )
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "clips"), str(count), str(early), str(tmp_path / "w")]
    done = subprocess.run([*command, str(tmp_path / "s")], capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout.splitlines()[-1])
    assert after < 1.05 * before

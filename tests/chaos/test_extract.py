"""Damaged clips, bombs and odd names through an extraction: every clip is accounted for, and the job ends by itself."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from avloc.feature_extraction.job.run import extract
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

EXTRACTORS = (("logmel", {}), ("residual_grid", {}))
NOT_UTF8 = os.fsdecode(b"caf\xe9 \xff.mp4")
ODD_NAMES = ("a:b.mp4", "two\nlines.mp4", "\x1b]0;title\x07.mp4", NOT_UTF8, "-rf.mp4", "%d.mp4")


def _report(what: str, report, seconds: float) -> None:
    """Print what was tried and what survived; pytest shows it with -s."""
    print(
        f"\nextract, {what}: {report.done} clips, {report.done - report.failed} read ({report.damaged} of them damaged), "
        f"{report.failed} refused, {seconds:.0f} s"
    )


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("count", [21, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_damaged_clips_are_all_accounted_for(mutated_clips, tmp_path, bombs, backend, count):
    root = tmp_path / "clips"
    root.mkdir()
    for clip in mutated_clips(count):
        shutil.copy(clip, root)
    for name, bomb in bombs.items():
        shutil.copy(bomb, root / f"bomb {name}.mkv")
    files = sorted(path.name for path in root.iterdir())
    assert len(files) == count + len(bombs)
    store, began = FeatureStore(tmp_path / "s"), time.monotonic()
    settings = ExtractionSettings(root, EXTRACTORS, backend, workers=2, timeout_s=30)
    report = extract(files, store, settings)
    _report(f"{count} damaged clips and {len(bombs)} bombs by {backend}", report, time.monotonic() - began)
    assert report.done == len(files)
    assert {"bomb long.mkv", "bomb big.mkv"} <= report.failures.keys()
    assert report.failed < len(files)  # some survive
    for name, _ in EXTRACTORS:
        failures = store.failures(name)
        assert sorted([*store.files(name), *failures]) == files
        assert all(reason.strip() and reason.isprintable() for reason in failures.values())
    again = extract(files, store, settings)
    assert (again.done, again.reused, again.failures) == (0, len(files), report.failures)


@pytest.mark.parametrize(("backend", "workers"), [("pyav", 1), ("decord", 0)])
def test_clips_with_odd_names_are_extracted(tmp_path, frames, beep, backend, workers, monkeypatch):
    from avloc.datasets.readers.catalog import read_records
    from avloc.datasets.synthetic.encode import write_mp4

    root = tmp_path / "clips"
    write_mp4(tmp_path / "clip.mp4", frames, beep)
    root.mkdir()
    for name in ODD_NAMES:
        shutil.copy(tmp_path / "clip.mp4", root / name)
    monkeypatch.chdir(root)
    files = read_records("folder", ".").files
    assert sorted(files) == sorted(ODD_NAMES)
    store = FeatureStore(tmp_path / "s")
    report = extract(files, store, ExtractionSettings(".", EXTRACTORS, backend, workers=workers))
    refused = [] if backend == "pyav" else [NOT_UTF8]
    assert (report.done, list(report.failures), report.damaged) == (len(ODD_NAMES), refused, 0)
    for name, _ in EXTRACTORS:
        assert sorted([*store.files(name), *refused]) == sorted(ODD_NAMES)
        assert len({store.length(name, file) for file in store.files(name)}) == 1
        assert store.length(name, ODD_NAMES[0]) > 0

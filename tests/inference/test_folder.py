from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avloc.core.proposals import Proposals
from avloc.core.timeline import TimeGrid
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import Span
from avloc.inference.folder import (
    FailedClip,
    LocalizationJob,
    LocalizedClip,
    LocalizeTask,
    expected_seconds,
    find_clips,
    localize_clips,
)
from avloc.localization.pages import clip_page
from avloc.localization.result import Localization
from avloc.localization.result_folder import ClipJob, ResultFolder


class FakeLocalizer:
    """Localizes every clip; a clip whose name is a key of `errors` raises that error."""

    def __init__(self, **errors):
        self.errors, self.calls = errors, []

    def localize(self, clip, *, keep, span, preview, info, progress):
        self.calls.append((clip.name, keep, span, preview))
        if clip.stem in self.errors:
            raise self.errors[clip.stem]
        progress(0.5)
        return Localization(str(clip), 1.0, Proposals.empty(), TimeGrid(0.0, 0.5, 2), np.zeros((2, 2), np.float32))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "clips"
    for name in ("b.mp4", "a.WAV", "deep/er/c.mkv", "notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "folder.mp4").mkdir()
    return root


def jobs(*names):
    return [ClipJob(Path(f"{name}.mp4"), Path(name)) for name in names]


def test_a_folder_gives_its_media_files_in_order(folder):
    assert [(job.clip.relative_to(folder).as_posix(), job.name.as_posix()) for job in find_clips([folder])] == [
        ("a.WAV", "a"),
        ("b.mp4", "b"),
        ("deep/er/c.mkv", "deep/er/c"),
    ]


def test_a_file_is_taken_whatever_its_suffix(folder):
    assert find_clips([folder / "notes.txt", Path("missing.bin")]) == [
        ClipJob(folder / "notes.txt", Path("notes")),
        ClipJob(Path("missing.bin"), Path("missing")),
    ]


def test_a_clip_that_is_named_twice_is_listed_once(folder):
    assert find_clips([folder / "a.WAV", folder, folder / "a.WAV"]) == find_clips([folder])


def test_a_folder_without_media_files_is_refused(folder):
    with pytest.raises(AvlocError, match=r"folder\.mp4: a folder without media files"):
        find_clips([folder / "folder.mp4"])


def test_two_clips_of_one_name_keep_their_suffixes(folder):
    (folder / "b.wav").touch()
    assert [job.name.as_posix() for job in find_clips([folder])] == ["a", "b.mp4", "b.wav", "deep/er/c"]
    with pytest.raises(AvlocError, match=r"b\.mp4 and other/b\.mp4 would both be written as b\.mp4\.json"):
        find_clips([folder, Path("other/b.mp4")])


def test_hidden_files_are_no_clips(folder):
    for name in (".a.mp4", ".trash/x.mp4", "deep/._c.mkv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert [job.name.as_posix() for job in find_clips([folder])] == ["a", "b", "deep/er/c"]


def test_expected_seconds_of_a_span(tmp_path):
    write_mp4(tmp_path / "x.mp4", None, np.zeros(32_000, np.float32))
    info = probe(tmp_path / "x.mp4")
    assert expected_seconds(info, Span()) == pytest.approx(2.0, abs=0.1)
    assert expected_seconds(info, Span(0.5, 1.25)) == 0.75
    assert expected_seconds(info, Span(5.0, 9.0)) == 0.0
    assert expected_seconds(None, Span()) == 0.0


def test_paths_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(AvlocError, match=r"a\.mp4: no such file or folder"):
        find_clips([tmp_path / "a.mp4", tmp_path / "b.mp4"])
    (tmp_path / "b.mp4").touch()
    assert [job.clip.name for job in find_clips([tmp_path / "a.mp4", tmp_path / "b.mp4"])] == ["a.mp4", "b.mp4"]


def work_on(localizer, results, **options):
    return LocalizationJob(lambda pulse: localizer, results, **options)


def test_each_clip_is_written_before_it_is_yielded(tmp_path):
    results, reports = ResultFolder(tmp_path / "out", ("json", "html")), []
    localizer = FakeLocalizer()
    for name in ("a", "b"):
        write_mp4(tmp_path / f"{name}.mp4", None, np.zeros(16_000, np.float32))
    first, second = ClipJob(tmp_path / "a.mp4", Path("a")), ClipJob(tmp_path / "b.mp4", Path("deep/b"))
    outcomes = localize_clips(
        work_on(localizer, results, span=Span(0.0, 0.75), keep=7),
        [first, second],
        workers=0,
        progress=lambda *report: reports.append(report),
    )
    outcome = next(outcomes)
    assert isinstance(outcome, LocalizedClip)
    assert outcome.job == first
    assert json.loads((tmp_path / "out" / "a.json").read_text())["file"] == str(first.clip)
    assert not (tmp_path / "out" / "deep").exists()
    assert next(outcomes).job == second
    assert (tmp_path / "out" / "deep" / "b.html").is_file()
    assert list(outcomes) == []
    assert reports == [(0.5, 1.5), (0.75, 1.5), (1.25, 1.5), (1.5, 1.5)]
    assert localizer.calls[0] == ("a.mp4", 7, Span(0.0, 0.75), True)


def test_the_stills_of_a_page_send_the_pulse(tmp_path, monkeypatch):
    pulses, pulse = [], SimpleNamespace(report=print)
    monkeypatch.setattr(clip_page, "segment_stills", lambda clip, segments, pulse: pulses.append(pulse) or ())
    write_mp4(tmp_path / "a.mp4", None, np.zeros(16_000, np.float32))
    run = work_on(FakeLocalizer(), ResultFolder(tmp_path / "out", ("html",))).build(pulse)
    (outcome,) = run(LocalizeTask(ClipJob(tmp_path / "a.mp4", Path("a")), None))
    assert isinstance(outcome, LocalizedClip)
    assert pulses == [pulse]


def test_a_failed_clip_does_not_stop_the_rest(tmp_path):
    errors = {
        "bad": MediaError("bad.mp4: no media"),
        "gone": OSError(errno.ENOENT, "gone"),
        "odd": UnicodeError("odd"),
        "worse": ZeroDivisionError("by zero"),
    }
    localizer = FakeLocalizer(**errors)
    work = work_on(localizer, ResultFolder(tmp_path, ("csv",)))
    outcomes = list(localize_clips(work, jobs("bad", "gone", "odd", "worse", "ok"), workers=0))
    assert outcomes[:4] == [
        FailedClip(Path("bad.mp4"), "bad.mp4: no media"),
        FailedClip(Path("gone.mp4"), "gone.mp4: [Errno 2] gone"),
        FailedClip(Path("odd.mp4"), "odd.mp4: odd"),
        FailedClip(Path("worse.mp4"), "worse.mp4: ZeroDivisionError: by zero"),
    ]
    assert outcomes[4].job == jobs("ok")[0]
    assert not localizer.calls[0][3]  # only the page needs a preview


def test_a_full_disk_stops_the_run(tmp_path):
    localizer = FakeLocalizer(full=OSError(errno.ENOSPC, "no space left"))
    work = work_on(localizer, ResultFolder(tmp_path, ("csv",)))
    with pytest.raises(OSError, match="no space left"):
        list(localize_clips(work, jobs("full", "ok"), workers=0))
    assert len(localizer.calls) == 1


CRASHES = """
import os, signal, time
from dataclasses import dataclass

import numpy as np

from avloc.core.proposals import Proposals
from avloc.core.timeline import TimeGrid
from avloc.localization.result import Localization


class Crashing:
    def localize(self, clip, **options):
        if clip.stem == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if clip.stem == "hang":
            time.sleep(600)
        return Localization(str(clip), 1.0, Proposals.empty(), TimeGrid(0.0, 0.5, 2), np.zeros((2, 2), np.float32))


def load(pulse):
    return Crashing()
"""


def test_a_clip_that_crashes_or_hangs_fails_alone(tmp_path, monkeypatch):
    (tmp_path / "avloc_crashes.py").write_text(CRASHES)
    monkeypatch.syspath_prepend(tmp_path)
    import avloc_crashes

    work = LocalizationJob(avloc_crashes.load, ResultFolder(tmp_path / "out", ("csv",)))
    clips = jobs("a", "crash", "b", "hang", "c")
    outcomes = list(localize_clips(work, clips, workers=2, timeout_s=1.5))
    assert [outcome.job for outcome in outcomes if isinstance(outcome, LocalizedClip)] == jobs("a", "b", "c")
    assert [outcome for outcome in outcomes if isinstance(outcome, FailedClip)] == [
        FailedClip(Path("crash.mp4"), "crash.mp4: its worker process died 3 times (signal 11)"),
        FailedClip(Path("hang.mp4"), "hang.mp4: given up, no progress within 1.5 s"),
    ]


def test_no_clips_load_no_network(tmp_path):
    def load(pulse):
        raise AssertionError

    assert list(localize_clips(LocalizationJob(load, ResultFolder(tmp_path, ("csv",))), [])) == []

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from avloc.core.proposals import Proposals
from avloc.core.timeline import TimeGrid
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.media.types import Span
from avloc.inference.folder import FailedClip, LocalizedClip, expected_seconds, find_clips, localize_clips, probe_clip
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
        if progress is not None:
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


def test_a_folder_without_media_files_is_refused(folder):
    with pytest.raises(AvlocError, match=r"folder\.mp4: a folder without media files"):
        find_clips([folder / "folder.mp4"])


def test_two_clips_of_one_name_are_refused(folder):
    with pytest.raises(AvlocError, match=r"b\.mp4 and other/b\.mov would both be written as b\.json"):
        find_clips([folder, Path("other/b.mov")])


def test_expected_seconds_of_a_span(tmp_path):
    write_mp4(tmp_path / "x.mp4", None, np.zeros(32_000, np.float32))
    info = probe_clip(tmp_path / "x.mp4")
    assert expected_seconds(info, Span()) == pytest.approx(2.0, abs=0.1)
    assert expected_seconds(info, Span(0.5, 1.25)) == 0.75
    assert expected_seconds(info, Span(5.0, 9.0)) == 0.0
    (tmp_path / "broken.mp4").write_text("no media")
    assert probe_clip(tmp_path / "broken.mp4") is None
    assert expected_seconds(None, Span()) == 0.0


def test_paths_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(AvlocError, match=r"a\.mp4: no such file or folder"):
        find_clips([tmp_path / "a.mp4", tmp_path / "b.mp4"])
    (tmp_path / "b.mp4").touch()
    assert [job.clip.name for job in find_clips([tmp_path / "a.mp4", tmp_path / "b.mp4"])] == ["a.mp4", "b.mp4"]


def test_each_clip_is_written_before_it_is_yielded(tmp_path):
    results, reports = ResultFolder(tmp_path / "out", ("json", "html")), []
    localizer = FakeLocalizer()
    outcomes = localize_clips(
        localizer,
        jobs("a", "deep/b"),
        results,
        span=Span(0.0, 9.0),
        keep=7,
        progress=lambda job, end_s: reports.append((job.name.as_posix(), end_s)),
    )
    first = next(outcomes)
    assert isinstance(first, LocalizedClip)
    assert json.loads((tmp_path / "out" / "a.json").read_text())["file"] == "a.mp4"
    assert not (tmp_path / "out" / "deep").exists()
    assert next(outcomes).job == jobs("deep/b")[0]
    assert (tmp_path / "out" / "deep" / "b.html").is_file()
    assert list(outcomes) == []
    assert reports == [("a", 0.5), ("deep/b", 0.5)]
    assert localizer.calls[0] == ("a.mp4", 7, Span(0.0, 9.0), True)


def test_a_failed_clip_does_not_stop_the_rest(tmp_path):
    errors = {"bad": MediaError("bad.mp4: no media"), "gone": OSError(errno.ENOENT, "gone"), "odd": UnicodeError("odd")}
    localizer = FakeLocalizer(**errors)
    outcomes = list(localize_clips(localizer, jobs("bad", "gone", "odd", "ok"), ResultFolder(tmp_path, ("csv",))))
    assert outcomes[:3] == [
        FailedClip(Path("bad.mp4"), "bad.mp4: no media"),
        FailedClip(Path("gone.mp4"), "gone.mp4: [Errno 2] gone"),
        FailedClip(Path("odd.mp4"), "odd.mp4: odd"),
    ]
    assert outcomes[3].job == jobs("ok")[0]
    assert not localizer.calls[0][3]  # only the page needs a preview


def test_a_full_disk_stops_the_run(tmp_path):
    localizer = FakeLocalizer(full=OSError(errno.ENOSPC, "no space left"))
    with pytest.raises(OSError, match="no space left"):
        list(localize_clips(localizer, jobs("full", "ok"), ResultFolder(tmp_path, ("csv",))))
    assert len(localizer.calls) == 1

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance
from avloc.errors import AvlocError, MediaError
from avloc.io.workers.supervision import InProcess, TaskDone
from avloc.io.workers.worker_process import Progress
from avloc.web import localize_job
from avloc.web.limits import UploadLimits
from avloc.web.localize_job import Localized, LocalizeJob, Refused, UploadTask, hide_paths


@pytest.fixture
def task(tmp_path, clip):
    folder = tmp_path / "00000001"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(clip)
    return UploadTask(folder / "clip.mp4", "my clip.MP4", folder / "timeline.html")


@pytest.fixture
def messages(task):
    """The progress and the messages of the job on the task, with a localizer."""

    def collect(localizer, **limits):
        workers = InProcess(LocalizeJob(lambda pulse: localizer, UploadLimits(**limits), 0.2))
        workers.give(1, task)
        return [event.message for event in workers.wait() if not isinstance(event.message, TaskDone)]

    return collect


def test_a_clip_becomes_a_timeline(messages, make_localizer, task):
    assert messages(make_localizer()) == [
        Progress((0.0, "decoding")),
        Progress((pytest.approx(0.49, abs=0.03), "0 of 1 s")),
        Progress((pytest.approx(0.97, abs=0.05), "1 of 1 s")),
        Localized(),
    ]
    text = task.page.read_text()
    assert "<h1>my clip.MP4</h1>" in text
    assert "my clip.MP4: a problem" in text
    assert "visual not judged: my clip.MP4: no frame could be decoded" in text
    assert 'src="clip"' in text
    assert str(task.clip.parent) not in text


def test_the_progress_of_a_late_clip_counts_from_its_start(messages, make_localizer, task, monkeypatch):
    late = replace(localize_job.probe(task.clip), start_s=100.0, duration_s=104.0)
    monkeypatch.setattr(localize_job, "probe", lambda clip, pulse: late)
    progress = messages(make_localizer(times_s=(101.0, 104.0)))[1:-1]
    assert progress == [Progress((0.25, "1 of 4 s")), Progress((0.99, "4 of 4 s"))]


def test_the_stills_of_a_timeline_send_the_pulse(make_localizer, task, monkeypatch):
    pulses, pulse = [], SimpleNamespace(report=print)
    monkeypatch.setattr(localize_job, "segment_stills", lambda clip, segments, pulse: pulses.append(pulse) or ())
    job = LocalizeJob(lambda pulse: make_localizer(), UploadLimits(), 0.2)
    assert list(job.build(pulse)(task)) == [Localized()]
    assert pulses == [pulse]


def test_a_clip_that_claims_to_be_too_long_is_not_decoded(messages, make_localizer, task):
    refused = Refused("my clip.MP4: lasts 0.0 minutes, the limit is 0.01 minutes")
    assert messages(make_localizer(), max_duration_s=0.6) == [refused]
    assert not task.page.exists()


def test_a_clip_longer_than_its_header_is_stopped(messages, make_localizer):
    last = messages(make_localizer(times_s=(10.0, 40.0, 100.1)), max_duration_s=90.0)[-1]
    assert last == Refused("my clip.MP4: lasts 1.5 minutes, the limit is 1.5 minutes")


def test_messages_hide_the_paths_of_the_server(messages, make_localizer, task):
    error = MediaError(f"{task.clip}: cannot be opened as media\n({task.clip.parent}/other)")
    assert messages(make_localizer(error=error))[-1] == Refused("my clip.MP4: cannot be opened as media (/other)")


@pytest.mark.parametrize("error", [RuntimeError("a secret"), MemoryError("a secret")])
def test_an_unexpected_error_goes_to_the_log_only(messages, make_localizer, caplog, error):
    reason = "my clip.MP4: could not be localized; the server's log has the reason"
    assert messages(make_localizer(error=error))[-1] == Refused(reason)
    assert "a secret" in caplog.text


def test_hide_paths_leaves_other_texts(task):
    assert hide_paths("nothing to hide", task) == "nothing to hide"


def test_a_network_that_cannot_be_loaded_is_an_error():
    def load(pulse):
        raise AvlocError("c.ckpt: not a checkpoint")

    with pytest.raises(AvlocError, match="not a checkpoint"):
        LocalizeJob(load, UploadLimits(), 0.2).build(lambda: None)


HANGING = """
import sys, threading, ctypes
from pathlib import Path
from types import SimpleNamespace
from avloc.web.limits import UploadLimits
from avloc.web.localize_job import LocalizeJob, UploadTask
from avloc.web import localize_job
localize_job.probe = lambda clip, pulse: ctypes.PyDLL(None).sleep(60)  # native code that never lets go of the interpreter
job = LocalizeJob(lambda pulse: None, UploadLimits(time_limit_s=0.3), 0.2)
pulse = SimpleNamespace(report=print)
print(list(job.build(pulse)(UploadTask(Path("x"), "x", Path("y")))))
"""


def test_the_system_ends_a_decoder_that_hangs_in_native_code():
    process = subprocess.run([sys.executable, "-c", HANGING], timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.returncode == -signal.SIGALRM
    assert not Path("y").exists()


def test_the_record_of_a_timeline_hides_the_folders_of_the_server(make_localizer, task, monkeypatch):
    folder = task.clip.parent
    checkpoint = CheckpointIdentity(FileIdentity(str(folder / "best.ckpt"), "ab" * 32, 9))
    clip = FileIdentity(str(task.clip), "cd" * 32, 9, 1.0)
    record = Provenance("0.1.0", "2026-11-26T09:30:00Z", f"avloc {folder}", {"x": 1}, checkpoint, {"clip": clip})
    localizer, shown = make_localizer(), []
    localize = localizer.localize
    monkeypatch.setattr(localizer, "localize", lambda *a, **k: replace(localize(*a, **k), provenance=record))
    monkeypatch.setattr(localize_job, "page", lambda public, url, threshold, stills: shown.append(public) or "page")
    job = LocalizeJob(lambda pulse: localizer, UploadLimits(), 0.2, settings={"keep": 100, "prior": 0.9})
    assert job.localize(localizer, task, SimpleNamespace(report=print)) == Localized()
    public = shown[0].provenance
    assert str(folder) not in str(public)
    assert (public.checkpoint.file.file, public.clip.file, public.clip.sha256) == ("best.ckpt", task.name, "cd" * 32)
    assert public.settings == {"keep": 100, "prior": 0.5, "threshold": 0.2}

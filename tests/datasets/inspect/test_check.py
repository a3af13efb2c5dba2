from __future__ import annotations

import os
import re
import shutil
import sys

import av
import numpy as np
import pytest

from avloc.datasets.inspect import check
from avloc.datasets.inspect.check import PROBLEM_KINDS, check_clips
from avloc.datasets.readers.table import TableBuilder
from avloc.datasets.synthetic.encode import write_mp4
from avloc.io.workers.pool import run_tasks

ODD_NAME = os.fsdecode(b"odd\n\xff.mp4")
CRASH = """
import os, signal, time
from avloc.datasets.inspect.check import _CheckJob

class CrashingJob(_CheckJob):
    def _check(self, file, pulse):
        if file == "long.mp4":
            os.kill(os.getpid(), signal.SIGSEGV)
        if file == "past.mp4":
            time.sleep(60)
        return super()._check(file, pulse)
"""
SOUND = np.zeros(48_000, dtype=np.float32)


def remux(source, target):
    """Copy a clip into another container, or into an mp4 whose index comes first."""
    options = {"movflags": "faststart"} if target.suffix == ".mp4" else {}
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as made:
        streams = {each: made.add_stream_from_template(each) for each in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                made.mux(packet)


@pytest.fixture
def root(tmp_path, frames, bombs):
    """Clips of 3 s by the frames, each with one fault, and the records that they contradict."""
    long = np.concatenate([frames, frames, frames[:15]])
    root = tmp_path / "set"
    write_mp4(root / "good.mp4", long, SOUND)
    write_mp4(root / "long.mp4", long, SOUND)
    write_mp4(root / "past.mp4", long, SOUND)
    write_mp4(root / "silent.mp4", long, None)
    write_mp4(root / "blind.mp4", None, SOUND)
    write_mp4(root / "fast.mp4", np.concatenate([long, frames[:15]]), SOUND, fps=30)
    (root / "broken.mp4").write_text("none")
    remux(root / "good.mp4", root / "cut.mp4")
    (root / "cut.mp4").write_bytes((root / "cut.mp4").read_bytes()[:-300])
    shutil.copy(bombs["long"], root / "bomb.mkv")
    shutil.copy(root / "good.mp4", root / ODD_NAME)
    (tmp_path / "secret.mp4").write_text("x")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    return root


@pytest.fixture
def table():
    builder = TableBuilder()
    for name in ("good", "silent", "blind", "fast", "broken", "link", "gone", "cut"):
        builder.add(f"{name}.mp4", "train", duration_s=3.0)
    for name in ("bomb.mkv", ODD_NAME):
        builder.add(name, "train", duration_s=3.0)
    builder.add("long.mp4", "train", duration_s=3.5)
    builder.add("past.mp4", "train", audio=[(2.0, 3.01)], visual=[(2.0, 2.5), (2.9, 3.5)])
    return builder.build()


def test_each_fault_is_one_problem(root, table):
    calls = []
    problems = list(check_clips(root, table, workers=1, progress=calls.append))
    assert [(p.kind, p.file) for p in problems] == [
        ("no audio", "silent.mp4"),
        ("no visual", "blind.mp4"),
        ("fps", "fast.mp4"),
        ("unreadable", "broken.mp4"),
        ("outside", "link.mp4"),
        ("missing", "gone.mp4"),
        ("cut off", "cut.mp4"),
        ("limit", "bomb.mkv"),
        ("name", r"odd\n\udcff.mp4"),
        ("length", "long.mp4"),
        ("segment", "past.mp4"),
    ]
    assert sum(calls) == len(table)
    details = {p.kind: p.detail for p in problems}
    assert details["fps"] == "30 frames per second"
    assert details["length"].startswith("3.50 s in the metadata, 3.0")
    assert details["segment"].startswith("visual [2.9, 3.5] in a file of 3.0")
    assert details["cut off"] == "its index counts 300 bytes more than the file has"
    assert "1000 hours long, want at most 6 hours" in details["limit"]
    assert {p.kind for p in problems} == PROBLEM_KINDS.keys() - {"crash", "stream", "damaged"}
    assert list(check_clips(root, table, workers=0)) == problems


@pytest.mark.parametrize(("seconds", "kinds"), [(3.0, []), (4.2, []), (3.6, ["length"])])
def test_metadata_of_a_late_file_state_its_length_or_its_end(tmp_path, frames, seconds, kinds):
    write_mp4(tmp_path / "late.mp4", np.concatenate([frames, frames, frames[:15]]), None, video_start_s=1.2)
    builder = TableBuilder()
    builder.add("late.mp4", "train", duration_s=seconds, visual=[(1.5, 4.1)])
    problems = check_clips(tmp_path, builder.build(), workers=0)
    assert [problem.kind for problem in problems if problem.kind != "no audio"] == kinds


def test_decoding_finds_what_headers_do_not_tell(tmp_path, root, frames):
    """A Matroska file that was cut off, and a clip with zeros in its picture."""
    long = np.concatenate([frames, frames, frames[:15]])
    rng = np.random.default_rng(0)
    write_mp4(root / "noise.mp4", rng.integers(0, 255, long.shape, dtype=np.uint8), SOUND)
    data = bytearray((root / "noise.mp4").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    (root / "noise.mp4").write_bytes(data)
    remux(root / "good.mp4", root / "cut.mkv")
    whole = (root / "cut.mkv").read_bytes()
    (root / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    builder = TableBuilder()
    for file in ("good.mp4", "noise.mp4", "cut.mkv", "broken.mp4"):
        builder.add(file, "train", duration_s=3.0)
    table = builder.build()
    assert [(p.kind, p.file) for p in check_clips(root, table, workers=0)] == [("unreadable", "broken.mp4")]
    problems = list(check_clips(root, table, workers=0, decode=True))
    assert {(p.kind, p.file) for p in problems} == {
        ("damaged", "noise.mp4"),
        ("cut off", "cut.mkv"),
        ("unreadable", "broken.mp4"),
    }
    assert any(
        re.match(r"the visual stream ends at [12]\.\d+ s, its header claims 3\.\d+ s", p.detail) for p in problems
    )


@pytest.mark.parametrize("kind", ["video", "audio"])
@pytest.mark.parametrize("decode", [False, True])
def test_a_stream_without_a_decoder_is_one_problem(tmp_path, frames, kind, decode):
    write_mp4(tmp_path / "odd.mp4", np.concatenate([frames, frames, frames[:15]]), SOUND)
    data = (tmp_path / "odd.mp4").read_bytes()
    at = data.index(b"\x40", data.index(b"esds"))  # MPEG-4's number of AAC
    odd = data.replace(b"avc1", b"Xyzw") if kind == "video" else data[:at] + b"\x3f" + data[at + 1 :]
    (tmp_path / "odd.mp4").write_bytes(odd.replace(b"mp4a", b"Xyzw") if kind == "audio" else odd)
    os.mkfifo(tmp_path / "pipe.mp4")
    builder = TableBuilder()
    for file in ("odd.mp4", "pipe.mp4"):
        builder.add(file, "train", duration_s=3.0)
    stream, pipe = check_clips(tmp_path, builder.build(), workers=0, decode=decode)
    assert stream == ("stream", "odd.mp4", f"no decoder for its {kind} codec")
    assert pipe[:2] == ("unreadable", "pipe.mp4")
    assert pipe.detail.endswith("pipe.mp4: is a device or a pipe, want a media file")


def test_a_file_that_crashes_or_hangs_its_reader_fails_alone(tmp_path, root, table):
    """A named pipe hangs a reader, but is no file; so the decoder is made to crash, in the workers only."""
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "avloc_crash.py").write_text(CRASH)
    sys.path.insert(0, str(patch))
    try:
        from avloc_crash import CrashingJob

        job = CrashingJob(root, False, 21_600.0)
        results = run_tasks(job, ["good.mp4", "long.mp4", "past.mp4"], workers=1, timeout_s=3, threads=None, tries=1)
        problems = [p for result in results for p in check._result_problems(result.task, result)]
    finally:
        sys.path.remove(str(patch))
    assert [(p.kind, p.file) for p in problems] == [("crash", "long.mp4"), ("crash", "past.mp4")]
    assert "signal 11" in problems[0].detail
    assert "no progress within 3 s" in problems[1].detail


def test_sample_is_a_function_of_the_seed(root, table):
    calls = []
    first = list(check_clips(root, table, workers=0, sample=4, seed=1, progress=calls.append))
    assert len(calls) == 4
    assert first == list(check_clips(root, table, workers=0, sample=4, seed=1))
    assert set(first) < set(check_clips(root, table, workers=0))
    assert list(check_clips(root, table, workers=0, sample=99)) == list(check_clips(root, table, workers=0))


def test_no_clips(root):
    assert list(check_clips(root, TableBuilder().build())) == []


def test_a_set_of_sound_misses_no_picture(tmp_path):
    write_mp4(tmp_path / "blind.mp4", None, SOUND)
    builder = TableBuilder()
    builder.add("blind.mp4", "all")
    table = builder.build()
    assert [problem.kind for problem in check_clips(tmp_path, table, workers=0)] == ["no visual"]
    assert not list(check_clips(tmp_path, table, workers=0, modalities=("audio",)))
    assert [problem.kind for problem in check_clips(tmp_path, table, workers=0, modalities=("visual",))] == [
        "no visual"
    ]

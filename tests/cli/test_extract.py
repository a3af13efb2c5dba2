from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import pytest

from avloc.cli import extract as extract_module
from avloc.cli.extract import format_duration, parse
from avloc.cli.main import main
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError
from avloc.feature_extraction.store.feature_store import FeatureStore


@pytest.fixture
def command(tiny_set, tmp_path):
    return [
        "extract",
        "--dataset",
        "lavdf",
        "--root",
        str(tiny_set),
        "--store",
        str(tmp_path / "s"),
        "--workers",
        "1",
        "--extractors",
        "logmel",
    ]


@pytest.fixture
def in_this_process(monkeypatch):
    """Start no worker process, which takes seconds: for tests of what the verb does before and after."""
    settings = extract_module._settings
    monkeypatch.setattr(extract_module, "_settings", lambda options: replace(settings(options), workers=0))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_has_every_run(command, tmp_path, tiny_set, capsys, in_this_process):
    assert main([*command, "--shard", "0/2", "--shard-clips", "4"]) == 0
    assert "8 clips" not in capsys.readouterr().out
    assert main([*command, "--shard", "0/2", "--shard-clips", "4"]) == 0
    log = lines(tmp_path / "s" / "log" / "extract-0-of-2.jsonl")
    assert [entry["event"] for entry in log] == ["start", "shard", "shard", "end", "start", "end"]
    start, shard, _, end = log[:4]
    assert (start["clips"], start["shard"], start["extractors"][0]["name"]) == (9, "0/2", "logmel")
    assert (shard["clips"], shard["failed"]) == (4, 0)
    assert shard["decode_s"] > 0
    assert (end["how"], end["clips"], end["reused"]) == ("done", 5, 0)  # shards 0 and 2 of three
    assert (log[-1]["clips"], log[-1]["reused"]) == (0, 5)
    assert main([*command, "--shard", "1/2", "--shard-clips", "4", "--log", str(tmp_path / "second.jsonl")]) == 0
    assert lines(tmp_path / "second.jsonl")[-1]["clips"] == 4
    assert len(FeatureStore(tmp_path / "s").files("logmel")) == 9


def test_failures_are_logged_and_printed(tmp_path, capsys):
    root = tmp_path / "clips"
    root.mkdir()
    for k in range(12):
        (root / f"{k:02d}.mp4").write_text("no clip")
    command = ["extract", "--dataset", "folder", "--root", str(root), "--store", str(tmp_path / "s"), "--workers", "1"]
    assert main([*command, "--extractors", "logmel"]) == 1
    out, err = capsys.readouterr()
    assert "0 clips extracted, 0 already in the store, 12 failed" in out
    assert err.count("failed: ") == 10
    assert "failed: 00.mp4: cannot be opened as media" in err  # the name once
    assert str(root) not in err
    assert f"… and 2 more: avloc store ls {tmp_path / 's'} --failures" in err
    log = lines(tmp_path / "s" / "log" / "extract-0-of-1.jsonl")
    assert main([*command, "--extractors", "logmel"]) == 1
    assert "0 clips extracted, 0 already in the store, 12 failed" in capsys.readouterr().out
    assert [entry["event"] for entry in log].count("failed") == 12
    assert "cannot be opened as media" in log[1]["reason"]


def test_damage_is_told(tmp_path, frames, beep, capsys):
    """A clip cut off at half its size, one whose name moves the cursor, one without sound, and a whole one."""
    root = tmp_path / "clips"
    write_mp4(root / "whole.mp4", frames, beep)
    write_mp4(root / "silent.mp4", frames, None)
    (root / "cut.mkv").write_bytes(_as_mkv(root / "whole.mp4", tmp_path / "x.mkv"))
    (root / "\x1b[2J\n\udcff.mp4").write_text("no clip")
    command = ["extract", "--dataset", "folder", "--root", str(root), "--store", str(tmp_path / "s"), "--workers", "1"]
    assert main([*command, "--extractors", "logmel,residual_grid"]) == 1
    out, err = capsys.readouterr()
    assert re.search(r"3 clips extracted, 0 already in the store, 1 failed\n", out)
    assert re.search(r"^1 clips damaged: 0\.[1-9] of 1\.[23] s decoded \(avloc store ls .* --problems\)$", out, re.M)
    assert "1 clips lack a stream that was asked for" in out
    assert r"failed: \x1b[2J\n\udcff.mp4: cannot be opened as media" in err
    assert "\x1b" not in out + err
    events = {
        entry["file"]: entry for entry in lines(tmp_path / "s" / "log" / "extract-0-of-1.jsonl") if "file" in entry
    }
    assert events["silent.mp4"]["problems"] == ["no audio stream"]
    assert events["cut.mkv"]["decoded_s"] < 0.9 < events["cut.mkv"]["claimed_s"]
    assert main(["store", "ls", str(tmp_path / "s"), "--problems"]) == 0
    assert "cut.mkv" in capsys.readouterr().out


def _as_mkv(clip, path):
    """The first half of a clip's bytes in another container, whose header still claims the whole."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    data = path.read_bytes()
    return data[: len(data) // 2]


def test_a_clip_that_is_too_long_is_a_failure(tmp_path, frames, beep, capsys, in_this_process):
    write_mp4(tmp_path / "clips" / "good.mp4", frames, beep)
    command = ["extract", "--dataset", "folder", "--root", str(tmp_path / "clips"), "--store", str(tmp_path / "s")]
    assert main([*command, "--extractors", "logmel", "--longest", "1s"]) == 1
    assert re.search(r"failed: good.mp4: 1\.2\d* s long, want at most 1 s", capsys.readouterr().err)


def test_a_bomb_is_its_own_failure(bombs, tmp_path, frames, beep, capsys):
    root = tmp_path / "clips"
    write_mp4(root / "good.mp4", frames, beep)
    for name, bomb in bombs.items():
        shutil.copy(bomb, root / f"{name}.mkv")
    command = ["extract", "--dataset", "folder", "--root", str(root), "--store", str(tmp_path / "s"), "--workers", "1"]
    assert main([*command, "--extractors", "logmel,residual_grid", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3 clips, 0.00 hours (estimated from 3 of them)\n2 of these 3 could not be read")
    assert main([*command, "--extractors", "logmel,residual_grid"]) == 1
    out, err = capsys.readouterr()
    assert "1 clips extracted, 0 already in the store, 2 failed" in out
    assert "failed: long.mkv: 1000 hours long, want at most 6 hours; raise the limit with --longest" in err
    assert "failed: big.mkv: its picture claims 16000 × 16000 pixels, want at most 67 million" in err


def test_a_dry_run_writes_nothing(command, tmp_path, capsys):
    assert main([*command, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("9 clips, 0.0")
    assert "time: about 0 s with 1 workers" in out
    assert "GB free: enough" in out
    assert not (tmp_path / "s").exists()


def test_wrong_options_are_one_line(command, tmp_path, capsys):
    for options, message in (
        (["--crop", "face"], "--crop: none of these extractors takes it"),
        (
            ["--extractors", "flow,mouth", "--crop", "face"],
            "networks; set that of flow, mouth by name, as flow:crop=face",
        ),
        (["--shard", "x"], "argument --shard: want i/n, as in 0/8, got 'x'"),
        (["--shard", "2/2"], "--shard i/n needs 0 <= i < n, got 2/2"),
        (["--timeout", "0"], "want a length of time above 0, as 90m, 6h, 1:30 or 45 (seconds), got '0'"),
        (["--longest", "0h"], "want a length of time above 0, as 90m, 6h, 1:30 or 45 (seconds), got '0h'"),
        (["--ray-gpus", "-1"], "want a number of at least 0, got '-1'"),
        (["--device", "cuda:77"], "device 'cuda:77' cannot be used here"),
        (["--engine", "ray", "--device", "cuda:0,cuda:1"], "name one --device"),
        (
            ["--extractors", "no.such.Extractor"],
            "no.such.Extractor: cannot be imported, expected a subclass of avloc.feature_extraction.Extractor",
        ),
        (["--extractors", "avloc.core.timeline.TimeGrid"], "is not a subclass of"),
        (["--extractors", "wavlm_large:/nowhere"], "/nowhere"),
    ):
        extra = ["--extractors", "r3d_18:random=true"] if "cuda" in str(options) else []
        assert main([*command, *extra, *options]) == 2, options
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "s" / "r3d_18").exists()


def test_the_disk_is_checked_first(command, tmp_path, capsys, monkeypatch, in_this_process):
    from avloc.feature_extraction.job import estimate

    monkeypatch.setattr(estimate, "free_bytes", lambda folder: 1000)
    assert main(command) == 2
    assert "make room, or go on regardless with --no-space-check" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["log"]
    assert lines(tmp_path / "s" / "log" / "extract-0-of-1.jsonl")[-1]["how"].startswith("error: ")
    assert main([*command, "--no-space-check"]) == 0


def test_a_folder_that_cannot_be_written(command, tmp_path, capsys, monkeypatch):
    """As root everything can be written, so the probe is made to fail."""

    def refuse(self, data):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert main(command) == 2
    assert "logmel: cannot be written to (Read-only file system)" in capsys.readouterr().err
    assert not list((tmp_path / "s").rglob("*.h5"))


def test_a_log_that_cannot_be_written(command, tmp_path, capsys):
    assert main([*command, "--log", str(tmp_path)]) == 2
    assert "is a folder, want the name of a file to write" in capsys.readouterr().err
    (tmp_path / "s").write_text("x")
    assert main(command) == 2
    assert "s: is a file, want the name of a folder" in capsys.readouterr().err


def test_sigterm_ends_the_job_cleanly(tmp_path, tiny_set):
    """SIGTERM acts like Ctrl-C: one line, no unfinished file, and an entry in the log."""
    command = [
        sys.executable,
        "-m",
        "avloc",
        "extract",
        "--dataset",
        "lavdf",
        "--root",
        str(tiny_set),
        "--workers",
        "1",
        "--store",
        str(tmp_path / "s"),
        "--extractors",
        "r3d_18:random=true,stride=1",
        "--shard-clips",
        "9",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "s").rglob(".*.tmp*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "avloc extract: stopped; finished work is kept, run the same command again to continue" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "s").rglob(".*.tmp*"))
    assert lines(tmp_path / "s" / "log" / "extract-0-of-1.jsonl")[-1]["how"] == "stopped"


def test_another_crop_is_another_store(tmp_path, frames, capsys, in_this_process):
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips" / "a.mp4", frames, None)
    command = [
        "extract",
        "--dataset",
        "folder",
        "--root",
        str(tmp_path / "clips"),
        "--store",
        str(tmp_path / "s"),
        "--workers",
        "1",
        "--extractors",
        "r3d_18:random=true,stride=25,window=4",
    ]
    assert main([*command, "--crop", "center"]) == 0
    assert FeatureStore(tmp_path / "s").describe("r3d_18").parameters["crop"] == "center"
    assert main(command) == 2
    assert "made with other settings: parameters was" in capsys.readouterr().err


def test_the_extractor_of_the_documentation(tiny_set, tmp_path, monkeypatch, in_this_process):
    page = (Path(__file__).parents[2] / "docs" / "extraction.md").read_text()
    code = re.search(r"```python\n(# loudness.py.*?)```", page, re.DOTALL)
    assert code is not None
    (tmp_path / "loudness.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    command = [
        "extract",
        "--dataset",
        "lavdf",
        "--root",
        str(tiny_set),
        "--store",
        str(tmp_path / "s"),
        "--workers",
        "1",
    ]
    assert main([*command, "--extractors", "logmel,loudness.Loudness"]) == 0
    store = FeatureStore(tmp_path / "s")
    for file in store.files("logmel"):
        assert store.grid("loudness", file) == store.grid("logmel", file)
        assert (store.read("loudness", file).values[:, 0] <= store.read("loudness", file).values[:, 1]).all()


def test_parse(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clips").mkdir()
    words = ["--dataset", "folder", "--root", "~/clips", "--extractors", "logmel", "--store", "~/s"]
    options = parse([*words, "--shard", "2/8", "--device", "cuda:0, cuda:1", "--log", "~/l.jsonl"])
    assert (options.root, options.store, options.log) == (tmp_path / "clips", tmp_path / "s", tmp_path / "l.jsonl")
    assert (options.engine.shard, options.devices, options.timeout) == ((2, 8), ["cuda:0", "cuda:1"], 300.0)
    defaults = parse(words)
    assert [parse([*words, "--longest", text]).longest for text in ("90m", "6h", "45")] == [5400.0, 21600.0, 45.0]
    assert defaults.longest == 21600.0
    assert (defaults.engine.shard, defaults.devices, defaults.log, defaults.dry_run) == ((0, 1), ["cpu"], None, False)


def test_crop_is_an_argument_of_the_networks_that_take_one(tmp_path):
    words = ["--dataset", "folder", "--root", str(tmp_path), "--store", "s", "--crop", "face"]
    options = parse([*words, "--extractors", "logspec;r3d_18:random=true,crop=center;mc3_18:random=true"])
    assert extract_module._settings(options).extractors == (
        ("logspec", {}),
        ("r3d_18", {"crop": "center", "random": "true"}),
        ("mc3_18", {"crop": "face", "random": "true"}),
    )
    options = parse([*words, "--extractors", "flow;raft:random=true;mouth:side=64;mc3_18:random=true"])
    assert extract_module._settings(
        options
    ).extractors == (  # motion and mouths are those of the same names without --crop
        ("flow", {}),
        ("raft", {"random": "true"}),
        ("mouth", {"side": "64"}),
        ("mc3_18", {"crop": "face", "random": "true"}),
    )
    options = parse([*words, "--extractors", "flow:crop=center;r3d_18:random=true"])
    assert extract_module._settings(options).extractors[0] == ("flow", {"crop": "center"})


def test_an_extractor_of_your_own_declares_that_its_crop_is_set_by_name(tmp_path, write_module):
    write_module(
        "avloc_test_crops",
        "from avloc.feature_extraction.extractors.motion.flow import Flow\n"
        "class Shared(Flow):\n    name, shares_crop = 'shared', True\n"
        "class Separate(Flow):\n    name = 'separate'\n",
    )
    words = ["--dataset", "folder", "--root", str(tmp_path), "--store", "s", "--crop", "face", "--extractors"]
    shared, separate = "avloc_test_crops.Shared", "avloc_test_crops.Separate"
    options = parse([*words, f"{shared},{separate},logspec"])
    assert extract_module._settings(options).extractors == ((shared, {"crop": "face"}), (separate, {}), ("logspec", {}))
    with pytest.raises(AvlocError, match=f"set that of {separate} by name, as {separate}:crop=face"):
        extract_module._settings(parse([*words, f"{separate},logspec"]))
    with pytest.raises(AvlocError, match="it is for visual networks$"):
        extract_module._settings(parse([*words, "logspec"]))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 hours")]
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


def test_augmented_copies(tmp_path, frames, beep, capsys, in_this_process):
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / "clips" / name, frames, beep)
    command = ["extract", "--dataset", "folder", "--root", str(tmp_path / "clips"), "--store", str(tmp_path / "s")]
    command += ["--extractors", "logmel"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("audio: [{name: Gain, gain_db: -20}]")
    with_copies = [*command, "--augment", str(recipe), "--copies"]
    assert main([*with_copies, "2", "--dry-run"]) == 0
    assert "each of 2 augmented copies:\n2 clips" in capsys.readouterr().out
    assert not (tmp_path / "s").exists()
    assert main([*with_copies, "1"]) == 0
    assert main([*with_copies, "2"]) == 0
    lines_out = capsys.readouterr().out.splitlines()
    counts = [re.sub(".*: ", "", line) for line in lines_out]
    made, kept = (
        "2 clips extracted, 0 already in the store, 0 failed",
        "0 clips extracted, 2 already in the store, 0 failed",
    )
    assert counts == [made, made, kept, kept, made]
    store = FeatureStore(tmp_path / "s")
    assert store.extractors() == store.copy(2).extractors() == ["logmel"]
    clean, copy = (s.read("logmel", store.files("logmel")[0]).values for s in (store, store.copy(1)))
    assert clean.shape == copy.shape
    loud = clean > -2  # logarithms
    assert float((clean - copy)[loud].mean()) > 0.5
    assert (store.copy(1).root / "log" / "extract-0-of-1.jsonl").exists()
    recipe.write_text("audio: [{name: Gain, gain_db: -19}]")
    assert main([*with_copies, "2"]) == 2
    assert "holds features made with other settings: augmentation was" in capsys.readouterr().err
    assert main([*command, "--copies", "2"]) == 2
    assert "--copies: are made by a recipe; name it with --augment" in capsys.readouterr().err
    assert main([*command, "--augment", "none.yaml"]) == 2
    assert "none.yaml: no such recipe" in capsys.readouterr().err

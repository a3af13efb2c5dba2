from __future__ import annotations

import os
import subprocess
import sys

import pytest

from avloc.cli.catalog import VERBS
from avloc.cli.data import EXAMPLES as DATA_EXAMPLES
from avloc.cli.main import main
from avloc.cli.store import ACTIONS as STORE_ACTIONS


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("avloc 0.")
    assert main([]) == 2


@pytest.mark.parametrize(
    ("verb", "cure"),
    [
        ("extract", "; finished work is kept, run the same command again to continue"),
        ("localize", "; finished clips are kept, add --skip-done to continue"),
        ("evaluate", ""),
    ],
)
def test_a_stop_says_how_to_continue(verb, cure, monkeypatch, capsys):
    def stop(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"avloc.cli.{verb}.run", stop)
    assert main([verb]) == 130
    assert capsys.readouterr().err == f"avloc {verb}: stopped{cure}\n"


def test_quiet_prints_warnings_and_errors_only(tmp_path, capsys):
    (tmp_path / "p.json").write_text('{"a.mp4": [[0.9, 1, 2]], "x.mp4": []}')
    (tmp_path / "m.csv").write_text("file,start,end\na.mp4,1,2\n")
    command = ["evaluate", str(tmp_path / "p.json"), str(tmp_path / "m.csv"), "--protocol", "lavdf"]
    for words in (["--quiet", *command], [*command, "--quiet"]):
        assert main(words) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("warning: ")
    assert main([*command[:2], "none.json", *command[3:], "--quiet"]) == 2
    assert "none.json: no such metadata file" in capsys.readouterr().err
    assert main(command) == 0
    assert "AP@0.5" in capsys.readouterr().out


def test_quiet_draws_no_progress_bar(tmp_path, run_in_terminal):
    (tmp_path / "a.wav").touch()
    command = ["data", "check", "--dataset", "folder", "--root", tmp_path, "--workers", "1"]
    assert "check:" in run_in_terminal(command, 80).text
    assert run_in_terminal([*command, "--quiet"], 80).text.splitlines()[0].startswith("unreadable: a.wav")


def test_verbose_puts_the_traceback_before_the_line(capsys):
    assert main(["store", "ls", "none", "--verbose"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "avloc store: error: none: no such store; avloc extract and avloc store import write one"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_output_that_cannot_be_written_is_one_line_and_code_2():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "avloc", "--version"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("avloc: error: ")


def test_closed_streams_are_no_error():
    for closed in (">&-", ">&- 2>&-"):
        done = subprocess.run(f"{sys.executable} -m avloc --version {closed}", shell=True, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "words", [*VERBS, *(f"data {a}" for a in DATA_EXAMPLES), *(f"store {a}" for a in STORE_ACTIONS)]
)
def test_each_help_has_an_example_and_fits_eighty_columns(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    try:
        code = main([*words.split(), "--help"])
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    text = capsys.readouterr().out
    assert f"avloc {words} " in text.partition("example:")[2]
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "unknown command 'fly', want one of demo"),
        (["exract"], "unknown command 'exract' (did you mean extract?), want one of demo"),
        (["data", "inof"], "want one of info, check, sample, got 'inof' (did you mean info?)"),
        (["synth", "out", "--layout", "lav-df", "--clips", "9"], "unknown layout 'lav-df' (did you mean lavdf?)"),
        (["data", "info", "--dataset", "LAVDF", "--root", "."], "unknown dataset 'LAVDF' (did you mean lavdf?)"),
        (
            ["extract", "--dataset", "folder", "--root", ".", "--store", "s", "--extractors", "logspec", "logmel"],
            "separate the values of --extractors by commas, without spaces: --extractors logspec,logmel",
        ),
        (["localize", "x.mp4", "--format", "jsno"], "got jsno (did you mean json?)"),
        (["localize", "x.mp4", "--format", "json", "html"], "by commas, without spaces: --format json,html"),
        (["localize", "x.mp4", "--thresh", "0.5"], "--thresh 0.5 (did you mean --threshold?)"),
        (
            ["evaluate", "none.json", "none.json", "--protocol", "lav-df"],
            "unknown protocol 'lav-df' (did you mean lavdf?)",
        ),
        (["train", "--config", "dmeo"], "dmeo: no such configuration (did you mean demo?)"),
        (["train", "--config", "demo", "--network", "BATF"], "unknown network 'BATF' (did you mean BATFD?)"),
        (
            ["extract", "--dataset", "lavdf", "--root", "/nowhere", "--store", "s", "--extractors", "logspec"],
            "/nowhere: no such folder",
        ),
        (
            ["extract", "--dataset", "x", "--root", ".", "--store", "s", "--extractors", "logspec"],
            "unknown dataset 'x'",
        ),
        (["localize", "x.mp4", "--checkpoint", "none.ckpt"], "none.ckpt: no such checkpoint"),
        (["evaluate", "none.json", "none.json", "--protocol", "odd"], "unknown protocol 'odd', want one of lavdf"),
        (["evaluate", "none.json", "none.json", "--protocol", "lavdf"], "no such metadata file"),
        (["synth", "out", "--layout", "odd", "--clips", "9"], "unknown layout 'odd'"),
        (["demo", "--clips", "3", "--out", "new"], "at least 9 clips"),
    ],
)
def test_a_wrong_input_is_one_line_and_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_device_is_one_line(tmp_path, capsys):
    (tmp_path / "c.ckpt").touch()
    (tmp_path / "x.mp4").touch()
    clip, checkpoint = str(tmp_path / "x.mp4"), str(tmp_path / "c.ckpt")
    assert main(["localize", clip, "--checkpoint", checkpoint, "--device", "warp", "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert "device 'warp' cannot be used" in error
    assert error.count("\n") == 1


def test_unknown_extractor_error_lists_the_available_ones(tiny_set, tmp_path, capsys):
    common = ["extract", "--dataset", "lavdf", "--root", str(tiny_set), "--store", str(tmp_path / "s")]
    assert main([*common, "--extractors", "logspec,wavelet"]) == 2
    assert (
        "unknown extractor 'wavelet' (did you mean wavlm_base?), available: batfd_audio, batfd_c3d, batfd_mvit"
        in capsys.readouterr().err
    )
    assert main([*common, "--extractors", "logspec,logspec"]) == 2
    assert main([*common, "--extractors", "logspec", "--shard", "1-2"]) == 2
    assert main([*common, "--extractors", ","]) == 2
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "code", ["import avloc", "import avloc.evaluation, avloc.evaluation.metrics", "import avloc.cli.main"]
)
def test_imports_are_light(code):
    heavy = "torch, pytorch_lightning, av, h5py, matplotlib, transformers"
    check = f"{code}; import sys; bad = [m for m in '{heavy}'.split(', ') if m in sys.modules]; sys.exit(str(bad) if bad else 0)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii:strict"}])
def test_a_terminal_that_lacks_a_character_gets_an_escape(environment, tmp_path):
    name = os.fsdecode(b"caf\xc3\xa9 \xff\x1b[2J\n.mp4")
    command = [sys.executable, "-m", "avloc", "data", "info", "--dataset", "folder", "--root", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, env=os.environ | environment)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert rb"\udcff\x1b[2J\n.mp4: no such folder" in done.stderr
    assert done.stderr.isascii() or "PYTHONIOENCODING" not in environment
    assert b"\x1b" not in done.stderr

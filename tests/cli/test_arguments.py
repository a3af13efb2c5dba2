from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from avloc.cli.arguments import (
    VERBS,
    LocalizerOptions,
    add_dataset_options,
    add_localizer_options,
    default_workers,
    existing,
    parser,
    path,
    positive,
)
from avloc.errors import AvlocError


def test_errors_are_one_line_with_the_way_to_the_help():
    with pytest.raises(AvlocError, match=r"unrecognized arguments: --odd \(see avloc synth --help\)"):
        parser("synth", "avloc synth clips").parse_args(["--odd"])


@pytest.mark.parametrize("text", ["0", "-3", "2.5", "many", ""])
def test_positive_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="want a whole number of at least 1"):
        positive(text)
    assert positive("7") == 7


def test_paths_expand_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path("~/clips") == tmp_path / "clips"
    assert existing("folder")("~") == tmp_path
    with pytest.raises(argparse.ArgumentTypeError, match="~/none: no such checkpoint"):
        existing("checkpoint")("~/none")


def test_default_workers_is_the_number_of_cores():
    assert 1 <= default_workers() <= 4096


def test_localizer_options(tmp_path):
    (tmp_path / "c.ckpt").touch()
    options = parser("serve", "avloc serve")
    add_localizer_options(options)
    namespace = options.parse_args(["--checkpoint", str(tmp_path / "c.ckpt"), "--weights", "a=b=c", "--device", "cuda"])
    localizer = LocalizerOptions.pop(namespace)
    assert localizer == LocalizerOptions(
        tmp_path / "c.ckpt", None, (), {"a": Path("b=c")}, device="cuda", precision="32", decoding=None
    )
    assert vars(namespace) == {}
    with pytest.raises(AvlocError, match="want NAME=FILE, got 'a'"):
        options.parse_args(["--checkpoint", str(tmp_path / "c.ckpt"), "--weights", "a"])


def test_dataset_options_check_the_folder(tmp_path):
    options = parser("extract", "avloc extract")
    add_dataset_options(options)
    assert options.parse_args(["--dataset", "lavdf", "--root", str(tmp_path)]).root == tmp_path
    with pytest.raises(AvlocError, match="none: no such folder"):
        options.parse_args(["--dataset", "lavdf", "--root", "none"])


def test_every_verb_has_a_file():
    folder = Path(__file__).parents[2] / "avloc" / "cli"
    assert {f"{verb}.py" for verb in VERBS} == {p.name for p in folder.glob("*.py")} - {
        "__init__.py",
        "arguments.py",
        "main.py",
    }

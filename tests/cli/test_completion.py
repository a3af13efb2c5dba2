from __future__ import annotations

import shutil
import subprocess

import pytest

from avloc.cli.catalog import VERBS
from avloc.cli.completion import completion_script
from avloc.cli.main import main


@pytest.fixture(scope="module")
def script() -> str:
    return completion_script("bash")


def completed(script: str, line: str) -> list[str]:
    """The words that bash offers at the end of a line."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    probe = (
        f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _avloc; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-u", "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("avloc ex", ["extract"]),
        ("avloc data ", ["info", "check", "sample"]),
        ("avloc store ver", ["verify"]),
        ("avloc store ls --fail", ["--failures"]),
        ("avloc localize --stre", ["--streams"]),
        ("avloc localize --streams ", ["both", "audio", "visual"]),
        ("avloc extract --dataset lav", ["lavdf"]),
        ("avloc evaluate p.json --protocol avdeepfake1m+", ["avdeepfake1m++"]),
        ("avloc train --config demo_", ["demo_batfd", "demo_whisper"]),
        ("avloc train --he", ["--help", "--help-all"]),
        ("avloc localize clips/a", []),  # then bash completes paths
        ("avloc synth out --qui", ["--quiet"]),
    ],
)
def test_bash_completes_words(script, line, expected):
    assert completed(script, line) == expected


def test_every_verb_is_completed(script):
    assert set(completed(script, "avloc ")) >= set(VERBS)


def test_the_command_prints_the_script_of_a_shell(capsys):
    assert main(["--completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1] == "autoload -U +X bashcompinit && bashcompinit"
    assert "complete -o bashdefault -o default -F _avloc avloc" in text
    for words in (["--completion", "fish"], ["--completion"]):
        assert main(words) == 2
        assert "want one of bash, zsh, got" in capsys.readouterr().err

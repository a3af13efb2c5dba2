from __future__ import annotations

import subprocess
from multiprocessing.pool import ThreadPool

import pytest

from avloc.errors import AvlocError


@pytest.fixture
def ledger_file(tmp_path, monkeypatch):
    """A ledger in a repository of one commit, beside another tracked file."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "x")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "x@example.org")
    folder = tmp_path / "repository" / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "ledger.csv").write_text("")
    (folder / "code.py").write_text("x = 1\n")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder.parent), *arguments], check=True)
    return folder / "ledger.csv"


def look(seed=0, **fields):
    from scoring.ledger import Look

    return Look(3, 2400, "tridet", seed, "short", **fields)


def test_a_clean_tree_has_the_name_of_its_commit(ledger_file):
    from scoring.ledger import commit_name

    head = subprocess.run(
        ["git", "-C", str(ledger_file.parent), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert head.startswith(commit_name(ledger_file))
    assert len(commit_name(ledger_file)) == 12
    ledger_file.write_text("a line\n")  # the ledger itself may be written
    (ledger_file.parent / "notes.txt").write_text("untracked\n")
    assert head.startswith(commit_name(ledger_file))


def test_uncommitted_changes_are_refused_or_noted(ledger_file):
    from scoring.ledger import commit_name

    clean = commit_name(ledger_file)
    (ledger_file.parent / "code.py").write_text("x = 2\n")
    with pytest.raises(AvlocError, match=r"1 files have uncommitted changes or .*, the first is benchmarks/code.py"):
        commit_name(ledger_file)
    assert commit_name(ledger_file, allow_dirty=True) == f"{clean}-dirty"
    assert commit_name(ledger_file, outputs=[ledger_file.parent / "code.py"]) == clean


@pytest.mark.parametrize("name", ["new.py", "folder/néw module.py"])
def test_untracked_python_files_are_changes(ledger_file, name):
    """A module that no commit has may be imported by those that it has."""
    from scoring.ledger import commit_name

    clean = commit_name(ledger_file)
    path = ledger_file.parents[1] / name  # outside of the ledger's folder
    path.parent.mkdir(exist_ok=True)
    path.write_text("x = 1\n")
    with pytest.raises(AvlocError, match=f"the first is {name}"):
        commit_name(ledger_file)
    assert commit_name(ledger_file, allow_dirty=True) == f"{clean}-dirty"
    (ledger_file.parents[1] / ".gitignore").write_text(path.name + "\n")
    assert commit_name(ledger_file) == clean  # ignored files, as those of an environment


def test_staged_and_deleted_files_are_changes(ledger_file):
    from scoring.ledger import commit_name

    folder = ledger_file.parent
    subprocess.run(["git", "-C", str(folder), "mv", "code.py", "renamed.py"], check=True)
    with pytest.raises(AvlocError, match="2 files have uncommitted changes"):
        commit_name(ledger_file)


def test_outside_of_a_repository(tmp_path):
    from scoring.ledger import commit_name

    with pytest.raises(AvlocError, match="want a git repository for the ledger of tests"):
        commit_name(tmp_path / "ledger.csv")


def test_lines(tmp_path):
    from scoring.ledger import COLUMNS, append, read

    path = tmp_path / "ledger.csv"
    assert read(path) == []
    append(look(), "0123456789ab", path)
    append(look(seed=2, shift_ms=13.0), "0123456789ab-dirty", path)
    append(look(seed=None)._replace(budget=""), "0123456789ab", path)
    first, second, third = read(path)
    assert (third["system"], third["seed"], third["budget"], third["shift_ms"]) == ("tridet", "", "", "0")
    assert tuple(first) == COLUMNS
    assert (first["commit"], first["system"], first["seed"], first["budget"], first["shift_ms"]) == (
        "0123456789ab", "tridet", "0", "short", "0",
    )  # fmt: skip
    assert (second["commit"], second["seed"], second["shift_ms"]) == ("0123456789ab-dirty", "2", "13")
    assert first["date"][:2] == "20"


def test_lines_of_many_at_once(tmp_path):
    from scoring.ledger import append, read

    path = tmp_path / "ledger.csv"
    append(look(), "c", path)
    with ThreadPool(8) as pool:
        pool.map(lambda seed: append(look(seed), "c", path), range(50))
    assert sorted(int(line["seed"]) for line in read(path)[1:]) == list(range(50))


def test_the_ledger_of_the_repository_can_be_read():
    from scoring.ledger import COLUMNS, LEDGER

    assert LEDGER.read_text().splitlines()[0] == ",".join(COLUMNS)

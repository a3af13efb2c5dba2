"""The page docs/challenge.md, typed line by line on a small generated set: specialists, tuning, fusion, both zips."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from pathlib import Path

import pytest

from avloc.cli.arguments.parser import parser_of
from avloc.cli.catalog import import_verb
from avloc.cli.main import main
from avloc.datasets.synthetic.composition import plan

PAGE = (Path(__file__).parents[2] / "docs" / "challenge.md").read_text(encoding="utf-8")
# Features without weights, a small network and one epoch, on one core.
SMALL = [
    ["--data.extractors", "[logspec, residual_grid]"],
    ["--model.model.audio_layers", "1"],
    *(["--model.model." + name, value] for name, value in (("audio_dim", "513"), ("visual_dim", "320"))),
    *(["--model.model." + name, value] for name, value in (("width", "8"), ("heads", "2"), ("levels", "2"))),
    *(["--data." + name, value] for name, value in (("hop_s", "0.04"), ("workers", "0"))),
    *(["--trainer." + name, value] for name, value in (("max_epochs", "1"), ("devices", "1"), ("precision", "32"))),
    *(["--trainer." + name, value] for name, value in (("strategy", "auto"), ("enable_progress_bar", "false"))),
]
LARGE = ("--device cuda --precision 16 --crop face ", "wavlm_base_plus:/models/wavlm-base-plus,layers=all;")
HAS_DETECTION = any("--task" in action.option_strings for action in parser_of("predict")._actions)


def commands(section: str | None = None) -> list[list[str]]:
    """The words of each command of the page, or of one section, as the small set needs them."""
    text = PAGE if section is None else re.split(r"^## ", PAGE.partition(f"## {section}\n")[2], flags=re.MULTILINE)[0]
    blocks = "".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    blocks = blocks.replace(LARGE[0], "").replace("$SLURM_ARRAY_TASK_ID/64", "0/1")
    lines = [shlex.split(line)[1:] for line in blocks.splitlines()]
    return [
        [re.sub("^wavlm_base_plus:.*", "logspec,residual_grid", word) for word in words]
        + [word for pair in SMALL if words[0] == "train" for word in pair]
        for words in lines
    ]


SECTIONS = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)


def test_the_page_is_adapted_where_the_test_says():
    assert all(text in PAGE for text in LARGE)
    assert SECTIONS == [
        "Features",
        "Specialists",
        "Tuning",
        "Fusion",
        "Task 1: is the clip fake?",
        "The two zips",
        "Without the set, weights or a GPU",
        "Where it was tried",
    ]


@pytest.mark.parametrize("section", SECTIONS[:-1])
def test_the_commands_parse(section, tmp_path, monkeypatch):
    """The short form: no command is run."""
    monkeypatch.chdir(tmp_path)
    for name in ("R", "S"):
        (tmp_path / name).mkdir()
    for name in ("audio", "visual", "joint"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "best.ckpt").touch()
        (tmp_path / name / "tuned.json").touch()
        (tmp_path / name / "val.json").touch()
    parsed = 0
    for words in commands(section):
        if "--task" not in words or HAS_DETECTION:
            verb = import_verb(words[0])
            verb.parse(words[1:])
            parsed += 1
    assert parsed


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_once, render_once) -> Path:
    """The folder after the commands of the page up to the fusion."""
    from avloc.datasets.synthetic.generate import synthesize

    def fill(folder: Path) -> None:
        with render_once():
            synthesize(folder / "R", layout="avdeepfake1m++", clips=40, seed=2)

    folder = tmp_path_factory.mktemp("challenge")
    (folder / "R").symlink_to(make_once("challenge", fill) / "R")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for section in SECTIONS[:4]:
            type_in(commands(section))
    return folder


@pytest.mark.parametrize(("clips", "sources"), [(36, 1), (37, 2), (60, 3)])
def test_the_fewest_clips_are_those_with_two_sources(clips, sources):
    validation = [clip for clip in plan(clips, seed=0) if clip.split == "dev"]
    with_fakes = {clip.source for clip in validation if clip.kind != "real"}
    assert len(with_fakes & {clip.source for clip in validation if clip.kind == "real"}) == sources


def type_in(lines):
    for words in lines:
        assert main(words) == 0, shlex.join(["avloc", *words])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_specialists_are_trained_tuned_and_fused(folder):
    rows = json.loads((folder / "testA.json").read_text())
    assert set(rows) <= set((folder / "R" / "testA_files.txt").read_text().split())
    assert min(len(each) for each in rows.values()) > 0
    assert (folder / "report.html").is_file()
    for name in ("audio", "visual", "joint"):
        tuned = json.loads((folder / name / "tuned.json").read_text())
        assert tuned["schema"] == "avloc.tuned/1"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_task_2_is_zipped(folder, monkeypatch):
    monkeypatch.chdir(folder)
    type_in([words for words in commands("The two zips") if words[1] == "testA.json"])
    assert zipfile.ZipFile(folder / "task2.zip").namelist() == ["prediction.json"]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_DETECTION, reason="avloc predict has no --task")
@pytest.mark.filterwarnings("ignore")
def test_task_1_is_zipped(folder, monkeypatch):
    monkeypatch.chdir(folder)
    type_in(commands("Task 1: is the clip fake?"))
    type_in([words for words in commands("The two zips") if words[1] == "prediction.txt"])
    assert zipfile.ZipFile(folder / "task1.zip").namelist() == ["prediction.txt"]

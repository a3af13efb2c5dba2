"""constraints.txt and the Dockerfile: the pins fit pyproject.toml, and the image's commands name things that exist."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from avloc.cli.arguments.parser import parser_of
from avloc.cli.catalog import VERBS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIN_LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {name: Version(version) for name, _, version in (line.partition("==") for line in PIN_LINES)}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PINNED_EXTRAS = ("web", "flow", "ray")


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments."""
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def requirements() -> list[str]:
    extras = [each for name in PINNED_EXTRAS for each in PROJECT["optional-dependencies"][name]]
    return [*PROJECT["dependencies"], *extras]


@pytest.mark.parametrize("text", requirements())
def test_every_requirement_is_pinned_within_its_range(text):
    requirement = Requirement(text)
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_pins_are_exact_sorted_and_named_as_the_index_names_them():
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+", line) for line in PIN_LINES)
    assert sorted(PINS) == list(PINS)
    assert len(PINS) == len(PIN_LINES)
    assert all(canonicalize_name(name) == name for name in PINS)


def test_the_image_is_built_from_files_and_extras_that_exist():
    steps = instructions()
    assert steps[0] == ("FROM", "python:3.11-slim")
    assert "3.11" in PROJECT["requires-python"]
    runs = [shlex.split(rest) for word, rest in steps if word == "RUN"]
    assert len(runs) == 1
    install = runs[0]
    assert install[:2] == ["pip", "install"]
    assert (ROOT / install[install.index("--constraint") + 1]).is_file()
    extras = re.fullmatch(r"\.\[(\w+)\]", install[-1])
    assert extras is not None
    assert extras[1] in PINNED_EXTRAS
    assert {word for word, _ in steps} <= {"FROM", "WORKDIR", "COPY", "RUN", "ENTRYPOINT", "CMD"}
    entry = json.loads(next(rest for word, rest in steps if word == "ENTRYPOINT"))
    assert entry == ["avloc"]
    assert "avloc" in PROJECT["scripts"]


def test_files_of_the_package_reach_the_image():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored
    needed = {"avloc", "configs", "datasets", "evaluation", "feature_extraction", "setup.py", "pyproject.toml"}
    needed |= {"README.md", "LICENSE", "constraints.txt"}
    assert needed.isdisjoint(ignored)


def documented_commands() -> list[list[str]]:
    """The words after `docker run … avloc` in the Dockerfile and in the pages."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    texts = [DOCKERFILE, *(page.read_text(encoding="utf-8") for page in pages)]
    lines = [line.lstrip("# ") for text in texts for line in text.splitlines()]
    return [shlex.split(line.partition(" avloc ")[2]) for line in lines if line.startswith("docker run")]


def test_documented_commands_of_the_image_parse():
    commands = documented_commands()
    assert len(commands) >= 2
    for verb, *words in commands:
        assert verb in VERBS
        parser = parser_of(verb)
        assert parser is not None
        parser.parse_args(words)

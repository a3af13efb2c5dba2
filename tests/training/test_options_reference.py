from __future__ import annotations

from pathlib import Path

import pytest

from avloc.training.options_reference import GROUPS, as_page, as_text, class_options

PAGE = Path(__file__).parents[2] / "docs" / "training_options.md"


def test_the_page_is_that_of_the_code():
    assert PAGE.read_text(encoding="utf-8") == as_page(), f"python -m avloc.training.options_reference > {PAGE}"


@pytest.mark.parametrize("its_class", [each for _, each in GROUPS])
def test_every_option_is_described(its_class):
    options = list(class_options(its_class))
    assert options
    assert [option.name for option in options if not option.description] == []


def test_defaults_are_those_of_the_signature():
    data = {option.name: option for option in class_options(GROUPS[0][1])}
    assert data["batch_size"].default == "16"
    assert data["root"].default == ""


def test_the_text_names_the_options_as_they_are_written():
    text = as_text()
    assert "\n  --data.batch_size\n        clips per batch (default: 16)\n" in text
    assert "--model.model.width" in text

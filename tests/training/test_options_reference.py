from __future__ import annotations

from pathlib import Path

import pytest

from avloc.models import BATFD, SpeechFrontEnd
from avloc.models.front_ends.catalog import FRONT_ENDS
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
    assert data["augment"].default == "null"  # as the command line takes it
    batfd = {option.name: option for option in class_options(BATFD)}
    assert (batfd["map_widths"].default, batfd["checkpointed"].default) == ("[512, 128]", "false")


def test_front_ends_have_their_own_options():
    """Those that their network sets are left out."""
    speech = {option.name for option in class_options(SpeechFrontEnd)}
    assert {"weights", "settings", "tuning", "top_layers", "rank", "checkpointing"} <= speech
    assert not speech & {"width", "layers", "dropout", "rows_per_step"}
    page = as_page()
    for name, (_, cls, modality) in FRONT_ENDS.items():
        assert f"## `--model.model.{modality}_front_end_options.*` of `{cls}` ({modality}_front_end {name})\n" in page
    assert "SpectrogramFrontEnd (audio_front_end spectrogram): " in as_text()


def test_the_text_names_the_options_as_they_are_written():
    text = as_text()
    assert "\n  --data.batch_size\n        clips per batch (default: 16)\n" in text
    assert "--model.model.width" in text

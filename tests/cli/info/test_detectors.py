from __future__ import annotations

import pytest

from avloc.cli.info.detectors import DETECTORS, detect
from avloc.errors import AvlocError


@pytest.mark.parametrize(("name", "content", "state"), [("notes.md", "# x", "is nothing"), ("a.json", "", "is empty")])
def test_what_avloc_does_not_know_is_one_line_with_all_that_it_knows(write, name, content, state):
    with pytest.raises(AvlocError, match=rf"{name}: {state}.*; want a training run, .* or scores of clips") as error:
        detect(write(name, content))
    assert all(detector.noun in str(error.value) for detector in DETECTORS.values())


def test_an_empty_folder_is_nothing(tmp_path):
    with pytest.raises(AvlocError, match="is nothing that avloc knows"):
        detect(tmp_path)

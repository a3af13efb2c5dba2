from __future__ import annotations

import hashlib

import pytest

from avloc.datasets import examples_folder
from avloc.errors import AvlocError


@pytest.mark.parametrize(
    ("name", "title", "visual", "audio"),
    [
        ("both-1.mp4", "clip", "192 × 192 pixels, 25 frames/s", "16,000 Hz, 1 channel"),
        ("visual-picture-alone.mp4", "clip without sound", "192 × 192 pixels, 25 frames/s", "none"),
        ("audio-sound-alone.mp4", "sound file", "none", "16,000 Hz, 1 channel"),
    ],
)
def test_a_clip(describe, name, title, visual, audio):
    path = examples_folder() / name
    description, facts = describe(path, "clip")
    assert (description.title, facts["Visual"], facts["Audio"]) == (title, visual, audio)
    assert facts["SHA-256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert description.values["bytes"] == path.stat().st_size
    assert facts["Length"] == f"{description.values['seconds']:.2f} s"


def test_a_file_that_only_has_the_name_of_a_clip(describe, write):
    with pytest.raises(AvlocError, match=r"a\.mp4: cannot be opened as media"):
        describe(write("a.mp4", "no media"), "clip")

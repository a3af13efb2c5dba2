from __future__ import annotations

import json

import pytest
from matplotlib.figure import Figure
from PIL import Image

from avloc.core.provenance import Provenance
from avloc.errors import AvlocError
from avloc.io.figures import PNG_KEY, save_png


def test_letters_without_a_glyph_give_no_warning(tmp_path):
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, "clip 夏 𓀀.mp4")
    save_png(figure, tmp_path / "new" / "a.png", dpi=50)  # pytest turns warnings into errors
    content = (tmp_path / "new" / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") == 100  # pixels


def test_a_folder_is_not_overwritten(tmp_path):
    with pytest.raises(AvlocError, match="is a folder"):
        save_png(Figure(), tmp_path, dpi=50)


def test_the_provenance_is_a_text_of_the_file(tmp_path):
    record = Provenance("0.1.0", "2026-11-26T09:30:00Z", "avloc localize '夏 \udcff.mp4'")
    save_png(Figure(), tmp_path / "a.png", dpi=50, provenance=record)
    save_png(Figure(), tmp_path / "b.png", dpi=50)
    with Image.open(tmp_path / "a.png") as first, Image.open(tmp_path / "b.png") as second:
        assert Provenance.from_dict(json.loads(first.text[PNG_KEY])) == record
        assert PNG_KEY not in second.text

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from avloc.errors import AvlocError
from avloc.io.figures import save_png


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

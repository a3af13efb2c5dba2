"""matplotlib figures > png files."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_png(figure: Figure, path: str | Path, *, dpi: int) -> None:
    """Write a figure as png, atomically.

    File names in a figure may hold any letter. Letters that the font lacks become boxes, without matplotlib's warnings.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, dpi=dpi, format="png")
    with replacing(path, buffer.tell()) as temporary:
        temporary.write_bytes(buffer.getbuffer())

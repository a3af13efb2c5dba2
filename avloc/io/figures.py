"""matplotlib figures > png files."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avloc.core.provenance import Provenance

PNG_KEY = "avloc.provenance"
"""The keyword of a png's text chunk that holds its provenance."""


def save_png(figure: Figure, path: str | Path, *, dpi: int, provenance: Provenance | None = None) -> None:
    """Write a figure as png, atomically.

    File names in a figure may hold any letter. Letters that the font lacks become boxes, without matplotlib's warnings.

    Args:
        figure: the figure.
        path: the file.
        dpi: dots per inch.
        provenance: the record of what made it: the file gets it as a text chunk `PNG_KEY`, in JSON.
    """
    metadata = {} if provenance is None else {PNG_KEY: json.dumps(provenance.to_dict())}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, dpi=dpi, format="png", metadata=metadata)
    with replacing(path, buffer.tell()) as temporary:
        temporary.write_bytes(buffer.getbuffer())

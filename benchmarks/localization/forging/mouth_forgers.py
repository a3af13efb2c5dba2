"""All methods that forge mouths, by name > functions as `avloc.datasets.synthetic.generate.Style.repaint`.

Methods whose trained weights are missing are left out, with one line that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from forging.forgers import MOUTH
from forging.mouth_generators import GENERATORS, load_generator

from avloc.errors import AvlocError

Repaint = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.bool_], int, float], None]

WEIGHTS = Path(__file__).parents[1] / "weights"


def load_forgers(log: Callable[[str], object]) -> dict[str, Repaint]:
    """Return the methods by name.

    Args:
        log: called with one line for each method that is left out.
    """
    forgers: dict[str, Repaint] = dict(MOUTH)
    for name in GENERATORS:
        try:
            forgers[name] = load_generator(name, WEIGHTS)
        except AvlocError as error:
            log(f"forger {name} is left out: {error}")
    return forgers

"""All methods that forge mouths, by name > functions as `avloc.datasets.synthetic.generate.Style.repaint`.

Methods whose trained weights are missing are left out, with one line that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from forgers import MOUTH

from avloc.errors import AvlocError

Repaint = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.bool_], int, float], None]

WEIGHTS = Path(__file__).parent / "weights"


def load_forgers(log: Callable[[str], object]) -> dict[str, Repaint]:
    """Return the methods by name.

    Args:
        log: called with one line for each method that is left out.
    """
    forgers: dict[str, Repaint] = dict(MOUTH)
    if find_spec("mouth_generators") is None:
        log("the neural mouth generators are left out: no module mouth_generators")
        return forgers
    generators = import_module("mouth_generators")
    for name in generators.GENERATORS:
        try:
            forgers[name] = generators.load_generator(name, WEIGHTS)
        except AvlocError as error:
            log(f"forger {name} is left out: {error}")
    return forgers

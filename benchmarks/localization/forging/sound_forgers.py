"""All methods that forge a word's sound, by name > functions samples (N,) → samples (N,) at 16 kHz of the same level.

Methods that need a package or trained weights are left out where these are missing, with one line that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from forging.codec_forgers import Codec2, opus
from forging.forgers import SOUND
from forging.vocoders import load_vocoder
from forging.word_forgers import flite_bank, kokoro_bank

from avloc.datasets.synthetic.vocoder import VocoderForger, bundled_forger
from avloc.errors import AvlocError

Samples = npt.NDArray[np.float32]
Forger = Callable[[Samples], Samples]

WEIGHTS = Path(__file__).parents[1] / "weights"


def load_forgers(cache: Path, log: Callable[[str], object]) -> dict[str, Forger]:
    """Fetch the methods' packages and spoken words, and return the methods by name.

    Args:
        cache: folder for packages and spoken words, outside of the repository.
        log: called with one line for each method that is left out.
    """
    cache.mkdir(parents=True, exist_ok=True)
    builders: dict[str, Callable[[], Forger]] = {
        "codec2": lambda: Codec2.fetch(cache / "programs"),
        "flite": lambda: flite_bank(cache),
        "kokoro": lambda: kokoro_bank(cache),
        "spectral-vocoder": bundled_forger,
        "transposed-vocoder": lambda: VocoderForger(load_vocoder("transposed", WEIGHTS)),
    }
    forgers: dict[str, Forger] = {**SOUND, "opus": opus}
    for name, build in builders.items():
        try:
            forgers[name] = build()
        except AvlocError as error:
            log(f"forger {name} is left out: {error}")
    return forgers

"""The beginning of Whisper Base's encoder > the file of weights in the package, its matrices in four bits.

    python benchmarks/localization/package_whisper.py --cache /data/loc/cache

The weights are those of `whisper_weights.py`, downloaded once to the cache. The file comes out the same every time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import whisper_weights
from safetensors.numpy import load_file

from avloc.io.files import replacing
from avloc.models.whisper import four_bits, network

PREFIX = "encoder."


def write_weights(folder: Path, file: Path) -> None:
    """Write the file.

    Args:
        folder: weights as transformers saves them.
        file: to write.
    """
    arrays = load_file(folder / "model.safetensors")
    names = network.EarlyLayers().state_dict()
    weights = {name: arrays[f"{PREFIX}{name}"] for name in names}
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **four_bits.pack(weights))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder of the downloaded weights")
    default = network.WEIGHTS
    parser.add_argument("--file", type=Path, default=default, help="to write (default: that of the package)")
    options = parser.parse_args(arguments)
    write_weights(whisper_weights.fetch(options.cache / "whisper-base"), options.file)
    print(options.file)


if __name__ == "__main__":
    main()

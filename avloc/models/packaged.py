"""The networks of the package: name > checkpoint and description. `benchmarks/localization/train_packaged.py` writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from avloc.core.descriptions import NetworkDescription
from avloc.core.provenance import CheckpointIdentity
from avloc.errors import AvlocError, CheckpointError
from avloc.io.files import read_json
from avloc.io.provenance import identify_file

Streams = Literal["both", "audio", "visual"]
"""The streams that a network judges together."""
STREAMS: tuple[Streams, ...] = get_args(Streams)
SCOPES: Mapping[Streams, str] = {
    "both": "{faces}, recorded speech of {speakers} speakers, and the forging methods of the model card",
    "audio": "recorded speech of {speakers} speakers and the forging methods of the model card",
    "visual": "{faces} and the forging methods of the model card",
}
"""The material that the networks were trained on: none was forged by other means than these methods."""
FOLDER = Path(__file__).parent / "pretrained"
FACTS = "networks.json"
"""The networks' descriptions, readable without torch, and the figures of the model card."""


def packaged_checkpoint(streams: str = "both") -> Path:
    """Return the checkpoint of the package that judges these streams.

    Raises:
        AvlocError: if no such network exists.

    >>> packaged_checkpoint("audio").name
    'audio.ckpt'
    """
    return FOLDER / f"{check_streams(streams)}.ckpt"


def packaged_description(streams: str = "both") -> NetworkDescription:
    """Return the description of the network that judges these streams; it equals the one in its checkpoint.

    Raises:
        AvlocError: if no such network exists.
    """
    return _descriptions()[check_streams(streams)]


def scope_text(streams: str, speakers: int, faces: int = 0) -> str:
    """Describe the material of a training, for the network's description and for all that is said of it.

    Args:
        streams: the network.
        speakers: number of speakers that are heard in training.
        faces: number of real faces that are seen in training, beside drawn ones.

    >>> scope_text("audio", 3)
    'recorded speech of 3 speakers and the forging methods of the model card'
    """
    pictures = f"drawn faces, {faces} real ones" if faces else "drawn faces"
    return SCOPES[check_streams(streams)].format(speakers=speakers, faces=pictures)


def check_streams(streams: str) -> Streams:
    """Return the name of a network of the package.

    Raises:
        AvlocError: if no such network exists.
    """
    if streams not in STREAMS:
        raise AvlocError(f"want a network of the package, {', '.join(STREAMS)}, got {streams!r}")
    return streams


def identify_checkpoint(
    path: str | Path,
    network: NetworkDescription | None,
    *,
    sha256: str | None = None,
    pulse: Callable[[], object] = lambda: None,
) -> CheckpointIdentity:
    """Hash a checkpoint, and return its identity; one of the package is named without its folder.

    Args:
        path: the checkpoint.
        network: the network that it holds.
        sha256: the hash of the file, if it is known: the file is not read.
        pulse: called with each block that is read.

    >>> identify_checkpoint(packaged_checkpoint("audio"), packaged_description("audio")).file.file
    'audio.ckpt'
    """
    file = identify_file(path, sha256=sha256, pulse=pulse)
    identity = CheckpointIdentity.of_network(file, network)
    return identity.without_folder() if Path(path).parent == FOLDER else identity


@cache
def _descriptions() -> dict[str, NetworkDescription]:
    path = FOLDER / FACTS
    networks = read_json(path, "list of the package's networks")["networks"]
    try:
        return {streams: NetworkDescription.from_dict(networks[streams]["description"]) for streams in STREAMS}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not the list that the package needs ({error}); install avloc again") from error

"""Clips > descriptions."""

from __future__ import annotations

from avloc.cli.info.description import Description, quoted
from avloc.cli.info.peek import Peek
from avloc.errors import counted


def is_clip(peek: Peek) -> bool:
    """Tell whether a file has the name of a clip."""
    from avloc.datasets.readers.tabular import SUFFIXES

    return peek.suffix in SUFFIXES and peek.path.is_file()


def describe_clip(peek: Peek) -> Description:
    """Describe a clip by its header.

    Raises:
        MediaError: if it cannot be opened.
    """
    from avloc.feature_extraction.media.probe import probe
    from avloc.feature_extraction.media.types import WHOLE
    from avloc.io.files import format_bytes
    from avloc.io.provenance import identify_file

    info = probe(peek.path)
    seconds = info.seconds_in(WHOLE)
    picture = sound = ""
    if info.width is not None and info.height is not None:
        picture = f"{info.width} × {info.height} pixels" + (f", {info.fps:g} frames/s" if info.fps else "")
    if info.sample_rate is not None:
        sound = f"{info.sample_rate:,} Hz, {counted(info.channels or 0, 'channel')}"
        sound += f", the default of {info.audio_tracks} tracks" if info.audio_tracks > 1 else ""
    identity = identify_file(peek.path)
    facts = [
        ("Length", f"{seconds:.2f} s" if seconds else "unknown"),
        ("Visual", picture or "none"),
        ("Audio", sound or "none"),
        *(("Problem", problem) for problem in info.problems),
        ("Size", format_bytes(identity.size_bytes)),
        ("SHA-256", identity.sha256),
    ]
    values = {
        "seconds": seconds or None,
        "fps": info.fps,
        "frames": info.frames,
        "width": info.width,
        "height": info.height,
        "sample_rate": info.sample_rate,
        "channels": info.channels,
        "audio_tracks": info.audio_tracks,
        "problems": list(info.problems),
        "bytes": identity.size_bytes,
        "sha256": identity.sha256,
    }
    kinds = {(True, True): "clip", (True, False): "clip without sound", (False, True): "sound file"}
    title = kinds.get((bool(picture), bool(sound)), "clip")
    return Description(title, facts, values, [f"avloc localize {quoted(peek.path)} --out timelines"])

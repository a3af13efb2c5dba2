"""The limits of a clip: its length and the size of its picture, as the header claims them and as they are decoded.

A few kilobytes can claim a thousand hours, or a picture of gigabytes. Such a clip fails alone, before memory or time is spent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avloc.errors import MediaError
from avloc.feature_extraction.media.types import WHOLE, MediaInfo, Span

MOST_PIXELS = 8192 * 8192
"""The largest picture that is decoded, in pixels: 8K, also of a sphere."""


def check_length(path: str | Path, seconds: float, longest_s: float) -> None:
    """Check the length of a clip, or of the part of it that is decoded.

    Args:
        path: the file.
        seconds: the length.
        longest_s: the limit.

    Raises:
        MediaError: if it is longer.
    """
    if seconds > longest_s:
        raise MediaError(
            f"{path}: {format_length(seconds)} long, want at most {format_length(longest_s)}; raise the limit with --longest, "
            "or cut the clip into parts"
        )


def check_picture(path: str | Path, width: int, height: int) -> None:
    """Check the size of a picture.

    Raises:
        MediaError: if it has more than `MOST_PIXELS`.
    """
    if width * height > MOST_PIXELS:
        raise MediaError(
            f"{path}: its picture claims {width} × {height} pixels, want at most {MOST_PIXELS / 1e6:.0f} million; scale it down"
        )


def check_claims(info: MediaInfo, span: Span = WHOLE) -> None:
    """Check the length and the picture that a file's header claims.

    Args:
        info: the header.
        span: the part of the file that counts, and the limit of its length.

    Raises:
        MediaError: if one is above its limit.
    """
    check_length(info.path, info.seconds_in(span), span.longest_s)
    check_picture(info.path, info.width or 0, info.height or 0)


def bound_decoder(stream: Any) -> None:
    """Let the decoder of PyAV's video stream refuse pictures of more than `MOST_PIXELS`, before it takes memory for them."""
    stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(MOST_PIXELS)}


def format_length(seconds: float) -> str:
    """Format a length for people.

    >>> format_length(90), format_length(5400), format_length(6 * 3600), format_length(3.6e6)
    ('90 s', '1.5 hours', '6 hours', '1000 hours')
    """
    return f"{seconds:.4g} s" if seconds < 3600 else f"{round(seconds / 3600, 2):g} hours"

"""A name that does not exist > the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SMALLEST_LIKENESS = 0.6
"""Of two names, as `difflib.SequenceMatcher.ratio` measures it: 1 for equal ones."""


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the known name that is most like a name; None if none is.

    Case, dashes, underscores and other signs do not count, and the beginning of exactly one known name is that name.

    >>> closest("lav-df", ["lavdf", "folder"]), closest("extr", ["extract", "evaluate"]), closest("x", ["folder"])
    ('lavdf', 'extract', None)
    """
    candidate_by_key: dict[str, str] = {}
    for each in candidates:
        candidate_by_key.setdefault(_key(each), each)
    key = _key(name)
    if not key:
        return None
    if key in candidate_by_key:
        return candidate_by_key[key]
    longer = [each for each in candidate_by_key if each.startswith(key)]
    if len(key) > 1 and len(longer) == 1:
        return candidate_by_key[longer[0]]
    alike = difflib.get_close_matches(key, candidate_by_key, n=1, cutoff=SMALLEST_LIKENESS)
    return candidate_by_key[alike[0]] if alike else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return a hint for an error message, with a leading space; empty if no known name is like the name.

    >>> did_you_mean("lavfd", ["lavdf", "folder"]), did_you_mean("x", ["folder"])
    (' (did you mean lavdf?)', '')
    """
    match = closest(name, candidates)
    return "" if match is None else f" (did you mean {match}?)"


def _key(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum() or c == "+")

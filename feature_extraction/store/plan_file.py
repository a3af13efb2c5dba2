"""Plan files: the shards that a list of clips becomes, one `plan-….json` per list beside the shards of an extractor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from avloc.errors import StoreError
from avloc.io.files import read_json, write_json


class PlanFile(NamedTuple):
    """The shards that a list of clips becomes (see `layout`). It reveals which shards are missing.

    Attributes:
        shards: the names of their files.
        digest: a hash of the list; empty if unknown.
        size: clips per shard; 0 if unknown.
        skip: (a, b) pairs: the clips from a up to b of the list are in shards of other lists.
    """

    shards: list[str]
    digest: str = ""
    size: int = 0
    skip: Sequence[tuple[int, int]] = ()


def read_plan(path: Path) -> PlanFile:
    """Read a plan.

    Raises:
        StoreError: if the file is not a plan.
    """
    document = read_json(path, "plan", StoreError)
    try:
        plan = PlanFile(
            document["shards"],
            str(document.get("list", "")),
            int(document.get("clips_per_shard", 0)),
            document.get("skip", []),
        )
        is_valid = isinstance(plan.shards, list) and all(isinstance(name, str) for name in plan.shards)
        is_valid = is_valid and all(0 <= int(begin) < int(end) for begin, end in plan.skip)
    except (TypeError, KeyError, ValueError, AttributeError):
        is_valid = False
    if not is_valid:
        raise StoreError(f"{path}: not a plan; remove it and run the same extraction again")
    return plan


def plan_digest(plan: PlanFile) -> str:
    """The hash of the plan's list of clips; without one, a hash of the shards' names."""
    return plan.digest or hashlib.sha256("\n".join(plan.shards).encode()).hexdigest()


def write_plan(path: Path, plan: PlanFile) -> None:
    """Write a plan as JSON."""
    write_json(
        path,
        {
            "shards": plan.shards,
            "list": plan_digest(plan),
            "clips_per_shard": plan.size,
            "skip": [list(pair) for pair in plan.skip],
        },
    )

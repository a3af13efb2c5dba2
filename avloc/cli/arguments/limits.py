"""Options that bound the work: processes, the longest clip, the longest silence."""

from __future__ import annotations

import argparse

from avloc.cli.arguments.values import duration


def default_workers() -> int:
    """One worker per core that this process may use."""
    from avloc.io.workers.processes import available_cores

    return available_cores()


def add_longest_option(options: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--longest`, the limit of a clip's length."""
    options.add_argument(
        "--longest",
        type=duration,
        default="6h",
        metavar="T",
        help="refuse clips that are longer, or claim to be, as 90m, 1:30:00 or 45 (seconds) (default: 6h)",
    )


def add_timeout_option(options: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--timeout`, the longest silence of a process that works on a clip."""
    options.add_argument(
        "--timeout",
        type=duration,
        default="5m",
        metavar="T",
        help="give up on a clip after this time without progress, as 5m, 1:30 or 45 (seconds) (default: 5m)",
    )

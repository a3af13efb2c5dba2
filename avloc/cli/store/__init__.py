"""`avloc store`: list and verify the features of a store, export and import files, merge stores; a file per action."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from avloc.cli.arguments.parser import add_action, parser
from avloc.cli.store import ls, merge, npy_export, npy_import, verify
from avloc.cli.store.ls import LsOptions
from avloc.cli.store.merge import MergeOptions
from avloc.cli.store.npy_export import ExportOptions
from avloc.cli.store.npy_import import ImportFolderOptions
from avloc.cli.store.verify import VerifyOptions

StoreOptions = LsOptions | VerifyOptions | ExportOptions | ImportFolderOptions | MergeOptions


class Action(NamedTuple):
    """An action of the verb.

    Attributes:
        module: the file with its options, an example, and its work.
        options: the class of its options.
        description: for the help.
    """

    module: Any
    options: type
    description: str


ACTIONS = {
    "ls": Action(ls, LsOptions, "list the features of each extractor; exit code 1 if a shard cannot be read"),
    "verify": Action(verify, VerifyOptions, "check every shard, with a remedy for each fault; exit code 1 on faults"),
    "export": Action(
        npy_export, ExportOptions, "write a folder with a .npy, .npz, .pt or .h5 file per clip, for other code"
    ),
    "import": Action(
        npy_import, ImportFolderOptions, "import such a folder into a store; exit code 1 if a clip failed"
    ),
    "merge": Action(merge, MergeOptions, "merge several stores into one"),
}


def run(arguments: Sequence[str]) -> int:
    """Run the verb."""
    options = parse(arguments)
    work: Callable[[StoreOptions], int] = next(
        action.module.run for action in ACTIONS.values() if isinstance(options, action.options)
    )
    return work(options)


def parse(arguments: Sequence[str]) -> StoreOptions:
    """Parse the verb's arguments; the class of the options is that of the action."""
    options = parser("store", "\n".join(action.module.EXAMPLE for action in ACTIONS.values()))
    actions = options.add_subparsers(
        dest="action", required=True, metavar="|".join(ACTIONS), parser_class=type(options)
    )
    for name, action in ACTIONS.items():
        action_parser = add_action(actions, name, action.description, action.module.EXAMPLE)
        action.module.add_options(action_parser)
        action_parser.set_defaults(read=action.module.read_options)
    namespace = options.parse_args(arguments)
    read_options: Callable[[argparse.Namespace], StoreOptions] = namespace.read
    return read_options(namespace)

"""The parsers of the verbs > a script that completes their words in bash and zsh."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence

from avloc.cli.arguments.parser import parser_of
from avloc.cli.catalog import VERBS
from avloc.errors import AvlocError

SHELLS = ("bash", "zsh")
TRAIN_OPTIONS = ("--config", "--network", "--init", "--resume", "--overwrite", "--help", "--help-all")
SHARED_OPTIONS = ("--quiet", "--verbose")
SCRIPT = """# Completion of avloc; `avloc --completion {shell}` printed it.
{prepare}_avloc() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
    local place="${{COMP_WORDS[1]}}" words=""
    case "$place" in
        {with_actions}) [ "$COMP_CWORD" -gt 2 ] && place="$place ${{COMP_WORDS[2]}}" ;;
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={verbs}
    else
        case "$place $previous" in
{values}
            *)
                case "$current" in
                    -*) case "$place" in
{options}
                    esac ;;
                    *) case "$place" in
{actions}
                    esac ;;
                esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o bashdefault -o default -F _avloc avloc
"""


def completion_script(shell: str) -> str:
    """Return the script for a shell; without a match, the shell completes paths.

    Raises:
        AvlocError: if the shell is none of `SHELLS`.
    """
    if shell not in SHELLS:
        raise AvlocError(f"--completion: want one of {', '.join(SHELLS)}, got {shell!r}")
    options: dict[str, list[str]] = {"train": [*TRAIN_OPTIONS, *SHARED_OPTIONS]}
    values: dict[str, Sequence[str]] = {"train --config": _configs()}
    actions: dict[str, Sequence[str]] = {}
    for place, parser in _parsers():
        options[place] = [*(name for action in parser._actions for name in action.option_strings), *SHARED_OPTIONS]
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                actions[place] = list(action.choices)
                continue
            for name in action.option_strings:
                if choices := _choices(name, action):
                    values[f"{place} {name}"] = choices
    return SCRIPT.format(
        shell=shell,
        prepare="autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "",
        with_actions="|".join(actions),
        verbs=shlex.quote(" ".join([*VERBS, "--help", "--version"])),
        values=_cases(values, 12),
        options=_cases(options, 24),
        actions=_cases(actions, 24),
    )


def _parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the parser of each verb and action, with its words."""
    for verb in VERBS:
        parser = parser_of(verb)
        if parser is None:
            continue
        yield verb, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{verb} {name}", inner) for name, inner in action.choices.items())


def _choices(name: str, action: argparse.Action) -> Sequence[str]:
    """Return the words that an option takes; empty if it takes any."""
    from avloc.datasets.readers.catalog import DATASETS
    from avloc.evaluation.protocols import PROTOCOLS

    names = {"--dataset": list(DATASETS), "--protocol": list(PROTOCOLS)}
    return names.get(name, [str(choice) for choice in action.choices or ()])


def _configs() -> Sequence[str]:
    from avloc.cli.train import packaged_configs

    return sorted(packaged_configs())


def _cases(words_by_pattern: dict[str, list[str]] | dict[str, Sequence[str]], indent: int) -> str:
    """Format the branches of a shell's `case`."""
    return "\n".join(
        f"{' ' * indent}{shlex.quote(pattern)}) words={shlex.quote(' '.join(words))} ;;"
        for pattern, words in words_by_pattern.items()
    )

"""Systems, seeds and budgets of a comparison > their settings, chosen on validation > runs: all, finished, missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from comparing.experiment import Task, read_choices
from comparing.features import extractors_of
from comparing.front_end_systems import FRONT_ENDS, JOINT_FRONT_ENDS, VISUAL_FRONT_ENDS
from comparing.main_systems import ABLATION, DECODING_TRIALS, MAIN, RANGE_TRIALS, REFERENCES, TRIALS
from comparing.pretrained_systems import PRETRAINED
from comparing.system import OURS
from comparing.systems import HELD_BACK, SYSTEMS
from scoring.choices import Choice

from avloc.errors import AvlocError

SYSTEM_GROUPS: dict[str, Sequence[str]] = {
    "main": [*MAIN, *REFERENCES],
    "ablation": [OURS, f"{OURS}_ranges", *ABLATION, *JOINT_FRONT_ENDS],
    "trials": [*MAIN, *TRIALS, *RANGE_TRIALS, *DECODING_TRIALS],
    "front_ends": [*FRONT_ENDS],
    "visual_front_ends": [*VISUAL_FRONT_ENDS],
    "pretrained": ["version_0_1", *DECODING_TRIALS, "audio_alone", *PRETRAINED],
    "held_back": [*HELD_BACK],
    "all": [*SYSTEMS],
}
# Attention over all cells of its map: more than five minutes even in the quick form.
NOT_QUICK = ("batfd_plus", "batfd_plus_slow")
SETTING_GROUPS = tuple(group for group in SYSTEM_GROUPS if group != "main")
"""Their names are settings, among which nothing is chosen."""
MOST_LISTED = 12  # names in a message


def parse_names(text: str, groups: dict[str, Sequence[str]], what: str) -> tuple[str, ...]:
    """Return names from a group's name, or from a list with commas.

    Args:
        text: of the command line.
        groups: names by group; the group `all` has every name that exists.
        what: the names, in a message.

    Raises:
        AvlocError: if a name is unknown.
    """
    names = groups.get(text) or text.split(",")
    unknown = [name for name in names if name not in groups["all"]]
    if unknown:
        near = [match for name in unknown for match in get_close_matches(name, groups["all"], 3)]
        names_to_give = [*groups, *(groups["all"] if len(groups["all"]) <= MOST_LISTED else dict.fromkeys(near))]
        raise AvlocError(
            f"unknown {what} {', '.join(unknown)}; want {', '.join(names_to_give)}, or other names with commas"
        )
    return tuple(names)


def select_choices(names: Sequence[str], group: str, folder: Path) -> dict[str, Choice]:
    """Read the choices of a benchmark for the systems of a group.

    Args:
        names: names of systems.
        group: name of their group; a list of settings has no choices.
        folder: folder of the corpus and its runs.
    """
    choices = {} if group in SETTING_GROUPS else read_choices(folder)
    return {name: choices[name] for name in names if name in choices}


def apply_choices(names: Sequence[str], choices: Mapping[str, Choice]) -> dict[str, str]:
    """Return the setting of each system: the chosen one, or the system itself."""
    return {name: choices[name].chosen if name in choices else name for name in names}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of the command line.

    Attributes:
        out: folder for everything.
        systems: names of systems.
        group: name of their group; `selected` for a list of names.
        seeds: seeds of the trainings.
        budgets: names of budgets.
        jobs: runs at a time, each with its share of the cores.
        cores: cores for all.
        device: `cpu` or `gpu`.
        quick: a small set.
        final: predict the test split.
        allow_dirty: also with uncommitted changes; the ledger says so.
        shift_ms: also predict media that come later by this many milliseconds.
        tables: only draw the tables.
        resamples: draws of each bootstrap.
        page: a page of the documentation whose places get the tables.
        kept: folder of kept results.
    """

    out: Path
    systems: tuple[str, ...]
    group: str
    seeds: tuple[int, ...]
    budgets: tuple[str, ...]
    jobs: int
    cores: int
    device: str
    quick: bool
    final: bool
    allow_dirty: bool
    shift_ms: float
    tables: bool
    resamples: int
    page: Path | None
    kept: Path | None

    @property
    def folder(self) -> Path:
        """The folder of this corpus."""
        return self.out / "quick" if self.quick else self.out

    def choices(self) -> dict[str, Choice]:
        """The trials of each system whose setting is chosen among them; none in a group of settings."""
        return select_choices(self.systems, self.group, self.folder)

    def settings(self) -> dict[str, str]:
        """The setting of each system: the chosen one, or the system itself."""
        return apply_choices(self.systems, self.choices())

    def extractors(self) -> tuple[str, ...]:
        """The features of the systems."""
        return extractors_of(self.settings().values())

    def tasks(self) -> list[Task]:
        """All runs, seed by seed, so that an interrupted benchmark has whole seeds."""
        threads, settings = max(1, self.cores // self.jobs), dict.fromkeys(self.settings().values())
        return [
            Task(name, seed, budget, self.folder, self.device, threads)
            for budget in self.budgets
            for seed in self.seeds
            for name in settings
        ]


def finished(options: RunOptions, settings: Mapping[str, str], budget: str) -> dict[str, list[Task]]:
    """List the finished runs of systems in one budget, with any of the seeds.

    Args:
        options: of the command line.
        settings: by name of the system, that of its setting.
        budget: name of the budget.
    """
    tasks = {
        name: [t for seed in options.seeds if (t := Task(setting, seed, budget, options.folder)).result_file.is_file()]
        for name, setting in settings.items()
    }
    return {name: done for name, done in tasks.items() if done}


def describe_missing(options: RunOptions, budget: str, split: str = "", shift_s: float = 0.0) -> str:
    """Name the systems and seeds that are not trained, or have no predictions of a split; empty if all have.

    Args:
        options: of the command line.
        budget: name of the budget.
        split: of the predictions; empty: only the training counts.
        shift_s: shift of the media; a comparison needs the predictions without it, too.
    """
    settings = dict.fromkeys(options.settings().values())
    tasks = [Task(setting, seed, budget, options.folder) for setting in settings for seed in options.seeds]
    untrained = [task for task in tasks if not task.result_file.is_file()]
    trained = [task for task in tasks if task.result_file.is_file()] if split else []
    unpredicted = [
        task for task in trained if not all(task.predictions_file(split, each).is_file() for each in (0.0, shift_s))
    ]
    shift = f" with and without a shift of {1000 * shift_s:g} ms" if shift_s else ""
    return describe_tasks({"not trained": untrained, f"no predictions of {split}{shift}": unpredicted})


def describe_tasks(missing: Mapping[str, Sequence[Task]]) -> str:
    """Name the systems and seeds of missing runs.

    Args:
        missing: runs by the reason.

    >>> describe_tasks({"not trained": [Task("tridet", seed, "short", Path("x")) for seed in (0, 2)], "not tested": []})
    'Missing: tridet seeds 0, 2 (not trained).'
    """
    parts = []
    for reason, tasks in missing.items():
        for system in dict.fromkeys(task.system for task in tasks):
            seeds = [str(task.seed) for task in tasks if task.system == system]
            parts.append(f"{system} seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)} ({reason})")
    return f"Missing: {'; '.join(parts)}." if parts else ""

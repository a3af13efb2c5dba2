"""Validation AP of the trials of each system > the setting of the system that the comparison trains, tests and shows.

The trials (`systems.TRIALS_OF`) are trained with the short budget, at first with one seed. Further seeds make their AP surer: a
choice rests on the mean over the seeds that are validated so far, and counts for all seeds and budgets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from comparing.main_systems import TRIALS_OF
from comparing.systems import SYSTEMS
from scoring.tables import Cell, Table, percent

SEEDS = (0, 1, 2)
"""Of all trainings."""
TRIAL_SEED, TRIAL_BUDGET = SEEDS[0], "short"


class Choice(NamedTuple):
    """The trials of a system.

    Attributes:
        system: a name of `systems.MAIN`.
        trials: by name of the setting, the validation AP in [0, 1], a mean over seeds; None for one that was not validated.
    """

    system: str
    trials: Mapping[str, float | None]

    @property
    def missing(self) -> list[str]:
        """The trials that were not validated."""
        return [name for name, ap in self.trials.items() if ap is None]

    @property
    def chosen(self) -> str:
        """The trial of the best validation AP, the first of equal ones.

        Nothing replaces a system that was not validated itself.
        """
        if self.system in self.missing:
            return self.system
        validated = {name: ap for name, ap in self.trials.items() if ap is not None}
        return max(validated, key=lambda name: validated[name])

    @property
    def label(self) -> str:
        """The chosen setting and the number of trials, for a row of a table."""
        setting, total = SYSTEMS[self.chosen].setting, len(self.trials)
        if self.missing:
            return f"{setting}, {total - len(self.missing)} of {total} trials"
        return f"{setting}, best of {total} trials"

    def sentence(self) -> str:
        """Describe the trials and the choice in one line, missing trials included."""
        trials = [f"{name} {'not trained' if ap is None else percent(ap)}" for name, ap in self.trials.items()]
        return f"{self.system}: {self.chosen}, of {len(trials)} trials by validation AP ({', '.join(trials)})"


def choose(validated: Mapping[str, float]) -> dict[str, Choice]:
    """Choose a setting for each system.

    Args:
        validated: validation AP of the finished trials, a mean over their seeds, by name of the setting.
    """
    return {name: Choice(name, {trial: validated.get(trial) for trial in trials}) for name, trials in TRIALS_OF.items()}


def choices_table(choices: Iterable[Choice]) -> Table:
    """Draw the trials of each system, and the chosen one."""
    rows: list[tuple[Cell, list[Cell]]] = []
    missing: list[str] = []
    for choice in choices:
        values = tuple(
            f"{SYSTEMS[name].setting}: {'not trained' if ap is None else percent(ap)}"
            for name, ap in choice.trials.items()
        )
        done = len(choice.trials) - len(choice.missing)
        cells = [(f"{done} of {len(choice.trials)}",), values, (SYSTEMS[choice.chosen].setting,)]
        rows.append(((SYSTEMS[choice.system].title,), cells))
        missing += choice.missing
    notes = [
        f"Validation AP with the {TRIAL_BUDGET} budget, percent, mean over the seeds that are validated so far. The best trial "
        "is the system's setting in all tables of the comparison, for all seeds and budgets."
    ]
    if missing:
        notes.append(f"Missing trials: {', '.join(missing)}.")
    return Table(
        "choices", "Settings chosen on validation", "system", ["trials", "validation AP", "chosen"], rows, notes
    )

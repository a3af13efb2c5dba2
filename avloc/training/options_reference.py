"""Classes of a training run > a reference of their options: for `avloc train --help-all`, and as a page of the documentation.

The page is written by `python -m avloc.training.options_reference > docs/training_options.md`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from docstring_parser import parse

from avloc.datasets.loading.clip_data import ClipData
from avloc.datasets.loading.feature_data import FeatureData
from avloc.models import (
    BATFD,
    BATFDPlus,
    BoundaryTransformer,
    LipFrontEnd,
    ParallelFrontEnd,
    RawFrontEnd,
    SpectrogramFrontEnd,
    SpeechFrontEnd,
    WhisperFrontEnd,
)
from avloc.models.front_ends.catalog import COMMON, FRONT_ENDS
from avloc.models.front_ends.front_end import FrontEnd
from avloc.training.module import LocalizationModule
from avloc.training.option_errors import constructor_parameters

GROUPS: tuple[tuple[str, type], ...] = (
    ("data", FeatureData),
    ("data", ClipData),
    ("model", LocalizationModule),
    ("model.model", BoundaryTransformer),
    ("model.model", BATFD),
    ("model.model", BATFDPlus),
    ("model.model.audio_front_end_options", SpectrogramFrontEnd),
    ("model.model.audio_front_end_options", RawFrontEnd),
    ("model.model.audio_front_end_options", SpeechFrontEnd),
    ("model.model.audio_front_end_options", WhisperFrontEnd),
    ("model.model.audio_front_end_options", ParallelFrontEnd),
    ("model.model.visual_front_end_options", LipFrontEnd),
)
"""The beginning of the options' names, and the class that has them."""
RUN_OPTIONS = {
    "config": "a YAML file, or the name of a configuration that comes with avloc",
    "network": "the class of a network of your own, instead of the configuration's",
    "seed_everything": "seed of weights, order and dropout",
    "init": "start from the weights of this checkpoint, which must fit the network",
    "resume": "resume from this checkpoint",
    "overwrite": "`true`: discard the run that the folder holds",
    "trainer.default_root_dir": "folder of checkpoints, logs and the resolved configuration",
    "trainer.max_epochs": "number of epochs",
    "trainer.accelerator": "`cpu`, `gpu` or `auto`",
    "trainer.precision": "`32`, `bf16-mixed` or `16-mixed`",
    "trainer.gradient_clip_val": "limit of the gradient's norm",
    "trainer.logger": "loggers instead of CSV and TensorBoard",
    "trainer.enable_progress_bar": "`false`: no progress bar",
}
INTRODUCTION = """# Options of a training run

Every value of a configuration can be set on the command line of `avloc train`: `--data.batch_size 8`, `--model.lr 3e-4`,
`--model.model.width 64`. This page is made from the code (`python -m avloc.training.options_reference`); `avloc train
--help-all` prints the same, with every option of Lightning's
[Trainer](https://lightning.ai/docs/pytorch/stable/common/trainer.html) (`--trainer.NAME`).

A YAML file names the classes of data and network by `class_path`, with these options under `init_args`; `avloc train --help`
lists the ones that come with avloc. The options of `--model.model.*` are those of the class that the configuration names;
`--network avloc.models.BATFD` takes another class in its place. "No value" is `null`. A mapping is YAML in quotes,
`--model.model.audio_front_end_options '{n_fft: 1024, phase: false}'`, or a word per entry,
`--model.model.audio_front_end_options.n_fft 1024`.
"""
LOGGERS = """## Loggers

Without `--trainer.logger`, a run writes `logs/version_0/metrics.csv` and TensorBoard's events
(`tensorboard --logdir RUN/tensorboard`). Lightning's other loggers are named by their class; each needs its own package. A
logger of your own replaces both.

| logger | package | option |
|---|---|---|
| CSV | none | `--trainer.logger CSVLogger --trainer.logger.save_dir run` |
| TensorBoard | none | `--trainer.logger TensorBoardLogger --trainer.logger.save_dir run` |
| Weights & Biases | `wandb` | `--trainer.logger WandbLogger --trainer.logger.project forgeries` |
| MLflow | `mlflow` | `--trainer.logger MLFlowLogger --trainer.logger.tracking_uri http://host:5000` |
| none | none | `--trainer.logger false` |
"""


class Option(NamedTuple):
    """An option of a class.

    Attributes:
        name: the parameter.
        default: its default as YAML has it; empty if it is required.
        description: from the class's docstring.
    """

    name: str
    default: str
    description: str


def class_options(option_class: type) -> Iterator[Option]:
    """Yield the options of a class, from its signature and its docstring."""
    texts: dict[str, str] = {}
    for each in reversed(option_class.__mro__):
        if each.__module__.startswith("avloc."):
            params = parse(each.__doc__ or "").params
            texts |= {param.arg_name: " ".join((param.description or "").split()) for param in params}
    for parameter in constructor_parameters(option_class):
        if not (issubclass(option_class, FrontEnd) and parameter.name in COMMON):  # which its network sets
            default = "" if parameter.default is inspect.Parameter.empty else _as_yaml(parameter.default)
            yield Option(parameter.name, default, texts.get(parameter.name, ""))


def _as_yaml(value: object) -> str:
    """Write a default as a configuration and the command line take it."""
    as_list = list(value) if isinstance(value, tuple) else value
    return {"None": "null", "True": "true", "False": "false"}.get(repr(as_list), repr(as_list))


def as_page() -> str:
    """Return the reference as a page in Markdown."""
    parts = [INTRODUCTION, "## The run\n", "| option | meaning |\n|---|---|"]
    parts += [f"| `--{name}` | {text} |" for name, text in RUN_OPTIONS.items()]
    for prefix, option_class in GROUPS:
        parts.append(f"\n## `--{prefix}.*` of `{option_class.__name__}`{_front_end_name(option_class)}\n")
        parts.append(f"{_first_line(option_class)}\n\n| option | default | meaning |\n|---|---|---|")
        parts += [
            f"| `--{prefix}.{each.name}` | {f'`{each.default}`' if each.default else 'required'} | {_cell(each.description)} |"
            for each in class_options(option_class)
        ]
    return "\n".join([*parts, "", LOGGERS])


def as_text() -> str:
    """Return the options of data and networks as text, for the terminal."""
    lines = []
    for prefix, option_class in GROUPS:
        lines.append(f"\n{option_class.__name__}{_front_end_name(option_class)}: {_first_line(option_class)}")
        for each in class_options(option_class):
            default = f" (default: {each.default})" if each.default else " (required)"
            lines.append(f"  --{prefix}.{each.name}\n        {each.description.rstrip('.')}{default}")
    return "\n".join(lines)


def _front_end_name(option_class: type) -> str:
    """Say which front end has a class: ` (audio_front_end spectrogram)`; empty for other classes."""
    named = ((name, modality) for name, (_, cls, modality) in FRONT_ENDS.items() if cls == option_class.__name__)
    return next((f" ({modality}_front_end {name})" for name, modality in named), "")


def _first_line(option_class: type) -> str:
    return parse(option_class.__doc__ or "").short_description or ""


def _cell(text: str) -> str:
    return re.sub(r"\|", r"\\|", text)


if __name__ == "__main__":
    print(as_page(), end="")

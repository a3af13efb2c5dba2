"""`avloc train`: LightningCLI over `LocalizationModule` and the data modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from avloc.cli.arguments.help_texts import wrap_examples, wrap_text
from avloc.core.suggestions import did_you_mean
from avloc.errors import AvlocError, one_line
from avloc.io.imports import make_importable

CONFIGS = Path(__file__).parent.parent / "configs"
USAGE = """usage: avloc train --config CONFIG [--data.root R --data.store S …]
                   [--network my_package.MyNet]
                   [--init CHECKPOINT]
                   [--resume CHECKPOINT | --overwrite true]"""
DESCRIPTION = """\
Train a network on cached features, or on the clips. CONFIG is a YAML file, or the name of one that comes with avloc: {names}.

Everything in it can be overridden on the command line (LightningCLI). `avloc train --help-all` lists every option. --network \
trains a network of your own: a class that the current folder or an installed package has, with its arguments as \
--model.model.NAME VALUE. --init starts from the weights of another run's checkpoint, which must fit.

Checkpoints, logs (CSV, TensorBoard) and the resolved configuration are written under --trainer.default_root_dir. The same \
command again resumes that run; with another configuration it needs --resume CHECKPOINT, --overwrite true or another folder."""
EXAMPLE = """avloc train --config demo --data.root clips --data.store features --trainer.default_root_dir run
  avloc train --config demo --network my_net.MyNet --model.model.audio_dim 513 --model.model.visual_dim 320 \\
              --data.root clips --data.store features --trainer.default_root_dir run"""
# The rooms whose public names a configuration may use, and the paths in it that must exist before training begins.
ROOMS = (
    "avloc.datasets",
    "avloc.models",
    "avloc.training",
    "avloc.feature_extraction",
    "avloc.evaluation",
    "avloc.heads",
)
CHECKED_PATHS = {"root": "folder of the dataset", "store": "feature store"}


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The options of `avloc train`: the words for LightningCLI; none if only the help was asked for."""

    words: tuple[str, ...]
    exit_code: int = 0


def parse(arguments: Sequence[str]) -> TrainOptions:
    """Resolve the names of packaged configurations and `--network`, and run the checks that do not need torch."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return TrainOptions((), 0 if words else 2)
    _check_words(words)
    words = [word for pair in _options(words) for word in _resolved(*pair)]
    if "--help" not in words:
        _check(words)
    return TrainOptions(tuple(words))


def _check_words(words: Sequence[str]) -> None:
    """Raise for a name without its option, and for a run without a configuration."""
    if not words[0].startswith("-"):
        raise AvlocError(f"want options, got {words[0]!r}; a configuration is named by --config {words[0]}")
    names = {word.partition("=")[0] for word in words}
    is_typo = any(did_you_mean(name, ("--config",)) for name in names)  # the parser explains it better
    if names.isdisjoint(("--config", "-c", "--help", "--help-all", "--data", "--model")) and not is_typo:
        raise AvlocError("--config is missing, a YAML file or the name of a configuration, as --config demo")


def run(arguments: Sequence[str]) -> int:
    """Train."""
    options = parse(arguments)
    if not options.words:
        return options.exit_code
    from avloc.training.command import train

    try:
        train(options.words)
    except SystemExit:
        if "--help" not in options.words:
            raise
        from avloc.training.options_reference import as_text

        print(as_text())  # the classes that a configuration names; Lightning's help lacks their options
    return 0


def packaged_configs() -> dict[str, Path]:
    """The configurations that come with avloc, by name."""
    return {str(p.relative_to(CONFIGS).with_suffix("")): p for p in CONFIGS.rglob("*.yaml")}


def _help() -> str:
    description = wrap_text(DESCRIPTION.format(names=", ".join(sorted(packaged_configs()))))
    return f"{USAGE}\n\n{description}\n\nexample:\n{wrap_examples(EXAMPLE)}\n"


def _options(words: Sequence[str]) -> Iterator[tuple[str, str | None, bool]]:
    """Split words into options: name, value (None without one), and whether they were written as `name=value`."""
    k = 0
    while k < len(words):
        name, equals, value = words[k].partition("=")
        if equals:
            yield name, value, True
        elif k + 1 < len(words) and not words[k + 1].startswith("--"):
            yield name, words[k + 1], False
            k += 1
        else:
            yield name, None, False
        k += 1


def _resolved(name: str, value: str | None, joined: bool) -> list[str]:
    if name == "--help-all":
        return ["--help"]
    if name == "--config" and value:
        value = str(config_path(value))
    if name == "--network":
        if not value:
            raise AvlocError("--network: want the class of a network, as my_package.MyNet")
        name, value, joined = "--model.model", _network_path(value), False
    if value is None:
        return [name]
    return [f"{name}={value}"] if joined else [name, value]


def _network_path(network: str) -> str:
    """The dotted path of a network: as given, or of an installed plug-in's or the package's own name."""
    from avloc.models.catalog import network_path

    return network if "." in network else network_path(network)


def config_path(value: str) -> Path:
    """Return the file of a configuration: a path, or the name of one that comes with avloc.

    Raises:
        AvlocError: if there is none; names those that exist.
    """
    path = Path(value).expanduser()
    if path.is_file():
        return path
    names = packaged_configs()
    name = value.removesuffix(".yaml").removeprefix("configs/")
    if name not in names:
        raise AvlocError(
            f"{value}: no such configuration{did_you_mean(name, names)}; want a file, or one that comes with avloc: "
            f"{', '.join(sorted(names))}"
        )
    return names[name]


def _check(words: Sequence[str]) -> None:
    """Check class paths, and that folders and checkpoints exist, before anything heavy is imported.

    Raises:
        AvlocError: naming the first that is wrong.
    """
    paths: dict[str, str] = {}
    for name, value, _ in _options(words):
        if value is None:
            continue
        if name == "--config":
            paths |= _check_config(value)
        elif name in ("--data", "--model.model", "--model"):
            _check_class_path(value, name)
        elif name in ("--resume", "--init") and not Path(value).expanduser().is_file():
            raise AvlocError(f"{value}: no such checkpoint")
        elif name == "--trainer.default_root_dir" and Path(value).expanduser().is_file():
            raise AvlocError(f"{value}: is a file, want the folder of the run; name another --trainer.default_root_dir")
        elif name.startswith("--data."):
            paths[name.rpartition(".")[2]] = value
    _check_paths(paths)


def _check_paths(paths: Mapping[str, str]) -> None:
    """Check that the folders of the data exist; without a store, `avloc.datasets.FeatureData` checks its options."""
    has_no_store = paths.get("store") == "null" or paths.get("from_clips", "").lower() == "true"
    for name, kind in CHECKED_PATHS.items():
        if name in paths and not (name == "store" and has_no_store) and not Path(paths[name]).expanduser().is_dir():
            problem = f"is a file, want the {kind}" if Path(paths[name]).expanduser().exists() else f"no such {kind}"
            raise AvlocError(f"{paths[name]}: {problem} (data.{name})")


def _check_config(file: str) -> dict[str, str]:
    """Check the class paths of a configuration, and return the settings of its data that are text."""
    import yaml

    try:
        config = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AvlocError(f"{file}: not a YAML file ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise AvlocError(f"{file}: want a configuration with model:, data: and trainer:, got {type(config).__name__}")
    for class_path in _class_paths(config):
        _check_class_path(class_path, file)
    data = config.get("data")
    settings = data.get("init_args", data) if isinstance(data, dict) else None
    return {k: v for k, v in (settings or {}).items() if isinstance(v, str)}


def _class_paths(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "class_path" and isinstance(value, str):
                yield value
            yield from _class_paths(value)
    elif isinstance(node, list):
        for value in node:
            yield from _class_paths(value)


def _check_class_path(class_path: str, place: str) -> None:
    """Check a class path of avloc's; one that has moved is an AvlocError that gives the public name.

    A class path of the user's may lie in the current folder, which becomes importable for it.
    """
    module, _, name = class_path.rpartition(".")
    if not module.startswith("avloc"):
        _check_own_class(class_path, place)
        return
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    is_package = spec is not None and spec.submodule_search_locations is not None
    if spec is not None and not (is_package and name not in dir(import_module(module))):
        return
    public = next((f"{room}.{name}" for room in ROOMS if name in dir(import_module(room))), None)
    if public is not None:
        raise AvlocError(f"{place}: class_path {class_path} has moved; want {public}")
    hint = did_you_mean(name, {each for room in ROOMS for each in dir(import_module(room))})
    raise AvlocError(f"{place}: class_path {class_path} does not exist{hint}")


def _check_own_class(class_path: str, place: str) -> None:
    """Raise unless the module of a class of the user's can be found, which may lie in the current folder."""
    make_importable(class_path)
    package = class_path.partition(".")[0]
    if "." in class_path and package not in sys.modules and find_spec(package) is None:
        raise AvlocError(
            f"{place} {class_path}: no module {package} here; want a class of the current folder or of an installed package, as "
            "my_package.MyClass"
        )

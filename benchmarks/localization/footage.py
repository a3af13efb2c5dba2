"""Real talking-head clips > half of them forged by methods that no training met > the scores of a checkpoint on them.

    AVLOC_FOOTAGE=F python benchmarks/localization/footage.py --out D --checkpoint C --corpus /data/loc/clips
    python benchmarks/localization/footage.py --footage F --out D --checkpoint C --validation val.json val_metadata.json
    python benchmarks/localization/footage.py --footage F --out D --predictions P.json --validation …   # of another program
    python benchmarks/localization/footage.py --footage F --out D --benchmark /data/loc      # of the systems that run.py trained

F is a folder of clips with one person each, who speaks into the camera. D gets the forged set (`D/clips`, in AV-Deepfake1M's
layout), and for each system `D/SYSTEM.json` and `D/SYSTEM.md`. The tables of the benchmark's systems lie beside its own. Without
F the script says so and ends. Finished parts are kept.

The threshold of the false alarms is chosen on generated clips: on the predictions and the metadata of `--validation`, or on those
that the checkpoint makes for the validation split of `--corpus`. A look at the footage is noted in `ledger.csv`, once for each
network, version of the code, and set of clips; uncommitted changes are refused unless `--allow-dirty` is given.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import corpus
import numpy as np
import torch
from forging import forgers, mouth_forgers, sound_forgers
from real_footage import pairs
from real_footage.alarms import Rows, Setting, choose_setting, read_setting
from real_footage.clips import find_clips
from real_footage.forging import Methods
from real_footage.pairs import FootageClips
from real_footage.report import document
from real_footage.scores import score_footage
from real_footage.words import WordFinder, finder_name, load_word_finder
from scoring import ledger

import avloc
from avloc.errors import AvlocError
from avloc.evaluation import read_predictions, write_predictions
from avloc.io.files import file_sha256, read_json, write_json, write_text

if TYPE_CHECKING:
    from avloc.inference.localizer import Localizer

NO_FOOTAGE = "real footage is left out: neither --footage nor AVLOC_FOOTAGE names a folder of clips"
METADATA = f"{pairs.SPLIT}_metadata.json"  # of the forged set, and of the corpus's validation split
KEEP = 100  # rows per clip
Key = Mapping[str, str]


class UnseenMethods(NamedTuple):
    """The methods that no training met.

    Attributes:
        methods: those that can be had here.
        missing: a line for each of the others.
    """

    methods: Methods
    missing: list[str]


@cache
def load_unseen(folder: Path) -> UnseenMethods:
    """Load the methods that no training met; packages and spoken words are kept in a folder."""
    lines: list[str] = []
    sounds, mouths = sound_forgers.load_forgers(folder, lines.append), mouth_forgers.load_forgers(lines.append)
    methods = Methods(
        {name: sounds[name] for name in sorted(forgers.UNSEEN_SOUND) if name in sounds},
        {name: mouths[name] for name in sorted(forgers.UNSEEN_MOUTH) if name in mouths},
    )
    missing = sorted((forgers.UNSEEN_SOUND | forgers.UNSEEN_MOUTH) - {*methods.sound, *methods.mouth})
    reasons = {line.split()[1]: line for line in lines}
    return UnseenMethods(methods, [reasons.get(name, f"forger {name} is left out: no such module") for name in missing])


def load_methods(folder: Path) -> Methods:
    """The methods that no training met, as far as they can be had here."""
    return load_unseen(folder).methods


@cache
def load_finder(language: str) -> WordFinder:
    """The function that finds words."""
    return load_word_finder(language)


def keep_result(path: Path, key: Key, compute: Callable[[], Any]) -> Any:
    """Compute a value that JSON can hold, or read the one that an earlier call with the same key has written."""
    if path.is_file():
        content = read_json(path, "kept result")
        if content["key"] == dict(key):
            return content["value"]
    value = compute()
    write_json(path, {"key": dict(key), "value": value})
    return value


def package_sha256() -> str:
    """Compute the checksum of the package's code: another version may give other rows for a checkpoint."""
    walk = os.walk(Path(avloc.__file__).parent, followlinks=True)
    paths = sorted(Path(parent, name) for parent, _, names in walk for name in names if name.endswith(".py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


# Predictions.


def localize_clips(load: Callable[[], Localizer], folder: Path, files: Iterable[str]) -> dict[str, list[list[float]]]:
    """By clip, rows of score, start and end in seconds, audio score and visual score: those of `avloc localize`."""
    rows = {}
    for file in files:
        proposals = load().localize(folder / file, keep=KEEP).proposals
        rows[file] = np.column_stack([proposals.scores, proposals.segments, proposals.modality_scores]).tolist()
    return rows


def predict_footage(load: Callable[[], Localizer], folder: Path, files: Sequence[str], kept: Path, key: Key) -> Rows:
    """By clip, the rows of `localize_clips`; those of a clip of the footage are kept in a file of the folder `kept`."""
    from tqdm import tqdm

    sources = groupby(files, key=lambda file: PurePosixPath(file).parent.as_posix())
    values: dict[str, list[list[float]]] = {}
    for source, group in tqdm([(source, list(group)) for source, group in sources], desc="localize", disable=None):
        values |= keep_result(kept / f"{source}.json", key, partial(localize_clips, load, folder, group))
    return {
        file.partition("/")[2]: np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
        for file, rows in values.items()
    }


def predict_validation(localizer: Localizer, folder: Path) -> Setting:
    """Predict the validation split of a generated set, and choose the threshold there."""
    from real_footage.runs import validation_truth

    from avloc.inference.split.prediction import predict as predict_split

    store = folder.parent / "features"
    rows = predict_split(localizer, "avdeepfake1m", folder, "val", store=store if store.is_dir() else None, keep=KEEP)
    if rows.failures:
        raise AvlocError(f"{folder}: no predictions for {len(rows.failures)} clips: {rows.failures}")
    return choose_setting(rows, validation_truth(folder))


def rows_of_file(path: Path, files: Sequence[str]) -> Rows:
    """The rows of a prediction file, by the names of the clips in the metadata."""
    loaded = read_predictions(path).renamed(files)
    values, offsets = np.column_stack([loaded.rows.scores, loaded.rows.segments]), loaded.rows.offsets
    return {file: values[offsets[k] : offsets[k + 1]] for k, file in enumerate(loaded.files)}


# The script.


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--footage", type=Path, default=os.environ.get("AVLOC_FOOTAGE"), help="folder of real clips")
    parser.add_argument("--out", type=Path, required=True, help="folder of the forged set and the results")
    system = parser.add_mutually_exclusive_group(required=True)
    system.add_argument("--checkpoint", type=Path, help="checkpoint to evaluate")
    system.add_argument("--predictions", type=Path, help="another program's predictions for OUT/clips")
    system.add_argument(
        "--benchmark", type=Path, help="folder of the benchmark (`run.py`) whose trained systems to compare"
    )
    validation = parser.add_mutually_exclusive_group()
    validation.add_argument(
        "--validation", type=Path, nargs=2, metavar=("PREDICTIONS", "METADATA"), help="predictions for generated clips"
    )
    validation.add_argument("--corpus", type=Path, help="generated set of which the checkpoint predicts the split val")
    parser.add_argument("--systems", default="main", help="of the benchmark, as of run.py (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", help="of the benchmark (default: %(default)s)")
    parser.add_argument("--budget", default="short", help="of the benchmark (default: %(default)s)")
    parser.add_argument("--allow-dirty", action="store_true", help="with uncommitted changes; the ledger says so")
    parser.add_argument("--name", help="the system's name (default: that of the checkpoint or the predictions)")
    parser.add_argument("--cache", type=Path, help="packages and spoken words (default: OUT/cache)")
    parser.add_argument("--language", default="en", help="ISO 639 code of the footage (default: en)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="forgeries of each method per clip (default: %(default)s)"
    )
    parser.add_argument("--cores", type=int, default=2, help="default: 2")
    options = parser.parse_args(words)
    if options.corpus and not options.checkpoint:
        parser.error("--corpus needs --checkpoint; with --predictions, name --validation")
    if not (options.corpus or options.validation or options.benchmark):
        parser.error("name --validation or --corpus, on which the threshold is chosen")
    return options


def prepare(options: argparse.Namespace) -> tuple[FootageClips, dict[str, Any]]:
    """Make the forged set; return it with its settings."""
    from tqdm import tqdm

    methods, missing = load_unseen(cache_folder(options))
    for line in missing:
        print(line)
    settings = {
        "methods": [*methods.sound, *methods.mouth],
        "language": options.language,
        "words": finder_name(load_word_finder(options.language, print)),
    }
    folder = Path(options.footage)
    with tqdm(total=len(find_clips(folder)), desc="forge", disable=None) as bar:
        clips = pairs.make(
            options.out / "clips",
            folder,
            partial(load_methods, cache_folder(options)),
            partial(load_finder, options.language),
            settings=settings,
            rounds=options.rounds,
            workers=options.cores,
            progress=bar.update,
        )
    return clips, settings


def note_look(options: argparse.Namespace, name: str, clips: int, commit: str) -> None:
    """Add a line to the ledger before a system is scored, unless the same one was noted for the same clips and code."""
    checksum = file_sha256(options.checkpoint or options.predictions)
    key = {"system": checksum, "package": package_sha256(), "clips": file_sha256(options.out / "clips" / METADATA)}
    look = ledger.Look(corpus.VERSION, clips, f"{name} {checksum[:12]} on footage", None, "")
    keep_result(options.out / f"{name}-look.json", key, lambda: ledger.append(look, commit))


def predict(options: argparse.Namespace, files: Sequence[str], name: str) -> tuple[Rows, Setting]:
    """Predict the set, and choose the threshold."""
    folder, out = options.out / "clips", options.out
    if options.predictions:
        rows = rows_of_file(options.predictions, [file.partition("/")[2] for file in files])
        return rows, read_setting(*options.validation)
    from avloc.inference import Localizer

    load = cache(partial(Localizer.from_checkpoint, options.checkpoint))
    network = {"checkpoint": file_sha256(options.checkpoint), "package": package_sha256()}
    key = {**network, "clips": file_sha256(folder / METADATA)}
    rows = predict_footage(load, folder, files, out / f"{name}-rows", key)
    write_predictions(out / f"{name}-predictions.json", {file: each[:, :3] for file, each in rows.items()})
    if not options.corpus:
        return rows, read_setting(*options.validation)
    key = {**network, "clips": file_sha256(options.corpus / METADATA)}
    kept = out / f"{name}-threshold.json"
    return rows, Setting(*keep_result(kept, key, lambda: predict_validation(load(), options.corpus)))


def evaluate(options: argparse.Namespace, clips: FootageClips, settings: Mapping[str, Any], commit: str) -> str:
    """Predict and score one system, and write its results; returns its tables."""
    name = options.name or (options.checkpoint or options.predictions).stem
    note_look(options, name, len(clips.records), commit)
    rows, setting = predict(options, [record.file for record in clips.records], name)
    result = score_footage(rows, options.out / "clips" / METADATA, methods_of_clips(options), setting)
    text = document(name, result, clips, settings)
    content = {"system": name, **settings, "left_out": clips.left_out, **result.to_dict()}
    write_json(options.out / f"{name}.json", content)
    write_text(options.out / f"{name}.md", text)
    return text


def cache_folder(options: argparse.Namespace) -> Path:
    """The folder of packages, spoken words and weights."""
    folder: Path = options.cache or options.out / "cache"
    return folder


def methods_of_clips(options: argparse.Namespace) -> dict[str, Mapping[str, str]]:
    """The methods of each clip by modality."""
    details = corpus.read_details(options.out / "clips")
    return {file.partition("/")[2]: clip.methods for file, clip in details.items()}


def compare(options: argparse.Namespace, clips: FootageClips, commit: str) -> str:
    """Predict and score the benchmark's systems, and write their tables beside its own; returns the tables."""
    from comparing.comparison import SYSTEM_GROUPS, apply_choices, parse_names, select_choices
    from comparing.experiment import Task  # Lightning takes seconds, and the processes that forge do not need it
    from comparing.features import extractors_of
    from real_footage import runs

    names = parse_names(options.systems, SYSTEM_GROUPS, "systems")
    group = options.systems if options.systems in SYSTEM_GROUPS else "selected"
    choices = select_choices(names, group, options.benchmark)
    for choice in choices.values():
        print(choice.sentence())
    settings = apply_choices(names, choices)
    files = [record.file for record in clips.records]
    runs.extract(options.out, files, extractors_of(settings.values()), cache_folder(options), options.cores)
    tasks = {
        name: [
            Task(setting, int(seed), options.budget, options.benchmark, threads=options.cores)
            for seed in options.seeds.split(",")
        ]
        for name, setting in settings.items()
    }
    labels = {name: choice.label for name, choice in choices.items()}
    tables = runs.compare(tasks, options.out, methods_of_clips(options), commit, labels=labels)
    if group != "main":  # a part must not take the place of the whole
        tables = [replace(table, name=f"{group}-{table.name}") for table in tables]
    for table in tables:
        write_text(options.benchmark / "tables" / f"{table.name}.md", table.to_markdown() + "\n")
    return "\n\n".join(table.to_text() for table in tables)


def main(words: Sequence[str] | None = None) -> int:
    """Make the set, evaluate the named systems, and print and write their tables."""
    options = parse(words)
    if options.footage is None:
        print(NO_FOOTAGE)
        return 0
    commit = ledger.commit_name(allow_dirty=options.allow_dirty)
    torch.set_num_threads(options.cores)
    clips, settings = prepare(options)
    print(compare(options, clips, commit) if options.benchmark else evaluate(options, clips, settings, commit))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

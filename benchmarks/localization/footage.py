"""Real talking-head clips > half of them forged by methods that no training met > the scores of a checkpoint on them.

    AVLOC_FOOTAGE=F python benchmarks/localization/footage.py --out D --checkpoint C --corpus /data/loc/clips
    python benchmarks/localization/footage.py --footage F --out D --checkpoint C --validation val.json val_metadata.json
    python benchmarks/localization/footage.py --footage F --out D --predictions P.json --validation …   # of another program

F is a folder of clips with one person each, who speaks into the camera. D gets the forged set (`D/clips`, in AV-Deepfake1M's
layout), and for each system `D/SYSTEM.json` and `D/SYSTEM.md`. Without F the script says so and ends. Finished parts are kept.

The threshold of the false alarms is chosen on generated clips: on the predictions and the metadata of `--validation`, or on those
that the checkpoint makes for the validation split of `--corpus`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import forgers
import mouth_forgers
import numpy as np
import sound_forgers
import torch
from corpus import read_details
from real_footage import pairs
from real_footage.alarms import Rows, Setting, choose_setting, read_setting
from real_footage.clips import find_clips
from real_footage.forging import Methods
from real_footage.pairs import FootageClips
from real_footage.scores import METRICS, FootageResult, score_footage
from real_footage.words import WordFinder, finder_name, load_word_finder

import avloc
from avloc.errors import AvlocError
from avloc.evaluation import read_predictions, read_truth, write_predictions
from avloc.io.files import file_sha256, read_json, write_json, write_text

if TYPE_CHECKING:
    from avloc.evaluation.bootstrap import Interval
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
def load_unseen(cache_folder: Path) -> UnseenMethods:
    """Load the methods that no training met; packages and spoken words are kept in a folder."""
    lines: list[str] = []
    sounds, mouths = sound_forgers.load_forgers(cache_folder, lines.append), mouth_forgers.load_forgers(lines.append)
    methods = Methods(
        {name: sounds[name] for name in sorted(forgers.UNSEEN_SOUND) if name in sounds},
        {name: mouths[name] for name in sorted(forgers.UNSEEN_MOUTH) if name in mouths},
    )
    missing = sorted((forgers.UNSEEN_SOUND | forgers.UNSEEN_MOUTH) - {*methods.sound, *methods.mouth})
    reasons = {line.split()[1]: line for line in lines}
    return UnseenMethods(methods, [reasons.get(name, f"forger {name} is left out: no such module") for name in missing])


def load_methods(cache_folder: Path) -> Methods:
    """The methods that no training met, as far as they can be had here."""
    return load_unseen(cache_folder).methods


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
    """The checksum of the package's code, which changes what a checkpoint says."""
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


def predict_validation(localizer: Localizer, corpus: Path) -> Setting:
    """Predict the validation split of a generated set, and choose the threshold there."""
    from avloc.inference.prediction import predict as predict_split

    store = corpus.parent / "features"
    rows = predict_split(localizer, "avdeepfake1m", corpus, "val", store=store if store.is_dir() else None, keep=KEEP)
    if rows.failures:
        raise AvlocError(f"{corpus}: no predictions for {len(rows.failures)} clips: {rows.failures}")
    return choose_setting(rows, read_truth(corpus / METADATA, "fake_segments"))


def rows_of_file(path: Path, files: Sequence[str]) -> Rows:
    """The rows of a prediction file, by the names of the clips in the metadata."""
    loaded = read_predictions(path).renamed(files)
    values, offsets = np.column_stack([loaded.rows.scores, loaded.rows.segments]), loaded.rows.offsets
    return {file: values[offsets[k] : offsets[k + 1]] for k, file in enumerate(loaded.files)}


# Tables.


def format_interval(interval: Interval, factor: float = 100, digits: int = 1) -> str:
    """A value and its interval.

    >>> format_interval(Interval(0.5, 0.25, 0.75, None))
    '50.0 (25.0–75.0)'
    """
    return "{} ({}–{})".format(*(f"{factor * x:.{digits}f}" for x in (interval.value, interval.low, interval.high)))


def group_table(result: FootageResult) -> list[str]:
    """The scores of all groups as lines of Markdown."""
    head = [
        "forged",
        "clips: forged + real",
        *(name.upper() for name in METRICS),
        "clip AUC",
        "flagged",
        "found",
        "named",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, group in result.groups.items():
        cells = [name, f"{group.forged} + {group.real}"]
        cells += [format_interval(group.metrics[metric]) for metric in METRICS]
        cells += [format_interval(group.metrics["auc"], 1, 2), f"{group.flagged} of {group.forged}"]
        cells += [f"{group.found} of {group.segments}", describe_names(group.named)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def describe_names(named: Mapping[str, int] | None) -> str:
    """The modalities that found segments are said to be forged in."""
    return (
        "" if named is None else ", ".join(f"{count} {name}" for name, count in named.items() if count) or "none found"
    )


def alarm_lines(result: FootageResult) -> list[str]:
    """The false alarms in words."""
    setting = result.setting
    real = result.groups["all"].real
    return [
        f"Real clips flagged: {result.real_flagged} of {real}, of {result.sources_flagged} of the {result.sources} clips of the "
        f"footage. False alarms per minute: {format_interval(result.false_alarms, 1, 2)}, in {result.real_minutes:.1f} minutes "
        f"({result.footage_minutes:.1f} of different footage).",
        f"Threshold: a score of {setting.threshold:.4g}, at which the {setting.clips} real clips of the validation split "
        f"({setting.minutes:.1f} minutes) have {setting.alarms} alarms; one per ten minutes is allowed.",
    ]


def clip_table(result: FootageResult) -> list[str]:
    """The outcome for each clip as lines of Markdown, without intervals."""
    lines = ["| clip | methods | best score | alarms | found | named |", "|---|---|---|---|---|---|"]
    for clip in result.clips:
        methods = ", ".join(f"{key}: {name}" for key, name in clip.methods.items()) or "real"
        named = ", ".join(name or "–" for name in clip.named)
        found = f"{clip.found} of {clip.segments}" if clip.segments else ""
        lines.append(f"| {clip.file} | {methods} | {clip.score:.3f} | {clip.alarms} | {found} | {named} |")
    return lines


def document(system: str, result: FootageResult, clips: FootageClips, settings: Mapping[str, Any]) -> str:
    """The tables of a system as Markdown."""
    lines = [
        f"**Real footage**, {system}: {result.sources} clips, {len(clips.records)} versions of them, half of them forged; "
        f"words by {settings['words']}; strict, percent, 95 % intervals over the clips of the footage",
        "",
        *group_table(result),
        "",
        *(line for text in alarm_lines(result) for line in (text, "")),
    ]
    if clips.left_out:
        lines += [f"Left out: {'; '.join(f'{name} ({reason})' for name, reason in clips.left_out.items())}", ""]
    return "\n".join([*lines, *clip_table(result), ""])


# The script.


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--footage", type=Path, default=os.environ.get("AVLOC_FOOTAGE"), help="folder of real clips")
    parser.add_argument("--out", type=Path, required=True, help="folder of the forged set and the results")
    system = parser.add_mutually_exclusive_group(required=True)
    system.add_argument("--checkpoint", type=Path, help="checkpoint to evaluate")
    system.add_argument("--predictions", type=Path, help="another program's predictions for OUT/clips")
    validation = parser.add_mutually_exclusive_group(required=True)
    validation.add_argument(
        "--validation", type=Path, nargs=2, metavar=("PREDICTIONS", "METADATA"), help="predictions for generated clips"
    )
    validation.add_argument("--corpus", type=Path, help="generated set of which the checkpoint predicts the split val")
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
    return options


def prepare(options: argparse.Namespace) -> tuple[FootageClips, dict[str, Any]]:
    """Make the forged set; also what was decided for it."""
    from tqdm import tqdm

    cache_folder = options.cache or options.out / "cache"
    methods, missing = load_unseen(cache_folder)
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
            partial(load_methods, cache_folder),
            partial(load_finder, options.language),
            settings=settings,
            rounds=options.rounds,
            workers=options.cores,
            progress=bar.update,
        )
    return clips, settings


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


def evaluate(options: argparse.Namespace, clips: FootageClips, name: str) -> FootageResult:
    """Predict and score a system."""
    folder = options.out / "clips"
    rows, setting = predict(options, [record.file for record in clips.records], name)
    methods = {file.partition("/")[2]: clip.methods for file, clip in read_details(folder).items()}
    return score_footage(rows, folder / METADATA, methods, setting)


def main(words: Sequence[str] | None = None) -> int:
    """Make the set, evaluate the system, and print and write its tables."""
    options = parse(words)
    if options.footage is None:
        print(NO_FOOTAGE)
        return 0
    torch.set_num_threads(options.cores)
    name = options.name or (options.checkpoint or options.predictions).stem
    clips, settings = prepare(options)
    result = evaluate(options, clips, name)
    text = document(name, result, clips, settings)
    write_json(
        options.out / f"{name}.json", {"system": name, **settings, "left_out": clips.left_out, **result.to_dict()}
    )
    write_text(options.out / f"{name}.md", text)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

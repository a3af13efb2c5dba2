"""Real clips > pairs of a forged and a real version, in AV-Deepfake1M's layout.

Each clip of the footage gives one pair for each method, and one with both sound and mouth forged. A pair's two versions
differ in the forgery alone: the same frames and samples are encoded with the same settings, which differ between pairs. So half
of the clips are forged, and neither encoding nor speaker gives them away.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from corpus import ClipDetails

from avloc.core.records import VideoRecord
from avloc.core.timeline import DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.readers import avdeepfake1m
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError
from avloc.io.files import read_json, write_json
from avloc.io.workers import processes
from real_footage.clips import FPS, RealClip, clip_name, find_clips, read_clip
from real_footage.forging import ForgedClip, Methods, Random, forge_clip
from real_footage.words import WordFinder

VERSION = 1
SEED = 11
SPLIT = "val"  # the labels of AV-Deepfake1M's test split are hidden
CRF, AUDIO_BIT_RATES = (20, 28), (48_000, 64_000, 96_000)


class FootageClips(NamedTuple):
    """The set that was made.

    Attributes:
        records: the clips.
        left_out: by file of the footage, the reason for leaving it out.
    """

    records: list[VideoRecord]
    left_out: dict[str, str]


def plan_pairs(sounds: Sequence[str], mouths: Sequence[str], rounds: int, rng: Random) -> list[dict[str, str]]:
    """The methods by modality of each pair: in each round every method alone, and one of each together."""
    pairs = []
    for _ in range(rounds):
        pairs += [{"audio": name} for name in sounds] + [{"visual": name} for name in mouths]
        if sounds and mouths:
            pairs.append({"audio": str(rng.choice(sounds)), "visual": str(rng.choice(mouths))})
    return pairs


def pair_files(name: str, number: int, methods: Mapping[str, str]) -> tuple[str, str]:
    """The real and the forged file of a pair.

    >>> pair_files("anna", 3, {"audio": "codec2"})
    ('val/anna/03-real.mp4', 'val/anna/03-audio-codec2.mp4')
    """
    forged = "-".join(text for item in methods.items() for text in item)
    return f"{SPLIT}/{name}/{number:02d}-real.mp4", f"{SPLIT}/{name}/{number:02d}-{forged}.mp4"


def _record(file: str, original: str, clip: ForgedClip, methods: Mapping[str, str]) -> VideoRecord:
    attributes = {"video_frames": str(len(clip.frames)), "audio_frames": str(len(clip.samples)), "original": original}
    models = {
        f"{name}_model": methods[key] for key, name in (("audio", "audio"), ("visual", "video")) if key in methods
    }
    segments = [
        tuple(Segment(*(sample / DEFAULT_SAMPLE_RATE for sample in word)) for word in words)
        for words in (clip.audio, clip.visual)
    ]
    duration_s = len(clip.samples) / DEFAULT_SAMPLE_RATE
    return VideoRecord(file, SPLIT, duration_s, *segments, attributes=tuple((attributes | models).items()))


def write_pairs(
    clip: RealClip, name: str, forgers: Methods, rounds: int, out: Path
) -> Iterator[tuple[VideoRecord, dict[str, str]]]:
    """Write the pairs of a clip; yield the record of each file and its methods by modality.

    The real clip of the first pair is the original of all others.
    """
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    original = pair_files(name, 0, {})[0]
    real = ForgedClip(clip.frames, clip.samples, [], [])
    for number, methods in enumerate(plan_pairs([*forgers.sound], [*forgers.mouth], rounds, rng)):
        settings: dict[str, Any] = {"fps": FPS, "crf": int(rng.integers(*CRF))}
        settings["audio_bit_rate"] = int(rng.choice(AUDIO_BIT_RATES))
        forged = forge_clip(clip, methods, forgers, rng)
        for file, version, used in zip(pair_files(name, number, methods), (real, forged), ({}, methods), strict=True):
            write_mp4(out / file, version.frames, version.samples, **settings)
            yield _record(file, original.partition("/")[2], version, used), used


class _Task(NamedTuple):
    path: Path
    name: str
    load_methods: Callable[[], Methods]
    load_finder: Callable[[], WordFinder]
    rounds: int
    out: Path


def _labels_file(out: Path, name: str) -> Path:
    """The file with the labels of a clip's pairs; it exists once they are written."""
    return out / "labels" / f"{name}.json"


def _forge(task: _Task) -> str:
    """Write a clip's pairs, then their labels; returns its name."""
    try:
        clip = read_clip(task.path, task.load_finder())
    except AvlocError as error:
        write_json(_labels_file(task.out, task.name), {"left_out": str(error)})
        return task.name
    entries = [
        {"record": asdict(record), "methods": methods}
        for record, methods in write_pairs(clip, task.name, task.load_methods(), task.rounds, task.out)
    ]
    words = [[sample / DEFAULT_SAMPLE_RATE for sample in word] for word in clip.words]
    write_json(_labels_file(task.out, task.name), {"clips": entries, "words": words})
    return task.name


def make(
    out: Path,
    folder: Path,
    load_methods: Callable[[], Methods],
    load_finder: Callable[[], WordFinder],
    *,
    settings: Mapping[str, object],
    rounds: int = 1,
    workers: int = 1,
    progress: Callable[[int], object] = lambda clips: None,
) -> FootageClips:
    """Make the pairs of all clips in a folder; finished clips are kept.

    Args:
        out: folder of the set.
        folder: the footage.
        load_methods: loads the methods; called in each process.
        load_finder: loads the function that finds words.
        settings: all that decides on the methods and the words; `out/footage.json` keeps them.
        rounds: pairs of each method per clip.
        workers: processes.
        progress: called with the number of clips of the footage done since the last call.

    Raises:
        AvlocError: if `out` holds another set, or no clip could be used.
    """
    paths = {clip_name(folder, path): path for path in find_clips(folder)}
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    marker, content = out / "footage.json", {"version": VERSION, "seed": SEED, "rounds": rounds, **settings}
    content = {**content, "clips": sizes}
    if marker.is_file() and read_json(marker, "marker of the set") != content:
        raise AvlocError(f"{out}: holds forgeries of other clips or settings; name another folder, or remove it")
    write_json(marker, content)
    tasks = [
        _Task(path, name, load_methods, load_finder, rounds, out)
        for name, path in paths.items()
        if not _labels_file(out, name).is_file()
    ]
    progress(len(paths) - len(tasks))
    for _ in processes.run(_forge, tasks, workers):
        progress(1)
    return _write_metadata(out, list(paths), str(settings.get("language", "")))


def _write_metadata(out: Path, names: Sequence[str], language: str) -> FootageClips:
    """Write the set's metadata from the labels of each clip."""
    labels = {name: read_json(_labels_file(out, name), "labels") for name in names}
    left_out = {name: content["left_out"] for name, content in labels.items() if "left_out" in content}
    records, words, details = [], {}, {}
    for name, content in labels.items():
        for entry in content.get("clips", ()):
            record = read_record(entry["record"])
            records.append(record)
            words[record.file] = content["words"]
            details[record.file] = ClipDetails(
                methods=entry["methods"],
                change="replace" if entry["methods"] else "none",
                speaker=name,
                language=language,
                source=name,
                fps=str(FPS),
                video_start_s=0.0,
                codec="",
                splices=[],
                words=content["words"],
                face=name,
            )
    if not records:
        raise AvlocError(f"no clip of the footage can be used: {left_out}")
    avdeepfake1m.write(out, records, words)
    write_json(out / "details.json", {file: asdict(clip) for file, clip in details.items()})
    return FootageClips(records, left_out)


def read_record(fields: Mapping[str, Any]) -> VideoRecord:
    """A record from the JSON of its fields."""
    segments = {key: tuple(Segment(*pair) for pair in fields[key]) for key in ("audio_segments", "visual_segments")}
    attributes = tuple((name, value) for name, value in fields["attributes"])
    return VideoRecord(**{**fields, **segments, "attributes": attributes})

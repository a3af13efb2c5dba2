"""A set of the benchmark or of the demo > its facts on the model card: version, clips, methods, speech and films."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import yaml
from face_materials import FILMS
from materials import SPEAKERS
from packaged.facts import DataFacts, Materials, SplitCounts
from packaged.joining import MARKER, read_details

from avloc.cli.train import packaged_configs
from avloc.datasets.readers.catalog import read_records
from avloc.errors import AvlocError
from avloc.io.files import read_json

BUNDLED_SPEECH = (
    ("Allison Smith", "en", "all", "CC-BY-SA-3.0"),
    ("June Wallack", "fr", "all", "CC-BY-SA-3.0"),
    ("Carlo Flora", "it", "all", "CC-BY-3.0"),
    ("Maxim Topal", "ru", "test", "CC-BY-3.0"),
)


def configured_extractors(config: str) -> list[str]:
    """The extractors of a training's configuration, a file or a name.

    >>> configured_extractors("demo")
    ['logspec', 'residual_grid']

    Raises:
        AvlocError: if the configuration names none.
    """
    path = packaged_configs().get(config, Path(config))
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    names = settings.get("init_args", settings).get("extractors")
    if not names:
        raise AvlocError(f"{path}: names no extractors, want a configuration on cached features")
    return list(names)


def describe_data(dataset: str, root: Path) -> DataFacts:
    """Describe a set of the benchmark or of the demo: its version, the clips of each split, methods, and speech.

    Raises:
        AvlocError: if the set is neither.
    """
    corpus, demo = root / MARKER, root / "synth.json"
    if corpus.is_file():
        marker = read_json(corpus, "marker of the benchmark's set")
        title, version = "the benchmark’s corpus (`benchmarks/localization`)", f"corpus{marker['version']}"
        speech = [
            (s.name, ", ".join(s.languages), s.split, ", ".join(sorted({x.package.licence for x in s.sources})))
            for s in SPEAKERS
        ]
    elif demo.is_file():
        marker = read_json(demo, "marker of a generated set")
        title, version, speech = "clips of `avloc synth`", f"synth{marker['version']}", [*BUNDLED_SPEECH]
    else:
        raise AvlocError(
            f"{root}: want a set of benchmarks/localization or of avloc synth; neither corpus.json nor synth.json"
        )
    return {
        "title": title,
        "version": version,
        "settings": marker,
        "splits": _count_splits(dataset, root),
        "speech": [list(row) for row in speech],
        "films": _count_films(root),
    }


def count_materials(data: DataFacts) -> Materials:
    """Count the speakers that are heard in training, and the real faces that are seen there, of `describe_data`'s tables."""
    speakers = sum(split in ("all", "train") for _, _, split, _ in data["speech"])
    return Materials(speakers, sum(split == "train" for _, split, _, _ in data["films"]))


def _count_films(root: Path) -> list[list[str]]:
    """The name, the split, the number of clips, and the origin of each film with a real face."""
    clips = Counter(details.get("face") for details in read_details(root).values())
    return [
        [film.name, film.split, str(clips[film.name]), f"{film.package}, {film.path}"]
        for film in FILMS
        if clips[film.name]
    ]


def _count_splits(dataset: str, root: Path) -> dict[str, SplitCounts]:
    """By split, the number of clips of each kind, and of clips that each method has forged."""
    details = read_details(root)
    clips: dict[str, Counter[str]] = {}
    methods: dict[str, Counter[str]] = {}
    for record in read_records(dataset, root):
        named = dict(details.get(record.file, {}).get("methods", {}))
        attributes = dict(record.attributes)
        forgers = named.values() or [attributes[key] for key in ("audio_model", "video_model") if key in attributes]
        clips.setdefault(record.split, Counter())[record.modality if record.labelled else "hidden"] += 1
        methods.setdefault(record.split, Counter()).update(forgers)
    return {
        split: {"clips": dict(sorted(clips[split].items())), "methods": dict(sorted(methods[split].items()))}
        for split in clips
    }

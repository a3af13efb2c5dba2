"""The facts of the package's networks, as the json beside them has them: data, trainings, and all measured figures.

`train_packaged.py` writes them, and `model_card.py` makes the card of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict


class SplitCounts(TypedDict):
    """The clips of a split: by forged modality, and by the method that forged them."""

    clips: dict[str, int]
    methods: dict[str, int]


class DataFacts(TypedDict):
    """The set that networks were trained on.

    Keys:
        title: in words.
        version: of the set, a part of the networks' version.
        settings: of its generator.
        splits: by name.
        speech: name, languages, split and licence of each speaker's recordings.
        films: name, split, number of clips, and origin of each film with a real face.
    """

    title: str
    version: str
    settings: Mapping[str, object]
    splits: dict[str, SplitCounts]
    speech: list[list[str]]
    films: list[list[str]]


class Materials(NamedTuple):
    """What a training has heard and seen, in numbers.

    Attributes:
        speakers: persons whose recorded speech is heard.
        faces: real faces that are seen.
    """

    speakers: int
    faces: int


class TrainingFacts(TypedDict):
    """The settings of a training: `epochs` and `lr` are null for those of the configuration, `trained` a day as 2026-11-26.

    `words` are further options; `copies` is the number of augmented copies of each clip, by `recipe`; `set` is the digest of the
    set's marker.
    """

    config: str
    epochs: int | None
    lr: float | None
    seed: int
    words: list[str]
    copies: int
    recipe: str
    set: str
    trained: str


class SettingFacts(TypedDict):
    """A `real_footage.alarms.Setting`."""

    threshold: float
    clips: int
    minutes: float
    alarms: int


Figures = TypedDict(
    "Figures",
    {
        "clips": int,
        "forged_clips": int,
        "segments": int,
        "real_minutes": float,
        "ap@0.5": float,
        "ap@0.75": float,
        "ap@0.9": float,
        "ap@0.95": float,
        "ap": NotRequired[float],
        "ar@10": float,
        "clip_auc": float | None,
        "forged_clips_flagged": int,
        "real_clips_flagged": int,
        "false_alarms_per_minute": float | None,
    },
)
Figures.__doc__ = """Figures of a split: strict AP and AR in [0, 1], and the clips that the operating point flags."""


class NetworkFacts(TypedDict):
    """One network of the package.

    Keys:
        description: a `NetworkDescription` as plain values.
        training: its settings.
        extractors: of the features of the streams that it judges.
        bytes: of the file.
        parameters: those that are not 0.
        cleared: parameters on which no output depends.
        largest_change_by_half_precision: of a clip's best score on validation.
        setting: the operating point.
        figures: by split.
    """

    description: dict[str, Any]
    training: TrainingFacts
    extractors: list[str]
    bytes: int
    parameters: int
    cleared: int
    largest_change_by_half_precision: float
    setting: SettingFacts
    figures: dict[str, Figures]


class ExampleCounts(TypedDict):
    """The clips of the package, and their forged segments: all of them, those that are flagged, those that are found."""

    real_clips: int
    real_clips_flagged: int
    forged_clips: int
    forged_clips_flagged: int
    segments: int
    segments_found: int


class FootageFacts(TypedDict):
    """A result of `footage.py` without that of each clip."""

    system: str
    methods: list[str]
    language: str
    words: str
    left_out: Mapping[str, str]
    sources: int
    footage_minutes: float
    real_minutes: float
    real_flagged: int
    sources_flagged: int
    setting: SettingFacts
    false_alarms_per_minute: Mapping[str, float | None]
    groups: Mapping[str, Any]


class Facts(TypedDict):
    """All facts of the package's networks.

    Keys:
        networks: by the streams that they judge.
        bytes: of all files.
        speech_network_bytes: of the file of `whisper_packaged`.
        data: the set of the trainings.
        examples: scores of the package's clips.
        footage: a result on real footage; null: not measured.
    """

    networks: dict[str, NetworkFacts]
    bytes: int
    speech_network_bytes: int
    data: DataFacts
    examples: NotRequired[ExampleCounts]
    footage: FootageFacts | None

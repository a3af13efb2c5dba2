"""The benchmark's clips, version 3: recorded speech > edits, forged and genuine > mp4 files in AV-Deepfake1M's layout.

    python benchmarks/localization/corpus.py --out /data/loc --clips 2400 --workers 2     # resumes an interrupted run
    python benchmarks/localization/corpus.py --out /data/loc --check                      # looks for shortcuts
    python benchmarks/localization/corpus.py --out /data/loc --portraits                  # real faces, in OUT/portraits

A source is an utterance of a speaker; it gives a real clip and two forged ones of different kinds (sound, mouth, both). Speakers
and faces are split; some languages and some methods are met in the test alone. Sound is cut at any sample, the picture at frames
of clips of three frame rates, many of which start late. Fixed by `VERSION`, the seed, the methods and the materials.

A second set, of training and validation alone, has real faces in place of drawn ones: the films of `face_materials`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import face_materials
import materials
import numpy as np
from composing import portraits, rendering
from composing.acoustics import Recording
from composing.phrases import LONGEST_PHRASE_S, load_speech
from composing.rendering import Forgers, Labels
from composing.utterances import Timeline, draw_change, draw_orders, draw_utterance, edit_utterance, lay_out
from forging import mouth_forgers, sound_forgers
from forging.forgers import UNSEEN_MOUTH, UNSEEN_SOUND
from forging.word_forgers import WordBank

from avloc.core.records import VideoRecord
from avloc.core.timeline import DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.readers import avdeepfake1m
from avloc.datasets.synthetic.composition import CLIP_KINDS, CLIPS_PER_SOURCE, ClipPlan, clip_rng, plan
from avloc.datasets.synthetic.generate import clip_file
from avloc.datasets.synthetic.vocoder import WEIGHTS_FOLDER
from avloc.errors import AvlocError
from avloc.io.files import file_sha256, read_json, remove_stale, write_json
from avloc.io.workers import processes

VERSION = 3
SEED = 11
CLIPS = 2400
LAYOUT = "avdeepfake1m"
UNSEEN_SHARE = 0.5  # of the forged test clips
TASK_CLIPS = 12
PORTRAITS = 720  # clips of which the set with real faces leaves out the test split
FIRST_PORTRAIT = 50_000  # number of its first person and source: both sets' clips can lie in one folder
WORD_BANKS = ("flite", "kokoro")
LONGEST_BANK_WORD_S = 0.7


@dataclass(frozen=True, slots=True)
class ClipDetails:
    """Facts about a clip that its metadata do not hold.

    Attributes:
        methods: `audio` and `visual` → the method's name; a genuine modality is missing.
        change: `none`, `replace`, `insert` or `delete`.
        speaker: a name of `materials.SPEAKERS`.
        language: ISO 639 code, or several with `+` between.
        source: the same for the clips of one utterance.
        fps: frames per second, as a fraction.
        video_start_s: time of the first frame; the first sample is at 0.
        codec: of the sound before the file's own codec, or empty.
        splices: start and end of each genuine edit, in seconds.
        words: start and end of each word, in seconds.
        face: name of the film of a real face; empty: a drawn one.
    """

    methods: dict[str, str]
    change: str
    speaker: str
    language: str
    source: str
    fps: str
    video_start_s: float
    codec: str
    splices: list[tuple[float, float]]
    words: list[tuple[float, float]]
    face: str = ""


class Methods(NamedTuple):
    """Names of methods for the sound and for the mouths."""

    sound: tuple[str, ...]
    mouth: tuple[str, ...]


# Plans.


def draw_speaker(clip: ClipPlan, folder: Path) -> materials.Speaker:
    """The speaker of a clip's person.

    Those of whom there is more speech have more persons (by the square root), spread by the golden ratio, so that the shares
    hold in small sets as well.
    """
    speakers = materials.speakers_of_split(clip.split)
    return speakers[_spread(clip.person, [(folder / f"{speaker.name}.npz").stat().st_size for speaker in speakers])]


def plan_portraits(clips: int) -> list[ClipPlan]:
    """Plan the set with real faces, whose test split is left out.

    >>> [(clip.split, clip.person) for clip in plan_portraits(12)][::3]
    [('train', 50000), ('train', 50000), ('dev', 50001)]
    """
    return [
        replace(clip, source=clip.source + FIRST_PORTRAIT, person=clip.person + FIRST_PORTRAIT)
        for clip in plan(clips, SEED)
        if clip.split != "test"
    ]


def draw_film(clip: ClipPlan, folder: Path) -> face_materials.Film:
    """The film of a clip's person; longer ones have more persons, as in `draw_speaker`."""
    films = face_materials.films_of_split(clip.split)
    lengths = [len(face_materials.load_track(folder, film).mouths) for film in films]
    return films[_spread(clip.person, lengths)]


def _spread(person: int, amounts: Sequence[float]) -> int:
    """The number of the material of a person: shares by the square root of the amounts, spread by the golden ratio."""
    shares = np.cumsum(np.sqrt(amounts))
    return int(np.searchsorted(shares / shares[-1], person * (np.sqrt(5) - 1) / 2 % 1, side="right"))


def draw_methods(clip: ClipPlan, present: Methods) -> dict[str, str]:
    """Draw the method of each forged modality of a clip.

    Half of the forged test clips get unseen methods, all other clips the others.

    Args:
        clip: the clip.
        present: all methods of this machine.
    """
    rng = clip_rng(clip, 6, CLIP_KINDS.index(clip.kind))
    unseen = clip.split == "test" and bool(rng.random() < UNSEEN_SHARE)
    methods = {}
    for modality, names, unseen_names in (
        ("audio", present.sound, UNSEEN_SOUND),
        ("visual", present.mouth, UNSEEN_MOUTH),
    ):
        drawn = str(rng.choice(sorted(name for name in names if (name in unseen_names) == unseen)))
        if clip.kind in (modality, "both"):
            methods[modality] = drawn
    return methods


def is_unseen(methods: Mapping[str, str]) -> bool:
    """True for a forged clip whose methods all are absent from the training split.

    >>> is_unseen({"audio": "kokoro"}), is_unseen({"audio": "lpc", "visual": "coded"}), is_unseen({})
    (True, False, False)
    """
    return bool(methods) and set(methods.values()) <= UNSEEN_SOUND | UNSEEN_MOUTH


# Clips.


class GeneratedClip(NamedTuple):
    """A clip's record and details."""

    record: VideoRecord
    details: ClipDetails


class _Task(NamedTuple):
    plans: tuple[ClipPlan, ...]
    out: Path
    speech: Path
    cache: Path
    present: Methods
    faces: Path | None


def refuse_missing(line: str) -> None:
    """Refuse to make the set without a method: its clips, and with them all scores, would be those of another set.

    Raises:
        AvlocError: with the line that says which method is missing, and why.
    """
    raise AvlocError(f"{line}; without it the set would be another one, and only run.py --quick goes without")


def make(
    out: Path,
    speech: Path,
    cache: Path,
    clips: int = CLIPS,
    workers: int = 1,
    progress: Callable[[int], object] = lambda clips: None,
    log: Callable[[str], object] = refuse_missing,
    faces: Path | None = None,
) -> list[VideoRecord]:
    """Make the set; existing clips are kept.

    Args:
        out: folder of the set.
        speech: folder of the recordings, from `materials.fetch`.
        cache: folder for the packages and the spoken words of the forgers.
        clips: number of clips.
        workers: processes.
        progress: called with the number of clips that are done, some at a time.
        log: called with a line for each method that is unavailable here and would be left out of a new set.
        faces: folder of the films, from `face_materials.fetch`, for the set with real faces; None: drawn ones.

    Raises:
        AvlocError: if the folder holds another set, or a method is unavailable and `log` is not given.
    """
    missing: list[str] = []
    sounds = sound_forgers.load_forgers(cache, missing.append)
    mouths = mouth_forgers.load_forgers(missing.append)
    present = Methods(tuple(sorted(sounds)), tuple(sorted(mouths)))
    settings = {
        "version": VERSION,
        "seed": SEED,
        "clips": clips,
        "sound": [*present.sound],
        "mouth": [*present.mouth],
        "materials": digest_materials(speech, cache, faces),
    }
    marker = out / "corpus.json"
    if marker.is_file() and read_json(marker, "marker of the benchmark's set") != settings:
        raise AvlocError(
            f"{out}: holds a set of other clips, methods or materials, want {settings}; name another folder"
        )
    if not marker.is_file():  # an existing set has these methods
        for line in missing:
            log(line)
    write_json(marker, settings)
    plans = plan(clips, SEED) if faces is None else plan_portraits(clips)
    for folder in {(out / clip_file(clip, LAYOUT)[0]).parent for clip in plans}:
        remove_stale(folder)
    generated: dict[str, GeneratedClip] = {}
    for results in processes.run(_make_clips, _tasks(plans, out, speech, cache, present, faces), workers):
        generated.update({clip.record.file: clip for clip in results})
        progress(len(results))
    ordered = [generated[clip_file(clip, LAYOUT)[0]] for clip in plans]
    records = [clip.record for clip in ordered]
    avdeepfake1m.write(out, records, {clip.record.file: clip.details.words for clip in ordered})
    write_json(out / "details.json", {clip.record.file: dataclasses.asdict(clip.details) for clip in ordered})
    return records


def digest_materials(speech: Path, cache: Path, faces: Path | None = None) -> dict[str, str]:
    """Hash what clips are made of: recordings, words, trained weights and films (a change of the code raises `VERSION`)."""
    weights = [path for folder in (mouth_forgers.WEIGHTS, WEIGHTS_FOLDER) for path in sorted(folder.glob("*.pt"))]
    files = {"speech": sorted(speech.glob("*.npz")), "words": sorted(cache.glob("*.npz")), "weights": weights}
    if faces is not None:
        files["faces"] = [face_materials.film_file(faces, film) for film in face_materials.FILMS]
    hashes = {name: b"".join(bytes.fromhex(file_sha256(path)) for path in paths) for name, paths in files.items()}
    return {name: hashlib.sha256(each).hexdigest()[:12] for name, each in hashes.items()}


def _tasks(
    plans: Sequence[ClipPlan], out: Path, speech: Path, cache: Path, present: Methods, faces: Path | None
) -> list[_Task]:
    """Group the clips by speaker, so that a speaker's recordings are read once."""
    by_speaker: dict[str, list[ClipPlan]] = {}
    for clip in plans:
        by_speaker.setdefault(draw_speaker(clip, speech).name, []).append(clip)
    return [
        _Task(tuple(clips[k : k + TASK_CLIPS]), out, speech, cache, present, faces)
        for clips in by_speaker.values()
        for k in range(0, len(clips), TASK_CLIPS)
    ]


@lru_cache(maxsize=1)
def _load_sounds(cache: Path) -> dict[str, sound_forgers.Forger]:
    return sound_forgers.load_forgers(cache, _keep_silent)


@cache
def _load_mouths() -> dict[str, mouth_forgers.Repaint]:
    return mouth_forgers.load_forgers(_keep_silent)


def _keep_silent(line: str) -> None:
    """Workers repeat no lines."""


def _make_clips(task: _Task) -> list[GeneratedClip]:
    return [_make_clip(clip, task) for clip in task.plans]


def _make_clip(clip: ClipPlan, task: _Task) -> GeneratedClip:
    """Compose a clip, and render it unless its file exists."""
    speaker = draw_speaker(clip, task.speech)
    kind = CLIP_KINDS.index(clip.kind)
    change = draw_change(clip_rng(clip, 8, kind)) if clip.kind != "real" else "none"
    recording = Recording.draw(clip_rng(clip, 7))
    timeline = compose(clip, speaker.name, change, task.speech)
    cut = rendering.cut_frames(clip_rng(clip, 3, kind), timeline, recording)
    methods = draw_methods(clip, task.present)
    face_film = None if task.faces is None else draw_film(clip, task.faces)
    file = clip_file(clip, LAYOUT)[0]
    if not (task.out / file).exists():
        forgers = _clip_forgers(clip.split, methods, task.cache, load_speech(task.speech, speaker.name).bandwidth_hz)
        words = {"timeline": timeline, "cut": cut, "recording": recording, "forgers": forgers}
        film: Callable[[rendering.Random], rendering.Frames]
        if face_film is None:
            person = int(np.random.default_rng([clip.seed, clip.person, 102]).integers(2**31))
            film = partial(rendering.film, person=person, **words)
        else:
            seed = (clip.seed, clip.source, 9)
            portrait = portraits.draw_portrait(task.faces, face_film, len(cut.edges_s) - 1, seed)
            film = partial(portraits.film, portrait=portrait, **words)
        rendering.render(clip_rng(clip, 4, kind), timeline, recording, forgers, film, task.out / file)
    labels = rendering.label(timeline, cut)
    details = ClipDetails(
        methods=methods,
        change=change,
        speaker=speaker.name,
        language="+".join(speaker.languages),
        source=f"{clip.split}-{clip.source}",
        fps=str(recording.fps),
        video_start_s=recording.video_start_s,
        codec=recording.codec,
        splices=labels.splices,
        words=labels.words,
        face="" if face_film is None else face_film.name,
    )
    return GeneratedClip(_record(clip, labels, methods), details)


def compose(clip: ClipPlan, speaker: str, change: str, folder: Path) -> Timeline:
    """The words of a clip in time.

    Args:
        clip: the clip.
        speaker: name of the speaker.
        change: of the forged edits.
        folder: of the recordings.
    """
    speech = load_speech(folder, speaker)
    rng = clip_rng(clip, 2, CLIP_KINDS.index(clip.kind))
    utterance = draw_utterance(clip_rng(clip, 1), speech)
    edited = edit_utterance(rng, speech, utterance, draw_orders(rng, clip.kind, change))
    return lay_out(speech, edited)


def _clip_forgers(split: str, methods: Mapping[str, str], folder: Path, bandwidth_hz: float) -> Forgers:
    """The functions of a clip's methods. That of a genuine modality is never called."""
    sounds, mouths = _load_sounds(folder), _load_mouths()
    sound, mouth = methods.get("audio", "lpc"), methods.get("visual", "blurred")
    longest_s = LONGEST_BANK_WORD_S if sound in WORD_BANKS else LONGEST_PHRASE_S
    forger = sounds[sound]
    if isinstance(forger, WordBank) and sound not in UNSEEN_SOUND:  # no split hears the recordings of another
        forger = forger.of_split(split)
    return Forgers(forger, mouths[mouth], longest_s, bandwidth_hz)


def _record(clip: ClipPlan, labels: Labels, methods: Mapping[str, str]) -> VideoRecord:
    file, split = clip_file(clip, LAYOUT)
    attributes = {"video_frames": str(labels.frames), "audio_frames": str(labels.samples)}
    if clip.kind != "real":
        real = replace(clip, kind="real", number=clip.number - clip.number % CLIPS_PER_SOURCE)
        attributes["original"] = clip_file(real, LAYOUT)[0].partition("/")[2]
    for modality, name in (("audio", "audio_model"), ("visual", "video_model")):
        if modality in methods:
            attributes[name] = methods[modality]
    return VideoRecord(
        file=file,
        split=split,
        duration_s=labels.samples / DEFAULT_SAMPLE_RATE,
        audio_segments=tuple(Segment(*span) for span in labels.audio),
        visual_segments=tuple(Segment(*span) for span in labels.visual),
        attributes=tuple(attributes.items()),
    )


# Reading.


def read_details(clips: Path) -> dict[str, ClipDetails]:
    """Read the details of a set by file."""
    entries = read_json(clips / "details.json", "details of the benchmark's set")
    spans = ("splices", "words")
    return {
        file: ClipDetails(**{**entry, **{name: [(s, e) for s, e in entry[name]] for name in spans}})
        for file, entry in entries.items()
    }


def read_records(clips: Path, split: str) -> list[VideoRecord]:
    """Read the labels of a split; the layout keeps those of the test split in `truth/`.

    Args:
        clips: folder of the set.
        split: `train`, `val` or `test`.
    """
    folder = clips / "truth" if split == "test" else clips
    return [
        VideoRecord(
            file=f"{split}/{entry['file']}",
            split=split,
            duration_s=entry["audio_frames"] / DEFAULT_SAMPLE_RATE,
            audio_segments=tuple(Segment(*span) for span in entry["audio_fake_segments"]),
            visual_segments=tuple(Segment(*span) for span in entry["visual_fake_segments"]),
            attributes=(("video_frames", str(entry["video_frames"])), ("audio_frames", str(entry["audio_frames"]))),
        )
        for entry in read_json(folder / f"{split}_metadata.json", "metadata file")
    ]


# Command line.


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the set, or look for shortcuts in it."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything; the set is OUT/clips")
    parser.add_argument("--speech", type=Path, help="folder of the recordings (default: OUT/speech)")
    parser.add_argument("--cache", type=Path, help="folder of packages and spoken words (default: OUT/cache)")
    parser.add_argument("--clips", type=int, help=f"number of clips (default: {CLIPS}; with --portraits {PORTRAITS})")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--portraits", action="store_true", help="make the set with real faces")
    parser.add_argument("--check", action="store_true", help="look for shortcuts in the finished set")
    args = parser.parse_args(arguments)
    if args.check:
        import shortcuts

        print(shortcuts.check(args.out / "clips"))
        return
    speech = materials.fetch(args.speech or args.out / "speech", progress=print)
    faces = face_materials.fetch(args.out / "faces", progress=print) if args.portraits else None
    clips = args.clips or (CLIPS if faces is None else PORTRAITS)
    out = args.out / ("clips" if faces is None else "portraits")
    with tqdm(total=clips, desc="clips", disable=None) as bar:
        make(out, speech, args.cache or args.out / "cache", clips, args.workers, bar.update, faces=faces)


if __name__ == "__main__":
    main()

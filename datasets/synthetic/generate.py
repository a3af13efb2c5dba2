"""A labelled set of real media files: compositions > audio and video > mp4 clips and the dataset's own metadata.

As in the published datasets, one to three word-long spans are forged. `audio`: the word is replaced by another one that
went through a vocoder (by clip, a neural one or that of Griffin and Lim), the mouth keeps the old word. `visual`: the mouth is
repainted for another word, the audio stays. `both`: both, for the same new word. If the audio is replaced, the clip's length
changes with the word's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.records import VideoRecord
from avloc.core.suggestions import did_you_mean
from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.readers import avdeepfake1m, lavdf, partialspoof, rttm, text_labels
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.synthetic import face, forge, speech_pieces
from avloc.datasets.synthetic.composition import (
    CLIP_KINDS,
    CLIPS_PER_SOURCE,
    FPS,
    FRAME_SAMPLES,
    ClipPlan,
    Composition,
    Random,
    Word,
    audio_model,
    clip_rng,
    compose,
    piece_pools,
    plan,
)
from avloc.datasets.synthetic.corruptions import LISTING, contradict, inject
from avloc.datasets.synthetic.encode import write_mp4, write_wav
from avloc.errors import AvlocError
from avloc.io.files import read_json, remove_stale, write_json
from avloc.io.workers import processes

MARKER = "synth.json"
Spans = list[tuple[float, float]]
"""Start and end of each word in seconds."""

GENERATOR_VERSION = 3
SIZE = 192


@dataclass(frozen=True, slots=True)
class Style:
    """The forgers and the recording conditions of a clip.

    Attributes:
        revoice: samples of a word (N,) → forged samples (N,).
        repaint: forges mouths in place. Arguments: frames (T, H, W, 3), the mouths' middles in pixels (T, 2), the frames to
            change (T,) bool, the side of the square region in pixels, and the strength (1.8 to 3).
        room_db: range of the room noise's loudness in dB.
        crf: range of x264's quality.
        audio_bit_rate: bits per second.
    """

    revoice: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    repaint: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.bool_], int, float], None]
    room_db: tuple[float, float] = (-66.0, -56.0)
    crf: tuple[int, int] = (18, 22)
    audio_bit_rate: int = 64_000


def low_resolution(
    frames: npt.NDArray[np.uint8],
    mouths: npt.NDArray[np.float64],
    where: npt.NDArray[np.bool_],
    side: int,
    strength: float,
) -> None:
    """Repaint mouths, in place, by a generator with `strength` times fewer pixels per side; see `Style.repaint`."""
    forge.repaint_mouths(frames, frames.copy(), mouths, where, side, strength)


def revoice_neurally(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Re-synthesize a word by the bundled neural vocoder; see `vocoder.revoice`."""
    from avloc.datasets.synthetic import vocoder

    return vocoder.revoice(samples)


AUDIO_FORGERS = {"mel-griffin-lim": forge.revoice, "spectral-vocoder": revoice_neurally}
"""The functions that forge words, by the names in `composition.AUDIO_MODELS`."""


def clip_style(clip: ClipPlan) -> Style:
    """Return the style of a clip: its own method for the words, and the low-resolution generator for the mouths."""
    return Style(AUDIO_FORGERS[audio_model(clip)], low_resolution)


def render(composition: Composition, path: Path, style: Style | None = None) -> None:
    """Render a clip into an mp4 file, or its sound into a .wav, by default in the style of `clip_style`."""
    clip = composition.clip
    style = style or clip_style(clip)
    kind = CLIP_KINDS.index(clip.kind)
    samples = _render_audio(clip_rng(clip, 3, kind), composition, style)
    if path.suffix == ".wav":
        write_wav(path, samples, DEFAULT_SAMPLE_RATE)
        return
    rng = clip_rng(clip, 4, kind)
    frames = _render_video(rng, composition, style)
    write_mp4(
        path,
        frames,
        samples,
        fps=FPS,
        sample_rate=DEFAULT_SAMPLE_RATE,
        crf=int(rng.integers(*style.crf)),
        audio_bit_rate=style.audio_bit_rate,
    )


def _render_audio(rng: Random, composition: Composition, style: Style) -> npt.NDArray[np.float32]:
    pieces = []
    for start, word in zip(composition.starts, composition.words, strict=True):
        samples = word.voice.samples
        if word.forged and composition.clip.kind in ("audio", "both"):
            samples = style.revoice(samples)
        pieces.append((start, speech_pieces.scale_to_rms(samples) * word.level))
    mix = speech_pieces.join_pieces(pieces, composition.length)
    mix += rng.normal(0, 10 ** (rng.uniform(*style.room_db) / 20), composition.length).astype(np.float32)  # the room
    return np.clip(mix * 10 ** (rng.uniform(-3, 3) / 20), -1, 1).astype(np.float32)


def _render_video(rng: Random, composition: Composition, style: Style) -> npt.NDArray[np.uint8]:
    clip, timed_words = composition.clip, list(zip(composition.starts, composition.words, strict=True))
    mouth_audio = speech_pieces.join_pieces([(s, _mouth_samples(w)) for s, w in timed_words], composition.length)
    opening, width = _mouth_shapes(mouth_audio)
    performance = face.perform(rng, opening, width, FPS)
    identity = face.Identity(seed=int(np.random.default_rng([clip.seed, clip.person, 102]).integers(2**31)), size=SIZE)
    clean, mouths = face.render(identity, performance)
    sigma = rng.uniform(3, 6)
    frames = face.add_camera_noise(rng, clean, sigma)
    side = int(rng.integers(round(0.27 * SIZE), round(0.36 * SIZE)))
    shrink = rng.uniform(1.8, 3.0)
    is_visual = clip.kind in ("visual", "both")
    forged = np.zeros(len(frames), dtype=bool)
    blended = np.zeros(len(frames), dtype=bool)
    for start, word in timed_words:
        span = slice(start // FRAME_SAMPLES, (start + word.voice.length) // FRAME_SAMPLES)
        if word.forged and is_visual:
            forged[span] = True
        elif not word.forged and rng.random() < 0.15:
            blended[span] = True
    # Every clip, real or not, has words whose mouth is blended in from another take without a generator.
    forge.repaint_mouths(frames, face.add_camera_noise(rng, clean, sigma), mouths, blended & ~forged, side, shrink=1)
    style.repaint(frames, mouths, forged, side, shrink)
    return frames


def _mouth_samples(word: Word) -> npt.NDArray[np.float32]:
    """Return the audio that moves the mouth, stretched to the length of the voice (margins included)."""
    source = word.mouth.samples
    if word.mouth is word.voice or len(source) == len(word.voice.samples):
        return speech_pieces.scale_to_rms(source) * word.level
    position = np.linspace(0, len(source) - 1, len(word.voice.samples))
    stretched = np.interp(position, np.arange(len(source)), source).astype(np.float32)
    return speech_pieces.scale_to_rms(stretched) * word.level


def _mouth_shapes(samples: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return opening (loudness) and width (share of high frequencies) per frame, both (T,) in [0, 1]."""
    blocks = samples.reshape(-1, FRAME_SAMPLES).astype(np.float64)
    loud = np.sqrt((blocks**2).mean(axis=1))
    bright = np.sqrt((np.diff(blocks, axis=1) ** 2).mean(axis=1)) / (loud + 1e-3)
    smooth = np.array([0.2, 0.6, 0.2])
    opening = np.convolve(np.clip(loud / (2 * speech_pieces.WORD_RMS), 0, 1) ** 0.7, smooth, mode="same")
    width = np.convolve(np.clip(bright / 0.8, 0, 1), smooth, mode="same")
    return opening, width


LAYOUTS: dict[str, Callable[[Path, Sequence[VideoRecord], Mapping[str, Spans]], list[Path]]] = {
    "lavdf": lavdf.write,
    "avdeepfake1m": avdeepfake1m.write,
    "avdeepfake1m++": avdeepfake1m.write_plus_plus,
    "partialspoof": partialspoof.write,
    "halftruth": text_labels.write_halftruth,
    "llamapartialspoof": text_labels.write_llamapartialspoof,
    "rttm": rttm.write,
}
"""Layout → the function that writes its metadata."""
SOUND_LAYOUTS = frozenset(("partialspoof", "halftruth", "llamapartialspoof", "rttm"))
"""Layouts of clips without a picture."""
SOURCES = ("vox_celeb_2", "lrs3")  # folders at the begin of ++'s paths
AVDEEPFAKE1M_NAMES = {
    "real": "real",
    "audio": "real_video_fake_audio",
    "visual": "fake_video_real_audio",
    "both": "fake_video_fake_audio",
}


def clip_file(clip: ClipPlan, layout: str) -> tuple[str, str]:
    """Return a clip's file, relative to the dataset's folder, and its split's name in the layout."""
    if layout == "lavdf":
        return f"{clip.split}/{clip.number:06d}.mp4", clip.split
    if layout in SOUND_LAYOUTS:
        return _sound_file(clip, layout)
    is_plus_plus = layout == "avdeepfake1m++"
    if clip.split == "test":
        split = ("testA", "testB")[clip.source % 2] if is_plus_plus else "test"
        return f"{split}/{clip.number:06d}.mp4", split
    split = {"train": "train", "dev": "val"}[clip.split]
    source = f"{SOURCES[clip.person % len(SOURCES)]}/" if is_plus_plus else ""
    folder = f"{source}id{clip.person:05d}/yt{clip.person:06d}/{clip.source:05d}"
    return f"{split}/{folder}/{AVDEEPFAKE1M_NAMES[clip.kind]}.mp4", split


def _sound_file(clip: ClipPlan, layout: str) -> tuple[str, str]:
    """Return file and split of a clip without a picture; a source's clips share its number."""
    is_fake, role = clip.kind != "real", clip.number % CLIPS_PER_SOURCE
    if layout == "partialspoof":
        split = "eval" if clip.split == "test" else clip.split
        return f"{split}/con_wav/{'CON' if is_fake else 'LA'}_{split[0].upper()}_{clip.number:07d}.wav", split
    if layout == "halftruth":
        name = f"HAD_{clip.split}_{'fake' if is_fake else 'real'}_{clip.number:08d}"
        return text_labels.had_file(name, clip.split), clip.split
    if layout == "llamapartialspoof":
        name = f"{'partial' if is_fake else 'dev-clean'}_{clip.person:04d}_{clip.source:06d}_{role}"
        return f"{text_labels.LPS_PART}/{name}.wav", "test"
    return f"{clip.split}/{clip.split}_{clip.number:06d}.wav", clip.split


def sound_plans(plans: Sequence[ClipPlan]) -> list[ClipPlan]:
    """Return the plans of a set without pictures: the two forged clips of each source both have forged words."""
    kinds = ("real", "audio", "both")
    return [replace(clip, kind=kinds[clip.number % CLIPS_PER_SOURCE]) for clip in plans]


def _without_picture(record: VideoRecord) -> VideoRecord:
    """Remove the visual segments and attributes of a record."""
    attributes = tuple(pair for pair in record.attributes if not pair[0].startswith("video_"))
    return replace(record, visual_segments=(), attributes=attributes)


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """The arguments of `synthesize` that decide on the files; `synth.json` keeps them.

    Attributes:
        layout: a key of `LAYOUTS`.
        clips: number of clips.
        seed: seed of the set.
        speech: a folder of recordings, None for the bundled ones.
        corruptions: whether the faults of real sets are injected.
        version: version of the generator.
    """

    layout: str
    clips: int
    seed: int
    speech: str | None
    corruptions: bool
    version: int = GENERATOR_VERSION


class LabelledClip(NamedTuple):
    """A rendered clip: its labels, and start and end of each word in seconds."""

    record: VideoRecord
    words: Spans


def synthesize(
    out: str | Path,
    *,
    layout: str,
    clips: int,
    seed: int = 0,
    speech: str | Path | None = None,
    corruptions: bool = False,
    workers: int = 1,
    progress: Callable[[int], object] = lambda clips: None,
) -> list[VideoRecord]:
    """Generate a labelled set of clips in a dataset's layout: mp4, or wav for a dataset without pictures.

    A set that was interrupted is finished if the settings are the same.

    Args:
        out: the dataset's folder; `~` is expanded, and `synth.json` in it keeps the settings.
        layout: a key of `LAYOUTS`: `lavdf`, `avdeepfake1m`, `avdeepfake1m++`, or of sound alone `partialspoof`, `halftruth`,
            `llamapartialspoof`, `rttm`.
        clips: number of clips, at least 9.
        seed: the same seed gives the same files.
        speech: a folder of recordings instead of the bundled ones, see `load_speakers`.
        corruptions: inject the faults of real sets, see `avloc.datasets.synthetic.corruptions`.
        workers: processes.
        progress: called with the number of clips rendered since the last call.

    Returns:
        The records of all clips, with the labels of hidden splits.

    Raises:
        AvlocError: if the layout is unknown, there are too few clips or recordings, or the folder holds anything else.
    """
    if layout not in LAYOUTS:
        raise AvlocError(f"unknown layout {layout!r}{did_you_mean(layout, LAYOUTS)}, there are: {', '.join(LAYOUTS)}")
    root, speech = Path(out).expanduser(), None if speech is None else str(Path(speech).expanduser())
    settings = GenerationSettings(layout, clips, seed, speech, corruptions)
    if corruptions and layout in SOUND_LAYOUTS:
        raise AvlocError(
            f"the injected faults are of clips with a picture, which {layout} has not; leave --corruptions out"
        )
    plans = plan(clips, seed)
    if layout in SOUND_LAYOUTS:
        plans = sound_plans(plans)
    piece_pools(speech)  # an unusable folder of speech is an error before anything is written
    _claim_folder(root, settings)
    labelled = _render_all(root, plans, settings, workers, progress)
    records = [clip.record for clip in labelled]
    corrupted: dict[str, str] = {}
    if corruptions:
        records, corrupted = inject(root, records)
    words = {record.file: clip.words for record, clip in zip(records, labelled, strict=True)}
    lists = LAYOUTS[layout](root, records, words)
    if corruptions:
        contradict(root, lists, corrupted)
    return records


def is_finished(out: str | Path, settings: GenerationSettings) -> bool:
    """Tell whether a folder holds a finished set of these settings: its lists, and every clip that they name."""
    root = Path(out).expanduser()
    marker = root / MARKER
    if not marker.is_file() or read_json(marker, "marker of a generated set") != asdict(settings):
        return False
    if settings.corruptions and not (root / LISTING).is_file():
        return False
    try:
        records = read_records(settings.layout, root)
    except AvlocError:  # the lists are written last
        return False
    return len(records) == settings.clips and all((root / file).is_file() for file in records.files)


def _render_all(
    root: Path,
    plans: Sequence[ClipPlan],
    settings: GenerationSettings,
    workers: int,
    progress: Callable[[int], object],
) -> list[LabelledClip]:
    """Render the missing clips in processes, and return the labels of all in the order of the plans."""
    for folder in {(root / clip_file(clip, settings.layout)[0]).parent for clip in plans}:
        remove_stale(folder)
    size = max(1, min(8, len(plans) // max(1, workers)))
    tasks = [_RenderTask(tuple(plans[k : k + size]), root, settings) for k in range(0, len(plans), size)]
    by_file: dict[str, LabelledClip] = {}
    for labelled in processes.run(_render_missing, tasks, workers):
        by_file.update({clip.record.file: clip for clip in labelled})
        progress(len(labelled))
    return [by_file[clip_file(clip, settings.layout)[0]] for clip in plans]


class _RenderTask(NamedTuple):
    plans: tuple[ClipPlan, ...]
    root: Path
    settings: GenerationSettings


def _render_missing(task: _RenderTask) -> list[LabelledClip]:
    layout = task.settings.layout
    labelled = []
    for clip in task.plans:
        file, split = clip_file(clip, layout)
        composition = compose(clip, task.settings.speech)
        if not (task.root / file).exists():
            render(composition, task.root / file)
        # Clips of a source follow each other, the real one first.
        real = replace(clip, kind="real", number=clip.number - clip.number % CLIPS_PER_SOURCE)
        original = None if clip.kind == "real" else clip_file(real, layout)[0]
        record = composition.record(file, split, original)
        record = _without_picture(record) if layout in SOUND_LAYOUTS else record
        labelled.append(LabelledClip(record, composition.spans()))
    return labelled


def _claim_folder(root: Path, settings: GenerationSettings) -> None:
    """Write the settings into an empty or missing folder; refuse one that holds anything but a set of the same settings."""
    marker = root / MARKER
    if marker.is_file():
        existing = read_json(marker, "marker of a generated set")
        if existing != asdict(settings):
            raise AvlocError(f"{root}: holds a set made with other settings ({existing}); name another folder")
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise AvlocError(f"{root}: is not an empty folder, and no generated set")
    else:
        write_json(marker, asdict(settings))

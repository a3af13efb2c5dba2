"""Recorded speech of 24 speakers in 17 languages: Debian's packages > decoded recordings > one array file per speaker.

    python benchmarks/localization/materials.py --out /data/loc/speech              # all speakers, 0.4 GB beside the packages
    python benchmarks/localization/materials.py --out small --split train --minutes 2   # to train vocoders elsewhere

Voice prompts of Asterisk, the acted dialogue of the game Fish Fillets in Czech and Dutch, and the named objects of KTuberling.
The benchmark downloads the packages (195 MB) and compares their checksums; no recording is ever copied into the project.

A speaker is a voice, not a folder. The American English and the Mexican Spanish prompts of Asterisk are both Allison Smith's, so
they are one speaker here. A recognizer of speakers (GE2E, Wan et al., ICASSP 2018) gives these two sets a cosine of .90, and any
two speakers of different splits at most .85. The men of the Czech dialogue are alike (.83): all Czech voices are in one split.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from forging.debian import Package, download, read_files

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError
from avloc.io.files import replacing

Samples = npt.NDArray[np.float32]

SPLITS = ("train", "dev", "test")
MOST_MINUTES = 15.0  # per speaker, so that no voice outweighs the others
SHORTEST_S = 0.5
QUIETEST_RMS = 0.003
AUDIO_SUFFIXES = {".flac", ".g722", ".gsm", ".mp3", ".oga", ".ogg", ".opus", ".wav"}
NO_SPEECH = re.compile("silence|beep|monkeys|2tone|cdir-|/test")


def _package(name: str, pool: str, version: str, sha256: str, licence: str) -> Package:
    return Package(name, f"pool/main/{pool[0]}/{pool}/{name}_{version}_all.deb", sha256, licence)


def _core_sounds(language: str, sha256: str, licence: str) -> Package:
    return _package(f"asterisk-core-sounds-{language}-g722", "asterisk-core-sounds", "1.6.1-1", sha256, licence)


ENGLISH = _core_sounds("en", "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806", "CC-BY-SA-3.0")
SPANISH = _core_sounds("es", "e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8", "CC-BY-SA-3.0")
FRENCH = _core_sounds("fr", "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0", "CC-BY-SA-3.0")
ITALIAN = _core_sounds("it", "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016", "CC-BY-3.0")
RUSSIAN = _core_sounds("ru", "673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b", "CC-BY-3.0")
MENARDI = _package(
    "asterisk-prompt-it-menardi-wav",
    "asterisk-prompt-it",
    "1.4.22+mm20110907-3.1",
    "3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21",
    "CC-BY-SA-3.0",
)
ARMELLE = _package(
    "asterisk-prompt-fr-armelle",
    "asterisk-prompt-fr-armelle",
    "20070613-2.2",
    "162570b1a9b3512a98f06b89f60c7c17cf1b9b52297315adca9a4e5be728bea3",
    "GPL-2.0-or-later",
)
COLOMBIAN = _package(
    "asterisk-prompt-es-co",
    "asterisk-prompt-es-co",
    "0.20070403-2.1",
    "6702696e045514699e87dc8fb70f370717e5df91f821f7bec8dd0df1be008e83",
    "GPL-2.0-or-later",
)
CZECH = _package(
    "fillets-ng-data-cs",
    "fillets-ng-data",
    "1.0.1-1.1",
    "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14",
    "GPL-2.0-only",
)
DUTCH = _package(
    "fillets-ng-data-nl",
    "fillets-ng-data",
    "1.0.1-1.1",
    "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10",
    "GPL-2.0-only",
)
OBJECTS = _package(
    "ktuberling-data",
    "ktuberling",
    "22.12.3-1",
    "fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed",
    "GPL-2.0-or-later",
)


class Source(NamedTuple):
    """Recordings of one speaker in a package.

    Attributes:
        package: the package.
        pattern: regular expression that a file's path contains.
        lowest_rate: Hz; recordings of a lower sample rate are another speaker's.
    """

    package: Package
    pattern: str
    lowest_rate: int = 8000


class Speaker(NamedTuple):
    """A speaker of the benchmark.

    Attributes:
        name: of the speaker, or of the package and the role.
        languages: ISO 639 codes.
        split: `train`, `dev` or `test`.
        sources: the recordings.
    """

    name: str
    languages: tuple[str, ...]
    split: str
    sources: tuple[Source, ...]


def _everything(name: str, language: str, split: str, package: Package) -> Speaker:
    return Speaker(name, (language,), split, (Source(package, "/sounds/"),))


def _dialogue(name: str, language: str, split: str, package: Package, roles: str) -> Speaker:
    """A role of the game; files are named `LEVEL-ROLE-SENTENCE.ogg`, and `m` and `v` are the small and the big fish."""
    return Speaker(name, (language,), split, (Source(package, f"/sound/{roles}-[^/]+[.]ogg$"),))


def _objects(language: str, split: str) -> Speaker:
    return Speaker(f"objects-{language}", (language,), split, (Source(OBJECTS, f"/sounds/{language}/", 16_000),))


SPEAKERS = (
    Speaker("allison", ("en", "es"), "train", (Source(ENGLISH, "/sounds/"), Source(SPANISH, "/sounds/"))),
    _everything("june", "fr", "train", FRENCH),
    _everything("carlo", "it", "train", ITALIAN),
    _everything("armelle", "fr", "train", ARMELLE),
    _dialogue("fish-cs-big", "cs", "train", CZECH, "[^/]+/cs/[^-/]+-v"),
    _dialogue("fish-cs-small", "cs", "train", CZECH, "[^/]+/cs/[^-/]+-m"),
    _dialogue("fish-cs-cast", "cs", "train", CZECH, "([^/]+/cs/[^-/]+-(hs|leb)|viking2/cs/[^-/]+-[13])"),
    *(_objects(language, "train") for language in ("da", "de", "en", "fr", "lt", "nn", "wa")),
    _everything("ivrvoice", "ru", "dev", RUSSIAN),
    *(_objects(language, "dev") for language in ("ca", "uk")),
    _everything("menardi", "it", "test", MENARDI),
    _everything("colombian", "es", "test", COLOMBIAN),
    _dialogue("fish-nl-big", "nl", "test", DUTCH, "[^/]+/nl/[^-/]+-v"),
    _dialogue("fish-nl-small", "nl", "test", DUTCH, "[^/]+/nl/[^-/]+-m"),
    *(_objects(language, "test") for language in ("el", "gl", "sl")),
)


def speakers_of_split(split: str) -> list[Speaker]:
    """The speakers of a split.

    >>> [speaker.name for speaker in speakers_of_split("dev")]
    ['ivrvoice', 'objects-ca', 'objects-uk']
    """
    return [speaker for speaker in SPEAKERS if speaker.split == split]


def fetch(
    folder: Path,
    speakers: Iterable[Speaker] = SPEAKERS,
    progress: Callable[[str], object] = lambda message: None,
    minutes: float = MOST_MINUTES,
) -> Path:
    """Download packages and write the speakers' recordings to `folder/SPEAKER.npz`; existing files are kept.

    Args:
        folder: a cache outside the repository.
        speakers: whose recordings are needed.
        progress: called with a line for each speaker.
        minutes: of speech per speaker, at most.

    Raises:
        AvlocError: if a package cannot be downloaded, or its checksum differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for speaker in speakers:
        if not (folder / f"{speaker.name}.npz").is_file():
            recordings = read_speaker(speaker, folder / "packages", minutes)
            _save(folder / f"{speaker.name}.npz", recordings)
            total = sum(map(len, recordings)) / DEFAULT_SAMPLE_RATE / 60
            progress(f"{speaker.name}: {len(recordings)} recordings, {total:.1f} min")
    return folder


def read_speaker(speaker: Speaker, packages: Path, minutes: float = MOST_MINUTES) -> list[Samples]:
    """Decode a speaker's recordings, in a random order that is fixed, until they last long enough.

    Args:
        speaker: the speaker.
        packages: folder of the downloaded packages.
        minutes: of speech, at most.

    Returns:
        Recordings (N,) at 16 kHz.
    """
    packages.mkdir(parents=True, exist_ok=True)
    files = [
        (name, content, source.lowest_rate)
        for source in speaker.sources
        for name, content in _read_recordings(download(source.package, packages))
        if re.search(source.pattern, name)
    ]
    recordings: list[Samples] = []
    length = 0
    for k in np.random.default_rng(len(files)).permutation(len(files)):
        samples = decode(*files[k])
        if len(samples) >= SHORTEST_S * DEFAULT_SAMPLE_RATE and np.sqrt(np.mean(samples**2)) >= QUIETEST_RMS:
            recordings.append(samples)
            length += len(samples)
        if length >= minutes * 60 * DEFAULT_SAMPLE_RATE:
            break
    if not recordings:
        raise AvlocError(f"{speaker.name}: no recording in {', '.join(s.package.name for s in speaker.sources)}")
    return recordings


@lru_cache(maxsize=1)
def _read_recordings(package: Path) -> list[tuple[str, bytes]]:
    """Name and content of a package's recordings; kept for the package's next speaker."""
    return [(name, content) for name, content in read_files(package) if is_recording(name)]


def is_recording(name: str) -> bool:
    """True if a path names recorded speech.

    >>> is_recording("usr/share/asterisk/sounds/en/vm-intro.g722"), is_recording("usr/share/asterisk/sounds/en/beep.g722")
    (True, False)
    """
    return PurePosixPath(name).suffix in AUDIO_SUFFIXES and not NO_SPEECH.search(name)


def decode(name: str, content: bytes, lowest_rate: int = 8000) -> Samples:
    """Decode a recording to (N,) at 16 kHz; empty if it is broken or of a lower sample rate."""
    suffix = PurePosixPath(name).suffix[1:]
    blocks = []
    try:
        # Tags of some recordings are in legacy encodings. Raw G.722 and GSM are told by their names alone.
        with av.open(
            BytesIO(content), format=suffix if suffix in ("g722", "gsm") else None, metadata_errors="ignore"
        ) as container:
            if container.streams.audio[0].rate < lowest_rate:
                return np.zeros(0, np.float32)
            resampler = av.AudioResampler("flt", "mono", DEFAULT_SAMPLE_RATE)
            for frame in (*container.decode(audio=0), None):
                blocks += [block.to_ndarray().ravel() for block in resampler.resample(frame)]
    except (av.FFmpegError, IndexError):
        return np.zeros(0, np.float32)
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _save(path: Path, recordings: list[Samples]) -> None:
    """Write recordings as 16-bit samples in a row and the ends of the recordings."""
    joined = np.clip(np.rint(np.concatenate(recordings) * 32767), -32768, 32767).astype(np.int16)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, samples=joined, ends=np.cumsum([len(samples) for samples in recordings]))


def load(folder: Path, speaker: str) -> list[Samples]:
    """The recordings of a speaker that `fetch` has written, each (N,) at 16 kHz."""
    with np.load(folder / f"{speaker}.npz") as arrays:
        samples = arrays["samples"].astype(np.float32) / 32767
        return np.split(samples, arrays["ends"][:-1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="cache folder, outside of the repository")
    parser.add_argument("--split", choices=SPLITS, help="default: all")
    parser.add_argument("--minutes", type=float, default=MOST_MINUTES, help="per speaker; default: %(default)s")
    args = parser.parse_args(arguments)
    fetch(args.out, speakers_of_split(args.split) if args.split else SPEAKERS, print, args.minutes)


if __name__ == "__main__":
    main()

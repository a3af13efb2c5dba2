from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avloc.datasets.readers.catalog import read_records
from avloc.datasets.synthetic.composition import plan
from avloc.datasets.synthetic.speech_pieces import load_speakers
from avloc.errors import AvlocError
from avloc.feature_extraction.media.probe import probe

SOUND = ("band-replication", "codec2", "flite", "kokoro", "lpc", "opus")
MOUTH = ("averaged", "blurred", "coded", "transposed-generator")


def test_unseen_methods_occur_in_the_test_split_only():
    import corpus
    from forging.forgers import UNSEEN_MOUTH, UNSEEN_SOUND

    unseen_methods = UNSEEN_SOUND | UNSEEN_MOUTH
    met = {split: set() for split in ("train", "dev", "test")}
    is_unseen = []
    for clip in plan(900, corpus.SEED):
        methods = corpus.draw_methods(clip, corpus.Methods(SOUND, MOUTH))
        assert bool(methods) == (clip.kind != "real")
        assert set(methods) == {"real": set(), "both": {"audio", "visual"}}.get(clip.kind, {clip.kind})
        met[clip.split].update(methods.values())
        if methods and clip.split == "test":
            is_unseen.append(corpus.is_unseen(methods))
            assert is_unseen[-1] or not unseen_methods & set(methods.values())
    assert met["train"] | met["dev"] == {*SOUND, *MOUTH} - unseen_methods
    assert met["test"] == {*SOUND, *MOUTH}
    assert np.mean(is_unseen) == pytest.approx(0.5, abs=0.1)


@pytest.fixture(scope="module")
def speech_folder(tmp_path_factory, babble):
    """The recordings of the benchmark's speakers: two or six of babble."""
    import materials

    folder = tmp_path_factory.mktemp("speech")
    recordings = [babble(k)[0] for k in range(6)]
    for k, speaker in enumerate(materials.SPEAKERS):
        materials._save(folder / f"{speaker.name}.npz", recordings[: 2 + 4 * (k % 2)])
    return folder


def test_speakers_have_persons_by_how_much_they_speak(speech_folder):
    import corpus
    import materials

    speakers = {clip.person: (clip.split, corpus.draw_speaker(clip, speech_folder)) for clip in plan(2400, corpus.SEED)}
    assert all(speaker.split == split for split, speaker in speakers.values())
    counts = Counter(speaker.name for _, speaker in speakers.values())
    assert counts.keys() == {speaker.name for speaker in materials.SPEAKERS}
    # Six recordings beside two: about the square root of three times as many persons.
    assert counts["june"] / counts["allison"] == pytest.approx(np.sqrt(3), rel=0.2)


@pytest.fixture(scope="module")
def small():
    """A corpus of methods that need nothing, with small pictures."""
    import corpus
    from composing import rendering
    from forging import forgers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus.sound_forgers, "load_forgers", lambda cache, log: dict(forgers.SOUND))
        patch.setattr(corpus.mouth_forgers, "load_forgers", lambda log: dict(forgers.MOUTH))
        patch.setattr(rendering, "SIZE", 64)
        for function in (corpus._load_sounds, corpus._load_mouths, corpus.load_speech):
            function.cache_clear()
        yield corpus


@pytest.fixture(scope="module")
def made(small, tmp_path_factory, speech_folder):
    """A set of nine clips: its folder and its records."""
    progress = []
    out = tmp_path_factory.mktemp("set")
    records = small.make(out, speech_folder, out / "cache", 9, progress=progress.append)
    assert sum(progress) == 9
    return out, records


def test_set_is_read_as_avdeepfake1m(small, made):
    out, records = made
    for split in ("train", "val"):
        own = [record for record in records if record.split == split]
        for read in (read_records("avdeepfake1m", out, split), small.read_records(out, split)):
            assert [(r.file, r.audio_segments, r.visual_segments) for r in read] == [
                (r.file, r.audio_segments, r.visual_segments) for r in own
            ]
    assert not any(record.segments for record in read_records("avdeepfake1m", out, "test"))  # hidden
    hidden = small.read_records(out, "test")
    assert [r.segments for r in hidden] == [r.segments for r in records if r.split == "test"]
    assert Counter(record.modality == "real" for record in records) == {True: 3, False: 6}
    for record in records:
        info = probe(out / record.file)
        assert str(info.frames) == dict(record.attributes)["video_frames"]
        assert info.duration_s == pytest.approx(record.duration_s, abs=0.08)
        assert all(0 < segment.start_s < segment.end_s < record.duration_s for segment in record.segments)


def test_set_is_not_made_without_a_method(small, made, speech_folder, tmp_path, monkeypatch):
    """A method that is unavailable here would be left out of the clips without anybody's notice."""
    from forging import forgers

    def load_forgers(cache, log):
        log("forger codec2 is left out: no package")
        return dict(forgers.SOUND)

    monkeypatch.setattr(small.sound_forgers, "load_forgers", load_forgers)
    small._load_sounds.cache_clear()
    with pytest.raises(AvlocError, match="codec2 is left out: no package; without it the set would be another one"):
        small.make(tmp_path / "set", speech_folder, tmp_path / "cache", 9)
    assert not (tmp_path / "set").exists()
    out, records = made
    assert small.make(out, speech_folder, out / "cache", 9) == records  # that set has been made without it
    small._load_sounds.cache_clear()


def test_details_tell_what_metadata_do_not(small, made):
    out, records = made
    details = small.read_details(out)
    assert details.keys() == {record.file for record in records}
    sources = Counter()
    for record in records:
        own = details[record.file]
        assert set(own.methods) == {"both": {"audio", "visual"}, "real": set()}.get(record.modality, {record.modality})
        assert (own.change == "none") == (record.modality == "real")
        assert own.source.partition("-")[0] in ("train", "dev", "test")
        assert own.fps in ("25", "30000/1001", "30")
        sources[own.source] += 1
    assert set(sources.values()) == {3}
    conditions = {(each.source, each.fps, each.video_start_s, each.codec, each.speaker) for each in details.values()}
    assert len(conditions) == len(sources)


def test_real_faces_take_the_place_of_drawn_ones(small, speech_folder, footage, tmp_path, monkeypatch):
    """The films of both splits are that of the photographed face; words and labels are made as for drawn faces."""
    import hashlib
    import shutil

    faces = small.face_materials
    path = footage / "people" / "a.mp4"
    films = tuple(
        faces.Film(name, split, "none", "a.mp4", hashlib.sha256(path.read_bytes()).hexdigest(), 25)
        for name, split in (("anna", "train"), ("bert", "dev"))
    )
    monkeypatch.setattr(faces, "FILMS", films)
    for film in films:
        shutil.copy(path, faces.film_file(tmp_path, film))
    faces.fetch(tmp_path, films)
    records = small.make(tmp_path / "set", speech_folder, tmp_path / "cache", 9, faces=tmp_path)
    assert Counter(record.split for record in records) == {"train": 3, "val": 3}
    details = small.read_details(tmp_path / "set")
    assert {(record.split, details[record.file].face) for record in records} == {("train", "anna"), ("val", "bert")}
    assert all("/id5000" in record.file for record in records)
    for record in records:
        info = probe(tmp_path / "set" / record.file)
        assert str(info.frames) == dict(record.attributes)["video_frames"]
        assert info.width > 150
        assert bool(record.visual_segments) == ("visual" in details[record.file].methods)
    for split in ("train", "val"):
        read = read_records("avdeepfake1m", tmp_path / "set", split)
        assert [each.segments for each in read] == [each.segments for each in records if each.split == split]
    assert "faces" in json.loads((tmp_path / "set" / "corpus.json").read_text())["materials"]


def test_stopped_set_is_finished_and_another_one_refused(small, made, speech_folder, tmp_path):
    out, records = made
    first, second = (out / records[k].file for k in (0, 1))
    content = second.read_bytes()
    first.write_bytes(b"kept")
    second.unlink()
    assert small.make(out, speech_folder, out / "cache", 9) == records
    assert first.read_bytes() == b"kept"
    assert second.read_bytes() == content
    with pytest.raises(AvlocError, match="holds a set of other clips, methods or materials, want .*'clips': 15"):
        small.make(out, speech_folder, out / "cache", 15)
    other = tmp_path / "cache"
    other.mkdir()
    (other / "flite-slt.npz").write_bytes(b"other words")
    with pytest.raises(AvlocError, match="holds a set of other clips, methods or materials"):
        small.make(out, speech_folder, other, 9)
    marker = json.loads((out / "corpus.json").read_text())
    assert (marker["version"], marker["mouth"]) == (3, ["averaged", "blurred", "coded", "low-resolution"])


def test_command_line_makes_and_checks(monkeypatch, capsys, tmp_path):
    import corpus

    calls = []
    monkeypatch.setattr(corpus.materials, "fetch", lambda folder, progress: folder)
    monkeypatch.setattr(corpus.face_materials, "fetch", lambda folder, progress: folder)
    monkeypatch.setattr(corpus, "make", lambda *arguments, faces: calls.append((*arguments[:5], faces)))
    corpus.main(["--out", str(tmp_path), "--clips", "12", "--workers", "1"])
    corpus.main(["--out", str(tmp_path)])
    corpus.main(["--out", str(tmp_path), "--portraits"])
    materials = tmp_path / "speech", tmp_path / "cache"
    assert calls == [
        (tmp_path / "clips", *materials, 12, 1, None),
        (tmp_path / "clips", *materials, 2400, 2, None),
        (tmp_path / "portraits", *materials, 720, 2, tmp_path / "faces"),
    ]
    import shortcuts

    monkeypatch.setattr(shortcuts, "check", lambda clips: f"table of {clips.name}")
    corpus.main(["--out", str(tmp_path), "--check"])
    assert capsys.readouterr().out == "table of clips\n"


def test_no_shortcut_in_compositions(small, speech_folder):
    """The short form of the check: length, number and place of edits in 240 clips, of which nothing is rendered."""
    import shortcuts
    from composing.acoustics import Recording
    from composing.rendering import cut_frames, label
    from composing.utterances import draw_change

    facts = []
    for clip in plan(240, seed=1):
        rng = np.random.default_rng([clip.source, clip.number])
        change = draw_change(rng) if clip.kind != "real" else "none"
        timeline = small.compose(replace(clip), small.draw_speaker(clip, speech_folder).name, change, speech_folder)
        recording = Recording.draw(small.clip_rng(clip, 7))
        labels = label(timeline, cut_frames(rng, timeline, recording))
        methods = dict.fromkeys({"both": ("audio", "visual"), "real": ()}.get(clip.kind, (clip.kind,)), "x")
        record = small._record(clip, labels, methods)
        details = small.ClipDetails(methods, change, "", "", str(clip.source), "25", 0.0, "", labels.splices, [])
        values = {
            "length, frames, start": [record.duration_s, labels.frames, recording.video_start_s, len(labels.words)],
            "number of edits": shortcuts.one_hot(len(timeline.edits)),
        }
        facts.append(shortcuts.Facts(values, frozenset(methods), details.source))
        facts += shortcuts.edit_facts(record, details)
    groups = ("length, frames, start", "number of edits", shortcuts.EDIT_GROUP)
    rows = shortcuts.find_shortcuts(facts, groups)
    assert [row.group for row in rows] == list(groups)
    assert not [row for row in rows if row.is_shortcut]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_shortcut_in_the_files(small, tmp_path):
    """The form on files: 150 clips of the bundled speech with the methods that need nothing."""
    import materials
    import shortcuts

    voices = [*load_speakers().values()]
    for k, speaker in enumerate(materials.SPEAKERS):
        materials._save(tmp_path / f"{speaker.name}.npz", voices[k % len(voices)])
    small.load_speech.cache_clear()
    small.make(tmp_path / "set", tmp_path, Path(), 150)
    rows = shortcuts.find_shortcuts(shortcuts.read_facts(tmp_path / "set"))
    assert len(rows) == len(shortcuts.GROUPS)
    assert not [row for row in rows if row.is_shortcut]

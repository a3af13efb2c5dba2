from __future__ import annotations

import hashlib
import itertools
import json
import shutil

import numpy as np
import pytest

from avloc.datasets.readers.catalog import public_name, read_records
from avloc.datasets.synthetic import composition, generate
from avloc.errors import AvlocError
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import probe

LAVDF_FIELDS = {
    "file",
    "n_fakes",
    "fake_periods",
    "duration",
    "original",
    "modify_video",
    "modify_audio",
    "split",
    "video_frames",
    "audio_channels",
    "audio_frames",
}


def test_lavdf_layout(tiny_set):
    full = json.loads((tiny_set / "metadata.json").read_text())
    short = json.loads((tiny_set / "metadata.min.json").read_text())
    assert set(short[0]) == LAVDF_FIELDS
    assert set(full[0]) == LAVDF_FIELDS | {"timestamps", "transcript"}
    records = read_records("lavdf", tiny_set)
    assert len(records) == 9
    for record, entry in zip(records, short, strict=True):
        info = probe(tiny_set / record.file)
        assert (info.fps, info.sample_rate, info.channels, info.frames) == (25, 16000, 1, entry["video_frames"])
        assert 3 <= record.duration_s <= 12
        assert record.duration_s == pytest.approx(entry["audio_frames"] / 16000) == entry["video_frames"] / 25
        for start, end in record.segments:
            assert 0 < start < end < record.duration_s
            assert round(start / 0.02, 6) % 1 == round(end / 0.02, 6) % 1 == 0
        assert 1 <= len(record.segments) <= 3 or record.modality == "real"
        assert entry["original"] == (None if record.modality == "real" else entry["original"])
        assert (entry["original"] is None) == (record.modality == "real")


def test_avdeepfake1m_layout(tmp_path, render_once):
    with render_once():
        generate.synthesize(tmp_path, layout="avdeepfake1m", clips=9, seed=3)
    train, val, test = (read_records("avdeepfake1m", tmp_path, s) for s in ("train", "val", "test"))
    assert [len(r) for r in (train, val, test)] == [3, 3, 3]
    assert {r.file.rpartition("/")[2] for r in train} <= {f"{n}.mp4" for n in generate.AVDEEPFAKE1M_NAMES.values()}
    assert all(not r.labelled for r in test)
    truth = json.loads((tmp_path / "truth" / "test_metadata.json").read_text())
    assert [e["file"] for e in truth] == [public_name("avdeepfake1m", r) for r in test]
    for record in (*train, *val, *test):
        assert (tmp_path / record.file).is_file()
    entry = json.loads((tmp_path / "train_metadata.json").read_text())[1]
    assert entry["modify_type"] != "real"
    assert entry["fake_segments"]
    per_clip = json.loads((tmp_path / "train_metadata" / entry["file"]).with_suffix(".json").read_text())
    assert {"operations", "transcripts"} < set(per_clip)


def test_same_seed_gives_the_same_files(tiny_set, tmp_path):
    plan = composition.plan(9, seed=3)[1]
    file, _ = generate.clip_file(plan, "lavdf")
    generate.render(composition.compose(plan), tmp_path / "again.mp4")
    digest = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "again.mp4", tiny_set / file)]
    assert digest[0] == digest[1]
    other = composition.compose(composition.plan(9, seed=4)[1])
    assert other.length != composition.compose(plan).length


def test_style_follows_the_label():
    for source in range(20):
        clip = composition.ClipPlan(0, "train", source, "audio", 1, 0)
        style = generate.clip_style(clip)
        assert style.revoice is generate.AUDIO_FORGERS[composition.audio_model(clip)]
        assert style.repaint is generate.low_resolution
    assert [*generate.AUDIO_FORGERS] == [*composition.AUDIO_MODELS]


@pytest.mark.parametrize("model", composition.AUDIO_MODELS)
def test_forged_words_have_the_level_of_genuine_ones_and_no_clicks_at_joins(model):
    """Measured against the same clips without a forger: loudness within words, and steps from sample to sample at their ends."""
    plans = (p for p in composition.plan(180, seed=1) if p.kind == "audio")
    ratios = []
    for plan in itertools.islice(plans, 6):
        composed = composition.compose(plan)
        measures = []
        for revoice in (generate.AUDIO_FORGERS[model], lambda samples: samples):
            style = generate.Style(revoice, generate.low_resolution, room_db=(-120.0, -119.0))
            samples = generate._render_audio(np.random.default_rng(0), composed, style)
            for start, word in zip(composed.starts, composed.words, strict=True):
                if word.forged:
                    ends = [samples[max(0, end - 80) : end + 80] for end in (start, start + word.voice.length)]
                    steps = [np.abs(np.diff(end)).max() for end in ends]
                    measures.append([np.std(samples[start : start + word.voice.length]), max(steps)])
        forged, genuine = np.split(np.array(measures), 2)
        ratios.append((forged / genuine).mean(axis=0))
    level, step = np.median(ratios, axis=0)
    assert level == pytest.approx(1, abs=0.05)
    assert step < 1.5


def test_audio_lies_at_its_labels(tiny_set):
    """Outside of its forged words a clip equals what was composed, sample by sample but for the codec."""
    plan = next(p for p in composition.plan(9, seed=3) if p.kind == "audio")
    composed = composition.compose(plan)
    rng = composition.clip_rng(plan, 3, composition.CLIP_KINDS.index("audio"))
    expected = generate._render_audio(rng, composed, generate.clip_style(plan))
    decoded = decode(tiny_set / generate.clip_file(plan, "lavdf")[0]).samples[: len(expected)]
    lags = range(-40, 41)
    match = [np.dot(expected[100:-100], np.roll(decoded, -lag)[100:-100]) for lag in lags]
    assert lags[int(np.argmax(match))] == 0


def test_interrupted_set_is_finished(tiny_set, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_set, copy)
    (copy / "train" / "000001.mp4").unlink()
    kept = (copy / "train" / "000002.mp4").stat().st_mtime_ns
    generate.synthesize(copy, layout="lavdf", clips=9, seed=3)
    assert (copy / "train" / "000001.mp4").is_file()
    assert (copy / "train" / "000002.mp4").stat().st_mtime_ns == kept
    with pytest.raises(AvlocError, match="made with other settings"):
        generate.synthesize(copy, layout="lavdf", clips=9, seed=4)


def test_speech_of_ones_own(tmp_path, monkeypatch):
    import soundfile

    from avloc.datasets.synthetic.speech_pieces import load_speakers

    for speaker in ("en", "it"):
        (tmp_path / "in" / speaker).mkdir(parents=True)
        for k, samples in enumerate(load_speakers()[speaker]):
            soundfile.write(tmp_path / "in" / speaker / f"{k}.wav", samples, 16000)
    monkeypatch.setattr(  # the picture does not depend on the speech's source
        generate,
        "_render_video",
        lambda rng, composition, style: np.zeros((composition.length // 640, 64, 64, 3), np.uint8),
    )
    generate.synthesize(tmp_path / "out", layout="lavdf", clips=9, seed=0, speech=str(tmp_path / "in"))
    assert len(read_records("lavdf", tmp_path / "out")) == 9


def test_wrong_settings(tmp_path):
    for change, message in (
        ({"layout": "x"}, "unknown layout 'x', there are: lavdf, avdeepfake1m"),
        ({"layout": ""}, "unknown layout ''"),
        ({"clips": 5}, "at least 9 clips"),
        ({"seed": -1}, "seed must not be negative"),
        ({"speech": str(tmp_path / "none")}, "no such folder of speech"),
    ):
        with pytest.raises(AvlocError, match=message):
            generate.synthesize(tmp_path / "out", **{"layout": "lavdf", "clips": 9, **change})
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(AvlocError, match="not an empty folder"):
        generate.synthesize(tmp_path / "full", layout="lavdf", clips=9)


@pytest.mark.parametrize(
    ("layout", "split", "kind", "file", "split_name"),
    [
        ("lavdf", "dev", "audio", "dev/000007.mp4", "dev"),
        ("avdeepfake1m", "dev", "audio", "val/id00003/yt000003/00005/real_video_fake_audio.mp4", "val"),
        ("avdeepfake1m", "test", "real", "test/000007.mp4", "test"),
        ("avdeepfake1m++", "train", "both", "train/lrs3/id00003/yt000003/00005/fake_video_fake_audio.mp4", "train"),
        ("avdeepfake1m++", "test", "real", "testB/000007.mp4", "testB"),
        ("partialspoof", "test", "audio", "eval/con_wav/CON_E_0000007.wav", "eval"),
        ("partialspoof", "dev", "real", "dev/con_wav/LA_D_0000007.wav", "dev"),
        ("halftruth", "train", "both", "HAD_train/train/conbine/HAD_train_fake_00000007.wav", "train"),
        ("halftruth", "test", "real", "HAD_test/test/HAD_test_real_00000007.wav", "test"),
        ("llamapartialspoof", "dev", "audio", "R01TTS.0.a/partial_0003_000005_1.wav", "test"),
        ("rttm", "dev", "real", "dev/dev_000007.wav", "dev"),
    ],
)
def test_files_of_a_layout(layout, split, kind, file, split_name):
    clip = composition.ClipPlan(seed=0, split=split, source=5, kind=kind, number=7, person=3)
    assert generate.clip_file(clip, layout) == (file, split_name)


@pytest.mark.parametrize("layout", sorted(generate.SOUND_LAYOUTS))
def test_layouts_of_sound_alone_carry_the_labels(tmp_path, layout, monkeypatch):
    monkeypatch.setattr(
        generate, "_render_audio", lambda rng, composition, style: np.zeros(composition.length, np.float32)
    )
    records = generate.synthesize(tmp_path, layout=layout, clips=9, seed=3)
    assert [r.modality for r in records] == ["real", "audio", "audio"] * 3
    table = read_records(layout, tmp_path)
    assert {r.file: r.audio_segments for r in table} == {
        r.file: r.audio_segments for r in records
    }  # on a grid of 20 ms
    assert {r.file: r.duration_s for r in table} == {r.file: r.duration_s for r in records}
    assert len({public_name(layout, r) for r in records}) == 9
    info = probe(tmp_path / records[0].file)
    assert (info.sample_rate, info.width, info.duration_s) == (16000, None, records[0].duration_s)
    assert generate.is_finished(tmp_path, generate.GenerationSettings(layout, 9, 3, None, False))
    with pytest.raises(AvlocError, match=f"the injected faults are of clips with a picture, which {layout} has not"):
        generate.synthesize(tmp_path / "odd", layout=layout, clips=9, seed=3, corruptions=True)
    assert not (tmp_path / "odd").exists()


def test_home_folder_is_expanded(tiny_set, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(tiny_set, tmp_path / "clips")
    progress = []
    records = generate.synthesize("~/clips", layout="lavdf", clips=9, seed=3, progress=progress.append)
    assert [record.file for record in records] == [record.file for record in read_records("lavdf", tiny_set)]
    assert sum(progress) == 9
    settings = json.loads((tmp_path / "clips" / "synth.json").read_text())
    assert settings == {"version": 3, "layout": "lavdf", "clips": 9, "seed": 3, "speech": None, "corruptions": False}


def test_no_shortcut_separates_fake_from_real():
    """Duration and loudness of composed clips, which need no rendering: no threshold on them finds the fakes."""
    plans = [p for p in composition.plan(180, seed=1) if p.split == "train"]
    table = []
    for plan in plans:
        composed = composition.compose(plan)
        rng = composition.clip_rng(plan, 3, composition.CLIP_KINDS.index(plan.kind))
        samples = generate._render_audio(rng, composed, generate.clip_style(plan))
        loudness = [np.sqrt(np.mean(samples**2)), np.abs(samples).max(), np.mean(np.abs(np.diff(samples)))]
        table.append([composed.length, len(composed.words), *loudness])
    fake = np.array([p.kind != "real" for p in plans])
    for column in np.array(table).T:
        assert abs(_auc(column, fake) - 0.5) < 0.14


def _auc(scores, positive):
    above = scores[positive][:, None] - scores[~positive][None]
    return ((above > 0) + 0.5 * (above == 0)).mean()


@pytest.mark.slow
def test_no_shortcut_in_the_files(tmp_path):
    """Size and mean picture of real files, single and together, say nothing about fake or real."""
    generate.synthesize(tmp_path / "s", layout="lavdf", clips=240, seed=5, workers=2)
    records = read_records("lavdf", tmp_path / "s")
    from avloc.feature_extraction.media.types import VideoFormat

    table = []
    for record in records:
        path = tmp_path / "s" / record.file
        clip = decode(path, [VideoFormat(48, 48, "gray")])
        picture = next(iter(clip.frames.values())).astype(float)
        size = path.stat().st_size
        table.append(
            [
                clip.duration_s,
                size,
                size / clip.duration_s,
                np.sqrt(np.mean(clip.samples**2)),
                np.abs(clip.samples).max(),
                picture.mean(),
                picture.std(),
                np.abs(np.diff(picture, axis=0)).mean(),
            ]
        )
    fake = np.array([bool(r.segments) for r in records])
    x = np.array(table)
    for column in x.T:
        assert abs(_auc(column, fake) - 0.5) < 0.13
    x = np.column_stack([(x - x.mean(0)) / x.std(0), np.ones(len(x))])
    even = np.arange(len(x)) // 6 % 2 == 0
    weights = np.linalg.lstsq(x[even], fake[even] * 2.0 - 1, rcond=None)[0]
    assert abs(_auc(x[~even] @ weights, fake[~even]) - 0.5) < 0.13

from __future__ import annotations

import pickle

import av
import numpy as np
import pytest

from avloc.augment import Recipe
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.job.worker import (
    Chunk,
    ClipDone,
    ClipTask,
    ExtractionJob,
    ExtractionSettings,
    describe_extractor,
    process_clip,
)
from avloc.feature_extraction.media.augmented import MediaAugmentation


def test_settings_accept_text_and_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = ExtractionSettings("~/clips", [("logmel", {})])
    assert settings.root == settings.folder == tmp_path / "clips"
    assert settings.extractors == (("logmel", {}),)
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("device", "option", "in_parent"),
    [("cpu", None, False), ("cuda", None, True), ("cpu", True, True), ("cuda", False, False)],
)
def test_networks_run_in_the_parent_unless_on_the_cpu(tmp_path, device, option, in_parent):
    settings = ExtractionSettings(tmp_path, (), device=device, networks_in_parent=option)
    assert settings.runs_networks_in_parent == in_parent


def test_rows_of_the_extractors_of_a_task(toys, clips, names):
    settings = ExtractionSettings(clips, (("logmel", {}), ("avloc_toys.Toy", {})))
    *chunks, done = process_clip(ClipTask(names[2], (1,)), settings.build_extractors(), settings)
    assert [(c.extractor, c.is_rows, c.data.shape, c.data.dtype) for c in chunks] == [(1, True, (12, 2), np.float16)]
    assert isinstance(done, ClipDone)
    assert done.starts_s == (0.0,)
    assert done.media_s == pytest.approx(0.48, abs=0.01)
    assert (done.faceless_frames, done.decode_s > 0, done.extract_s > 0) == (0, True, True)


def test_streams_for_a_network_in_the_parent(toys, clips, names):
    settings = ExtractionSettings(clips, (("avloc_toys.Network", {}),), networks_in_parent=True)
    *chunks, _ = process_clip(ClipTask(names[4], (0,)), settings.build_extractors(), settings)
    # Windows of 10 rows of the clip's 14, with two rows of context on each side.
    assert [(c.is_rows, len(c.data), c.low, c.high) for c in chunks] == [(False, 10, 0, 8), (False, 8, 2, None)]


def test_a_clip_without_the_stream_has_no_rows(toys, clips, names):
    settings = ExtractionSettings(clips, (("logmel", {}),))
    messages = list(process_clip(ClipTask(names[3], (0,)), settings.build_extractors(), settings))
    assert [type(message) for message in messages] == [ClipDone]


@pytest.mark.parametrize(
    ("file", "message"), [("broken.mp4", "cannot be opened as media"), ("../x.mp4", "leads out of")]
)
def test_unreadable_clips(toys, clips, file, message):
    settings = ExtractionSettings(clips, (("logmel", {}),))
    with pytest.raises(AvlocError, match=message):
        list(process_clip(ClipTask(file, (0,)), settings.build_extractors(), settings))


def test_a_job_runs_the_extractors_of_its_settings(toys, clips, names):
    settings = ExtractionSettings(clips, (("avloc_toys.Toy", {}),))
    run = pickle.loads(pickle.dumps(ExtractionJob(settings))).build(lambda: None)
    assert [type(message) for message in run(ClipTask(names[0], (0,)))] == [Chunk, ClipDone]


@pytest.mark.parametrize("augmentation", [None, MediaAugmentation(Recipe(), copy=3)])
def test_a_job_sends_the_pulse_before_its_first_rows(clips, names, augmentation):
    settings = ExtractionSettings(clips, (("logmel", {}), ("residual_grid", {})), augmentation=augmentation)
    pulses = []
    messages = ExtractionJob(settings).build(lambda: pulses.append(1))(ClipTask(names[0], (0, 1)))
    assert isinstance(next(messages), Chunk)
    assert len(pulses) >= 20  # 1.2 s of sound in packets of 64 ms, and ten frames


def test_only_paths_of_weights_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("wavlm.pt", "wavlm_local"):  # the second file has the name of the upstream
        (tmp_path / name).touch()
    extractors = (("s3prl", {"": "wavlm_local", "weights": "wavlm.pt"}), ("wavlm_base", {"": "microsoft/wavlm-base"}))
    settings = ExtractionSettings("clips", extractors).absolute()
    assert settings.folder == tmp_path / "clips"
    assert list(settings.extractors) == [
        ("s3prl", {"upstream": "wavlm_local", "weights": str(tmp_path / "wavlm.pt")}),
        ("wavlm_base", {"weights": "microsoft/wavlm-base"}),
    ]


def test_rows_of_a_gap_are_told(tmp_path):
    """0.4 s of sound, 0.6 s of nothing, and 0.2 s of sound: rows of 10 ms."""
    with av.open(str(tmp_path / "c.mkv"), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for begin_s, seconds in ((0, 0.4), (1.0, 0.2)):
            samples = np.full((1, round(seconds * 16_000)), 5000, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, round(begin_s * 16_000)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    settings = ExtractionSettings(tmp_path, (("logmel", {}), ("residual_grid", {})))
    *chunks, done = process_clip(ClipTask("c.mkv", (0, 1)), settings.build_extractors(), settings)
    assert sum(len(chunk.data) for chunk in chunks) == 120
    assert done.gaps == (((40, 100),), ())
    assert done.problems == ("no video stream", "no audio could be decoded from 0.40 to 1.00 s")


def test_a_clip_that_was_cut_off_is_told_with_its_seconds(clips, names):
    """The sound of the first clip ends early; its picture of ten frames is whole."""
    import av

    with av.open(str(clips / names[0])) as source, av.open(str(clips / "a.mkv"), "w") as target:
        streams = {each: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    data = (clips / "a.mkv").read_bytes()
    (clips / "cut.mkv").write_bytes(data[: len(data) * 8 // 10])
    settings = ExtractionSettings(clips, (("logmel", {}),))
    run = [
        list(process_clip(ClipTask(f, (0,)), settings.build_extractors(), settings))[-1] for f in ("a.mkv", "cut.mkv")
    ]
    whole, cut = run
    assert (whole.problems, whole.damage, whole.failure) == ((), (), None)
    assert whole.decoded_s == pytest.approx(1.2, abs=0.1)
    assert whole.claimed_s == cut.claimed_s == pytest.approx(1.2, abs=0.1)
    assert cut.decoded_s < 1.0
    assert len(cut.damage) == 1
    assert cut.damage[0].startswith(f"the audio ends at {cut.decoded_s:.2f} s, its header claims 1.2")


def test_a_stream_that_is_missing_is_a_problem_but_no_damage(clips, names):
    settings = ExtractionSettings(clips, (("logmel", {}), ("residual_grid", {})))
    *_, done = process_clip(ClipTask(names[3], (0, 1)), settings.build_extractors(), settings)
    assert (done.problems, done.damage, done.failures) == (("no audio stream",), (), (None, None))


def test_a_clip_above_the_limit_is_refused(clips, names):
    settings = ExtractionSettings(clips, (("logmel", {}),), longest_s=1.0)
    with pytest.raises(AvlocError, match=r"0 ä.mp4: 1\.2\d* s long, want at most 1 s; raise the limit with --longest"):
        list(process_clip(ClipTask(names[0], (0,)), settings.build_extractors(), settings))


def test_an_extractor_that_learned_from_one_decoder_refuses_another():
    """As `checkpoint`, whose front end was trained on the frames of a decoder."""
    extractor = build_extractor("mouth", {"crop": "center"})
    assert describe_extractor(extractor, "pyav").decoder == "pyav"
    extractor.decoder = "decord"
    assert describe_extractor(extractor, "decord").decoder == "decord"
    with pytest.raises(
        AvlocError, match="mouth learned from frames of the decoder decord, not of pyav: give --decoder dec"
    ):
        describe_extractor(extractor, "pyav")
    assert describe_extractor(build_extractor("waveform"), "pyav").decoder is None

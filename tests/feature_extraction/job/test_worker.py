from __future__ import annotations

import multiprocessing
import pickle
import threading

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.job.worker import (
    PICKLED_BYTES,
    Chunk,
    ClipDone,
    ClipFailed,
    ClipTask,
    ExtractionSettings,
    describe_error,
    process_clip,
    receive_message,
    send_message,
)


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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AvlocError("two\n lines"), "two lines"),
        (AvlocError(""), "AvlocError: "),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_descriptions_of_errors(error, text):
    assert describe_error(error) == text


@pytest.mark.parametrize("count", [0, 7, PICKLED_BYTES, PICKLED_BYTES + 3])
def test_messages_of_any_size(count):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    data = np.arange(count, dtype=np.uint8)[::-1].reshape(-1, 1)  # not contiguous
    thread = threading.Thread(target=send_message, args=(sender, Chunk(3, False, 1, None, data)))
    thread.start()  # a pipe holds less than a large array
    chunk = receive_message(receiver)
    thread.join()
    assert chunk[:4] == (3, False, 1, None)
    np.testing.assert_array_equal(chunk.data, data)
    send_message(sender, ClipFailed("odd"))
    assert receive_message(receiver) == ClipFailed("odd")
    sender.close()
    with pytest.raises(EOFError):
        receive_message(receiver)

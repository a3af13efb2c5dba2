from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.readers.catalog import read_records
from avloc.datasets.synthetic.composition import plan
from avloc.errors import AvlocError


def test_unseen_methods_occur_in_the_test_split_only():
    import corpus
    from forgers import UNSEEN_MOUTH, UNSEEN_SOUND

    methods_by_split = {split: set() for split in ("train", "dev", "test")}
    unseen = []
    for clip in plan(600, corpus.SEED):
        methods_by_split[clip.split].update(corpus.draw_methods(clip))
        methods = corpus.methods_by_modality(clip)
        assert bool(methods) == (clip.kind != "real")
        unseen.append(clip.split == "test" and corpus.is_unseen(methods))
    assert not {UNSEEN_MOUTH, UNSEEN_SOUND} & (methods_by_split["train"] | methods_by_split["dev"])
    assert len(methods_by_split["test"]) == 8
    assert 20 < sum(unseen) < 60  # two in five of 100 forged ones


def test_speakers_belong_to_one_split():
    import corpus

    speakers = [name for names in corpus.SPEAKERS.values() for name in names]
    assert len(set(speakers)) == len(speakers) == 5


def test_clips_of_a_source_share_their_recording():
    import corpus

    first, second, third = plan(9, corpus.SEED)[:3]
    assert first.source == second.source == third.source
    assert len({corpus.clip_style(clip).audio_bit_rate for clip in (first, second, third)}) == 1
    assert corpus.clip_file(second) == "train/000001.mp4"


@pytest.fixture
def speech_folder(tmp_path):
    """Recordings of five speakers: bursts of noise of 0.4 s with pauses of 0.2 s between."""
    import soundfile

    rng = np.random.default_rng(0)
    loud = np.arange(40 * 16000) % 9600 < 6400
    for name in ("en", "fr", "it", "ru", "es"):
        (tmp_path / "speech" / name).mkdir(parents=True)
        samples = np.where(loud, rng.normal(0, 0.1, len(loud)), rng.normal(0, 1e-4, len(loud)))
        soundfile.write(tmp_path / "speech" / name / f"{name}.wav", samples.astype(np.float32), 16000)
    return tmp_path / "speech"


def test_set_is_made_once_and_read_as_lavdf(tmp_path, speech_folder):
    import corpus

    progress = []
    records = corpus.make(tmp_path / "set", speech_folder, clips=9, workers=1, progress=progress.append)
    assert progress == [8, 1]
    assert {record.file for record in read_records("lavdf", tmp_path / "set")} == {record.file for record in records}
    assert all((tmp_path / "set" / record.file).stat().st_size > 1000 for record in records)
    (tmp_path / "set" / records[0].file).write_bytes(b"kept")
    assert corpus.make(tmp_path / "set", speech_folder, clips=9, workers=1, progress=progress.append) == records
    assert (tmp_path / "set" / records[0].file).read_bytes() == b"kept"
    with pytest.raises(AvlocError, match="holds another set, want .*'clips': 12"):
        corpus.make(tmp_path / "set", speech_folder, clips=12, workers=1, progress=progress.append)

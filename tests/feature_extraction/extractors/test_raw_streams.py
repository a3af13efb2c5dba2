from __future__ import annotations

import av
import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.datasets.examples.example import make_example
from avloc.datasets.loading.features import collate
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.job.run import extract
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.inference.streaming import FeatureBuffer


@pytest.fixture
def spoken(tmp_path):
    """A wav file of 16 bits at 16 kHz, and its samples: 33 s, more than a window, and no whole number of rows."""
    samples = np.random.default_rng(0).integers(-32768, 32767, 33 * 16000 + 77, endpoint=True).astype(np.int16)
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
        container.mux(track.encode())
    return tmp_path, samples


def test_samples_are_kept_to_the_bit_and_end_in_silence(spoken):
    folder, samples = spoken
    result = extract(["a.wav"], FeatureStore(folder / "s"), ExtractionSettings(folder, (("waveform", {}),)))
    assert not result.failures
    features = FeatureStore(folder / "s").read("waveform", "a.wav")
    assert features.values.dtype == np.int16
    assert features.values.shape == (3301, 160)
    np.testing.assert_array_equal(features.values.reshape(-1)[: len(samples)], samples)
    assert not features.values.reshape(-1)[len(samples) :].any()
    assert (features.grid.start_s, features.grid.hop_s) == (0.0, 0.01)


def test_live_rows_equal_the_stored_ones(spoken):
    folder, _ = spoken
    extract(["a.wav"], FeatureStore(folder / "s"), ExtractionSettings(folder, (("waveform", {}),)))
    buffer = FeatureBuffer(build_extractor("waveform"))
    buffer.push(decode(folder / "a.wav", [], audio=True))
    buffer.finish()
    live = buffer.features(0.0, 34.0)
    assert live.values.dtype == np.int16
    np.testing.assert_array_equal(live.values, FeatureStore(folder / "s").read("waveform", "a.wav").values)


def test_samples_out_of_range_are_clipped_to_16_bits():
    (rows,) = build_extractor("waveform").rows([np.float32([-3.0, -1.0, 0.99999, 1.0, 5.0])])
    assert rows[0, :5].tolist() == [-32768, -32768, 32767, 32767, 32767]


def test_mouths_are_pixels_row_by_row(make_clip):
    extractor = build_extractor("mouth", {"side": "12", "crop": "center"})
    clip = make_clip(extractor)
    features = extractor.extract(clip)
    assert features.values.dtype == np.uint8
    np.testing.assert_array_equal(features.values, clip.frames[extractor.video_format].reshape(23, 144))
    assert extractor.describe().dtype == "uint8"


def test_options_of_mouths():
    with pytest.raises(AvlocError, match="side must be 1 to 512, got 0"):
        build_extractor("mouth", {"side": 0})
    with pytest.raises(AvlocError, match="crop must be one of"):
        build_extractor("mouth", {"crop": "nose"})
    assert (build_extractor("mouth").version, build_extractor("mouth", {"crop": "center"}).version) == (2, 1)


def raw_example(make_clip, *, start_s=0.2, native_rate=True):
    extractors = [build_extractor("waveform"), build_extractor("mouth", {"side": 6})]
    features = {e.modality: [e.extract(make_clip(e, start_s=start_s))] for e in extractors}
    return make_example(VideoRecord("x", "train"), features, 0.04, native_rate=native_rate)


def test_batches_keep_whole_numbers(make_clip):
    example = raw_example(make_clip, start_s=0.0)
    inputs = collate([example, example.window(2, 9)]).inputs
    assert (str(inputs.audio.dtype), str(inputs.video.dtype)) == ("torch.int16", "torch.uint8")
    assert (inputs.audio.shape, inputs.video.shape) == ((2, 92, 160), (2, 23, 36))
    assert inputs.audio_mask.sum(1).tolist() == [92, 28]
    np.testing.assert_array_equal(inputs.audio[1, :28], inputs.audio[0, 8:36])


def test_samples_are_never_averaged_to_steps(make_clip):
    with pytest.raises(AvlocError, match="int16 samples or pixels cannot be averaged to steps"):
        raw_example(make_clip, native_rate=False)


def test_samples_and_features_do_not_lie_side_by_side(make_clip):
    parts = [build_extractor(name) for name in ("waveform", "logmel")]
    features = {"audio": [e.extract(make_clip(e)) for e in parts]}
    visual = build_extractor("mouth", {"side": 6})
    features["visual"] = [visual.extract(make_clip(visual))]
    with pytest.raises(AvlocError, match="must give numbers of one type, got float32, int16"):
        make_example(VideoRecord("x", "train"), features, 0.04, native_rate=True)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import TimeGrid
from avloc.datasets.examples.example import make_example
from avloc.datasets.loading.features import collate
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.extractors.catalog import build_extractor, parse_extractors
from avloc.models import build_model, read_checkpoint
from avloc.models import checkpoint as checkpoint_module
from avloc.models.checkpoint import load_weights, write_checkpoint
from avloc.models.stream_clock import StreamClock


@pytest.fixture(scope="module", params=["spectrogram", "wavlm", "wav2vec2", "parallel"])
def front_ends(request, arguments, save_front_ends, small_speech, tmp_path_factory):
    """The checkpoint of a network on a front end of the sound, and `lips`."""
    if request.param == "spectrogram":
        return arguments["checkpoint"]["weights"]
    path = tmp_path_factory.mktemp("front_ends") / f"{request.param}.ckpt"
    if request.param == "parallel":
        return save_front_ends(path, "parallel", front_ends=[{"name": "whisper", "tuning": "all"}, {"name": "raw"}])
    return save_front_ends(path, "speech", settings={"model_type": request.param, **small_speech})


@pytest.mark.parametrize("start_s", [0.0, 0.08])
def test_cached_sound_equals_the_live_path(front_ends, make_clip, start_s):
    """Rows of sound start with a step: of a stream that starts within one, the network embeds other groups of rows."""
    check_live_path(front_ends, make_clip, "audio", start_s)


@pytest.mark.parametrize("start_s", [0.0, 0.0133])
def test_cached_mouths_equal_the_live_path(arguments, make_clip, start_s):
    check_live_path(arguments["checkpoint"]["weights"], make_clip, "visual", start_s)


def check_live_path(path, make_clip, modality, start_s):
    """Compare the network on samples and pixels, and its front end as an extractor, brought to the same steps."""
    checkpoint = read_checkpoint(path)
    model = build_model(checkpoint.model, checkpoint.arguments)
    load_weights(model, checkpoint)
    extractors = [build_extractor("waveform"), build_extractor("mouth", {"side": 32, "crop": "center"})]
    features = {e.modality: [e.extract(make_clip(e, start_s=start_s))] for e in extractors}
    inputs = collate([make_example(VideoRecord("x", "t"), features, 0.04, native_rate=True)]).inputs
    k = ("audio", "visual").index(modality)
    x, mask, phase = (inputs.audio, inputs.video)[k], inputs[2 + k], inputs[4 + k]
    clock = StreamClock((4.0, 1.0)[k], phase, inputs.step_mask)
    with torch.no_grad():
        live = model.eval().stems[k](x, mask, clock)[0]
    extractor = build_extractor("checkpoint", {"weights": path, "modality": modality})
    cached = extractor.extract(make_clip(extractor, start_s=start_s))
    hop_s = 0.02 if checkpoint.arguments[f"{modality}_front_end"] in ("speech", "parallel") else 0.04
    assert (cached.grid.hop_s, cached.values.shape[1]) == (pytest.approx(hop_s), 8)
    # The same interpolation at the middles of steps, by other code; at the ends, rows are held.
    steps = TimeGrid(0.0, 0.04, len(live))
    position = np.clip(cached.grid.to_steps(steps.centers_s()) - 0.5, 0, len(cached.values) - 1)
    low = np.floor(position).astype(int)
    share = (position - low)[:, None]
    high = np.minimum(low + 1, len(cached.values) - 1)
    expected = cached.values[low] * (1 - share) + cached.values[high] * share
    present = clock.step_mask(mask)[0].numpy()
    np.testing.assert_allclose(live.numpy()[present], expected[present], atol=1e-5)


def test_timing_and_format_need_no_weights(arguments, make_clip, monkeypatch):
    """Workers that only decode ask for these, and would each load the whole network."""
    with monkeypatch.context() as patch:
        for name in ("read_checkpoint", "weights_sha256", "load_weights"):
            patch.setattr(checkpoint_module, name, lambda *_: pytest.fail("the weights were read"))
        extractors = [build_extractor("checkpoint", arguments["checkpoint"] | {"modality": m}) for m in MODALITIES]
        for extractor, hop_s in zip(extractors, (0.04, 0.04), strict=True):
            assert (extractor.hop_s, extractor.dim, extractor.version) == (pytest.approx(hop_s), 8, 1)
            assert extractor.window_cutter().unit == round(hop_s * (16000, 25)[extractor.modality == "visual"])
            assert {p.device.type for p in extractor._outline[0].parameters()} == {"meta"}
        assert extractors[1].video_format.width == 32
    assert {p.device.type for p in extractors[0].network.parameters()} == {"cpu"}


def test_an_outline_has_no_weights_of_the_package(save_front_ends, tmp_path):
    path = save_front_ends(tmp_path / "a.ckpt", "whisper", tuning="lora", rank=2)
    outline, _ = build_extractor("checkpoint", {"weights": path, "modality": "audio"})._outline
    assert {p.device.type for p in outline.parameters()} == {"meta"}


def test_a_checkpoint_is_named_without_a_key(arguments):
    path = arguments["checkpoint"]["weights"]
    ((name, given),) = parse_extractors(f"checkpoint:{path}")
    extractor = build_extractor(name, given)
    description = extractor.describe()
    assert (description.name, description.modality, description.dim) == ("checkpoint_audio", "audio", 8)
    assert len(description.weights_sha256) == 64


def test_networks_without_a_front_end_are_refused(arguments):
    with pytest.raises(AvlocError, match="its network has no front end for the audio stream"):
        build_extractor("checkpoint", {"weights": arguments["batfd_c3d"]["weights"]}).load()
    with pytest.raises(AvlocError, match="modality must be one of audio, visual, got 'text'"):
        build_extractor("checkpoint", {"weights": arguments["checkpoint"]["weights"], "modality": "text"})


def test_both_front_ends_of_a_network_have_places_in_a_store(arguments):
    extractors = [build_extractor("checkpoint", arguments["checkpoint"] | {"modality": m}) for m in MODALITIES]
    descriptions = [extractor.describe() for extractor in extractors]
    assert [d.name for d in descriptions] == ["checkpoint_audio", "checkpoint_visual"]
    assert {d.factory for d in descriptions} == {"checkpoint"}  # by which inference builds them again


def changed_checkpoint(path, folder, **changes):
    """A copy of a checkpoint whose network was trained on other rows, or on one stream."""
    checkpoint = read_checkpoint(path)
    model = build_model(checkpoint.model, checkpoint.arguments)
    visual = {k: v for k, v in changes.items() if k != "modality"}
    extractors = tuple(replace(d, **visual) if d.modality == "visual" else d for d in checkpoint.context.extractors)
    context = replace(checkpoint.context, extractors=extractors, modality=changes.get("modality"))
    write_checkpoint(folder / "changed.ckpt", model, context)
    return build_extractor("checkpoint", {"weights": str(folder / "changed.ckpt"), "modality": "visual"})


def test_rows_must_be_those_of_training(arguments, tmp_path):
    path = arguments["checkpoint"]["weights"]
    with pytest.raises(AvlocError, match="rows of mouth whose version was 7, it is 1 here; train it again"):
        changed_checkpoint(path, tmp_path, version=7).load()
    extractor = changed_checkpoint(path, tmp_path, decoder="decord")
    extractor.load()
    assert extractor.decoder == "decord"


def test_a_stream_that_the_network_was_not_given_has_no_trained_front_end(arguments, tmp_path):
    extractor = changed_checkpoint(arguments["checkpoint"]["weights"], tmp_path, modality="audio")
    with pytest.raises(AvlocError, match="its network has no front end for the visual stream"):
        extractor.load()


def test_a_long_clip_has_a_row_per_hop(arguments):
    """In windows of 30 s."""
    extractor = build_extractor("checkpoint", arguments["checkpoint"])
    cutter = extractor.window_cutter()
    samples = np.random.default_rng(0).normal(0, 0.1, 31 * 16000).astype(np.float32)
    rows = [extractor.window_rows(w) for w in (*cutter.push(samples), *cutter.finish())]
    values = np.concatenate(rows)
    assert Features(values, TimeGrid(0.0, extractor.hop_s, len(values))).grid.length == 775

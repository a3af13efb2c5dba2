from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors import EXTRACTORS, build_extractor, parse_specification
from avloc.feature_extraction.media.types import Clip


def clip_for(extractor, *, steps=23, event=11, start_s=0.2):
    """A quiet, grey clip of `steps` frames with a click and a flash in the middle of frame `event`; None: without."""
    clip = Clip(Path("x.mp4"), fps=25, sample_rate=16000, video_start_s=start_s, audio_start_s=start_s)
    rng = np.random.default_rng(0)
    if extractor.modality == "audio":
        clip.samples = rng.normal(0, 1e-4, steps * 640).astype(np.float32)
        if event is not None:
            clip.samples[event * 640 + 318 : event * 640 + 322] = 0.8
    else:
        f = extractor.video_format
        shape = (steps, f.height, f.width) if f.pixel_format == "gray" else (steps, f.height, f.width, 3)
        frames = np.full(shape, 100, dtype=np.uint8)
        if event is not None:
            frames[event, ::3, ::3] = 240
        clip.frames[f] = frames if f.resize == "swscale" else (frames / 255).astype(np.float32)
    return clip


def rows_of(extractor, duration_s):
    """A row per hop begun; but of a network whose rows start late, only those that see nothing behind the clip."""
    if extractor.start_offset_s:
        return int((duration_s - extractor.receptive_field_s) / extractor.hop_s + 1e-6) + 1
    return int(np.ceil(duration_s / extractor.hop_s - 1e-6))


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_an_event_appears_in_the_step_that_the_timing_says(name, arguments):
    extractor = build_extractor(name, arguments.get(name))
    features = extractor.extract(clip_for(extractor))
    assert features.values.shape == (features.grid.length, extractor.dim)
    assert features.grid.start_s == pytest.approx(0.2 + extractor.start_offset_s)
    assert features.grid.hop_s == extractor.hop_s
    assert features.grid.length == rows_of(extractor, 23 * 0.04)
    without = extractor.extract(clip_for(extractor, event=None))
    change = np.abs(features.values - without.values).mean(axis=1)
    seen = features.grid.centers_s()[change > 0.5 * change.max()]
    event = 0.2 + 11.5 * 0.04
    reach = extractor.receptive_field_s / 2 + extractor.hop_s
    assert seen.min() >= event - reach - 1e-6
    assert seen.max() <= event + reach + 1e-6
    assert seen.min() - extractor.hop_s <= event <= seen.max() + extractor.hop_s


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_no_stream_no_rows(name, arguments):
    extractor = build_extractor(name, arguments.get(name))
    features = extractor.extract(Clip(Path("x.mp4"), fps=25, sample_rate=16000))
    assert features.values.shape == (0, extractor.dim)


def test_chunks_do_not_show(monkeypatch):
    from avloc.feature_extraction.extractors import residual_grid

    extractor = build_extractor("residual_grid")
    clip = clip_for(extractor)
    whole = extractor.extract(clip).values
    monkeypatch.setattr(residual_grid, "CHUNK_FRAMES", 5)
    np.testing.assert_array_equal(extractor.extract(clip).values, whole)


def test_logspec_finds_a_tone():
    extractor = build_extractor("logspec")
    clip = Clip(Path("x"), fps=25, sample_rate=16000)
    clip.samples = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    assert extractor.extract(clip).values[50].argmax() == 1000 * 1024 // 16000


def test_r3d_18_reads_local_weights(tmp_path):
    from torchvision.models.video import r3d_18

    torch.manual_seed(5)
    network = r3d_18(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    extractor = build_extractor("r3d_18", {"weights": str(tmp_path / "w.pth"), "window": "8", "stride": "8"})
    clip = clip_for(extractor, steps=8, event=3)
    got = extractor.extract(clip).values
    pixels = torch.from_numpy(clip.frames[extractor.video_format]).permute(3, 0, 1, 2)[None].float() / 255
    mean, deviation = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = network((pixels - mean[:, None, None, None]) / deviation[:, None, None, None])
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)
    assert len(extractor.weights_sha256()) == 64


def test_weights_are_asked_for_and_checked(tmp_path):
    with pytest.raises(AvlocError, match="needs a local weights file"):
        build_extractor("r3d_18")
    with pytest.raises(AvlocError, match="no such weights file"):
        build_extractor("r3d_18", {"weights": str(tmp_path / "none.pth")})
    (tmp_path / "text.pth").write_text("no weights")
    extractor = build_extractor("r3d_18", {"weights": str(tmp_path / "text.pth")})
    with pytest.raises(AvlocError, match=r"text\.pth: not a state dict"):
        extractor.extract(clip_for(extractor))


def test_specifications():
    assert parse_specification("logspec") == ("logspec", {})
    with pytest.raises(AvlocError, match="unknown extractor 'x', there are: .*logmel, logspec"):
        build_extractor("x")
    with pytest.raises(AvlocError, match="logspec has no argument 'y', it has: n_fft"):
        build_extractor("logspec", {"y": "1"})
    with pytest.raises(AvlocError, match="n_fft must be a whole number, got 'many'"):
        build_extractor("logspec", {"n_fft": "many"})
    with pytest.raises(AvlocError, match="random must be true or false"):
        build_extractor("r3d_18", {"random": "maybe"})
    with pytest.raises(AvlocError, match="want name:key=value"):
        parse_specification("logspec:512,3")
    assert build_extractor(*parse_specification("logspec:512")).dim == 257
    assert build_extractor("logspec", {"n_fft": "512"}).dim == 257


@pytest.mark.parametrize(
    "specification",
    ["residual_grid:size=10", "residual_grid:cells=0", "residual_grid:size=0", "logspec:n_fft=0", "logspec:n_fft=--5",
     "logmel:bands=0", "r3d_18:random=true,stride=0"],
)  # fmt: skip
def test_settings_that_cannot_be_are_one_error(specification):
    with pytest.raises(AvlocError, match=specification.partition(":")[0] + "|stride"):
        build_extractor(*parse_specification(specification))

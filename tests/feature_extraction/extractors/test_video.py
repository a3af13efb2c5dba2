from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models import get_model, get_model_weights

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.extractors.video import window_frames

SMALL = ["r3d_18", "mc3_18", "r2plus1d_18"]
LARGE = ["s3d", "mvit_v2_s", "swin3d_t"]
SLOW = pytest.param("mvit_v1_b", marks=pytest.mark.slow)  # the code of mvit_v2_s
LAST = {"s3d": "classifier", "mvit_v1_b": "head", "mvit_v2_s": "head", "swin3d_t": "head"}


def random_frames(extractor, length, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (length, extractor.side, extractor.side, 3), dtype=np.uint8)


def direct(network, name, frames):
    """The input of the last layer in torchvision's forward pass, averaged over positions if it is a map."""
    last_inputs = []
    getattr(network, LAST.get(name, "fc")).register_forward_pre_hook(lambda _, inputs: last_inputs.append(inputs[0]))
    keywords = get_model_weights(name).DEFAULT.transforms.keywords
    default = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}
    mean, deviation = (torch.tensor(keywords.get(key, default[key]))[:, None, None, None] for key in ("mean", "std"))
    pixels = torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 255
    with torch.no_grad():
        network((pixels - mean)[None] / deviation)
    return last_inputs[0].flatten(2).mean(dim=2).numpy() if last_inputs[0].ndim > 2 else last_inputs[0].numpy()


@pytest.mark.parametrize("name", [*SMALL, *LARGE, SLOW])
def test_features_equal_the_input_of_torchvisions_last_layer(name, tmp_path):
    torch.manual_seed(5)
    network = get_model(name, weights=None).eval()
    if name == "s3d":  # with torch's initialization its features all but vanish
        for parameter in network.parameters():
            if parameter.ndim == 5:
                torch.nn.init.kaiming_normal_(parameter)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    window = 8 if name in ("swin3d_t", *SMALL) else 16
    extractor = build_extractor(name, {"weights": str(tmp_path / "w.pth"), "window": window, "stride": window})
    assert extractor.side == get_model_weights(name).DEFAULT.transforms.keywords["crop_size"][0]
    frames = random_frames(extractor, window)
    (got,) = extractor.rows([frames])
    expected = direct(network, name, frames)
    assert got.dtype == np.float32
    assert got.shape == (1, extractor.dim)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert len(extractor.weights_sha256()) == 64


def test_windows_are_centred_and_the_ends_repeated():
    assert window_frames(9, 6, 4).tolist() == [[0, 0, 1, 2, 3, 4], [3, 4, 5, 6, 7, 8], [7, 8, 8, 8, 8, 8]]
    assert window_frames(1, 3, 1).tolist() == [[0, 0, 0]]
    assert window_frames(5, 1, 2).tolist() == [[0], [2], [4]]


def test_batches_span_streams_without_changing_rows():
    extractor = build_extractor("r3d_18", {"random": True, "window": 4, "stride": 2, "batch": 5})
    extractor.side = 32  # its last map is averaged, so any size works
    streams = [random_frames(extractor, length, seed=length) for length in (7, 1, 12)]
    sizes = []
    forward = extractor._forward
    extractor._forward = lambda windows: (sizes.append(len(windows)), forward(windows))[1]
    together = extractor.rows(streams)
    assert sizes == [5, 5, 1]
    assert [len(rows) for rows in together] == [4, 1, 6]
    extractor.batch = 1
    for stream, rows in zip(streams, together, strict=True):
        np.testing.assert_allclose(rows, extractor.rows([stream])[0], atol=1e-5)
    assert extractor.rows([]) == []


@pytest.mark.parametrize(("window", "stride"), [(6, 4), (5, 2)])
def test_long_stream_in_windows_equals_the_whole(window, stride):
    extractor = build_extractor("r3d_18", {"random": True, "window": window, "stride": stride})
    assert extractor.window_s == 10
    extractor.side = 32
    extractor.window_s = 1.2
    frames = random_frames(extractor, 67)
    (whole,) = extractor.rows([frames])
    cutter = extractor.window_cutter()
    windows = [*cutter.push(frames[:20]), *cutter.push(frames[20:]), *cutter.finish()]
    assert len(windows) > 2
    parts = np.concatenate([extractor.rows([w.data])[0][w.low : w.high] for w in windows])
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_crop_is_requested_from_the_decoder():
    extractor = build_extractor("s3d", {"random": "true", "crop": "mouth"})
    assert extractor.video_format == (224, 224, "rgb24", "swscale", "mouth")
    assert extractor.parameters()["crop"] == "mouth"
    assert build_extractor("s3d", {"random": "true"}).video_format.crop == "none"
    versions = [build_extractor("r3d_18", {"random": "true", "crop": c}).version for c in ("center", "face", "mouth")]
    assert versions == [1, 2, 2]
    with pytest.raises(AvlocError, match="crop must be one of none, center, face, mouth, got 'ear'"):
        build_extractor("r3d_18", {"random": "true", "crop": "ear"})


def test_window_sizes_of_the_networks():
    assert build_extractor("swin3d_t", {"random": "true"}).receptive_field_s == pytest.approx(32 / 25)
    assert build_extractor("s3d", {"random": "true", "window": "14"}).receptive_field_s == pytest.approx(14 / 25)
    with pytest.raises(AvlocError, match="s3d needs a window of at least 14 frames, got 13"):
        build_extractor("s3d", {"random": "true", "window": "13"})
    for name in ("mvit_v1_b", "mvit_v2_s"):
        with pytest.raises(AvlocError, match=f"{name} needs a window of exactly 16 frames, got 32"):
            build_extractor(name, {"random": "true", "window": "32"})


def test_weights_of_another_network(tmp_path):
    torch.save(get_model("r3d_18", weights=None).state_dict(), tmp_path / "w.pth")
    extractor = build_extractor("mc3_18", {"weights": str(tmp_path / "w.pth")})
    with pytest.raises(AvlocError, match=r"w\.pth: not a state dict of torchvision's mc3_18 \("):
        extractor.load()
    torch.save({"fc.bias": torch.zeros(400)}, tmp_path / "part.pth")
    with pytest.raises(AvlocError, match=r"part\.pth: not a state dict of torchvision's r3d_18 \("):
        build_extractor("r3d_18", {"weights": str(tmp_path / "part.pth")}).load()

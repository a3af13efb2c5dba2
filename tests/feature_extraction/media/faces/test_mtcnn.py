from __future__ import annotations

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avloc.feature_extraction.media.faces.mtcnn import AreaTable, Network, _outermost, detect, networks

EXPECTED = json.loads((Path(__file__).parents[3] / "data" / "face" / "mtcnn.json").read_text(encoding="utf-8"))
FOOTAGE = os.environ.get("AVLOC_FOOTAGE")


def photographs(portrait):
    """Pictures by name that are made of a portrait (192, 192, 3)."""
    mosaic = np.full((240, 400, 3), 90, np.uint8)
    mosaic[10:202, 5:197], mosaic[40:232, 204:396] = portrait, portrait[:, ::-1]
    mosaic[:64, 170:234] = portrait.reshape(64, 3, 64, 3, 3).mean(axis=(1, 3)).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 25, portrait.shape)
    return {
        "portrait": portrait,
        "dark": portrait // 4,
        "noisy": np.clip(portrait + noise, 0, 255).astype(np.uint8),
        "squeezed": portrait[:, ::2],
        "cut": portrait[:120, 40:],
        "small": portrait[::4, ::4],
        "upside down": portrait[::-1],
        "three": mosaic,
        "nobody": mosaic[200:],
    }


def frames(clip):
    """The first frame of each second of a clip."""
    with av.open(str(clip)) as container:
        return [f.to_ndarray(format="rgb24") for k, f in enumerate(container.decode(video=0)) if k % 25 == 0]


def assert_same(faces, expected):
    """Compare with the original's faces, both by falling probability, to a tenth of a pixel."""
    assert len(faces.boxes) == len(expected["boxes"])
    np.testing.assert_allclose(faces.boxes, np.reshape(expected["boxes"], (-1, 4)), atol=0.1)
    np.testing.assert_allclose(faces.landmarks, np.reshape(expected["landmarks"], (-1, 5, 2)), atol=0.1)
    np.testing.assert_allclose(faces.probabilities, expected["probabilities"], atol=1e-3)


@pytest.mark.parametrize("name", EXPECTED["photographs"])
def test_photographs_as_the_original(portrait, name):
    (faces,) = detect(np.ascontiguousarray(photographs(portrait)[name])[None])
    assert_same(faces, EXPECTED["photographs"][name])


@pytest.mark.skipif(FOOTAGE is None, reason="AVLOC_FOOTAGE names no folder of real clips")
@pytest.mark.parametrize("name", EXPECTED["footage"])
def test_footage_as_the_original(name):
    clips = list(Path(FOOTAGE or "").rglob(name))
    if not clips:
        pytest.skip(f"{name} is not in the folder")
    for faces, expected in zip(detect(np.stack(frames(clips[0]))), EXPECTED["footage"][name], strict=True):
        assert_same(faces, expected)


def test_pictures_do_not_change_each_other(portrait):
    noise = np.random.default_rng(1).integers(0, 255, portrait.shape, dtype=np.uint8)
    pictures = np.stack([portrait, noise, portrait[:, ::-1], portrait // 3])
    together, alone = detect(pictures), [detect(picture[None])[0] for picture in pictures]
    assert [len(faces.boxes) for faces in together] == [1, 0, 1, 1]
    for a, b in zip(together, alone, strict=True):
        for values, expected in zip(a, b, strict=True):
            np.testing.assert_allclose(values, expected, atol=1e-2)
    assert detect(pictures[:0]) == []


@pytest.mark.parametrize("shape", [(11, 40), (12, 12), (23, 300), (2, 2)])
def test_tiny_pictures_have_no_face(shape):
    (faces,) = detect(np.full((1, *shape, 3), 128, np.uint8))
    assert [values.shape for values in faces] == [(0, 4), (0,), (0, 5, 2)]


def test_smallest_face_is_a_limit(portrait):
    assert [len(detect(portrait[None], smallest)[0].boxes) for smallest in (20, 60, 170)] == [1, 1, 0]


def test_left_comes_before_right(portrait):
    eyes_and_mouth = detect(portrait[None])[0].landmarks[0]
    assert eyes_and_mouth[0, 0] < eyes_and_mouth[1, 0]
    assert eyes_and_mouth[3, 0] < eyes_and_mouth[4, 0]
    assert (np.diff(eyes_and_mouth[[0, 2, 3], 1]) > 0).all()


@pytest.mark.parametrize("size", [(3, 5), (24, 24), (1, 1)])
def test_resampling_equals_adaptive_pooling(size):
    pictures = torch.randint(0, 256, (2, 19, 31, 3), dtype=torch.uint8)
    boxes = torch.tensor([[0, 0, 31, 19], [3, 2, 4, 3], [7, 5, 30, 12], [30, 0, 31, 19]])
    picture = torch.tensor([0, 1, 1, 0])
    resampled = AreaTable(pictures).resample(picture, boxes, *size)
    for k, (left, top, right, bottom) in enumerate(boxes.tolist()):
        piece = pictures[picture[k], top:bottom, left:right].permute(2, 0, 1)[None].float()
        expected = torch.nn.functional.adaptive_avg_pool2d(piece, size)[0]
        torch.testing.assert_close(resampled[k], expected, rtol=1e-5, atol=1e-4)


def test_sums_of_large_pictures_do_not_overflow():
    white = torch.full((1, 2900, 2910, 3), 255, dtype=torch.uint8)
    whole = torch.tensor([[0, 0, 2910, 2900]])
    assert AreaTable(white).resample(torch.tensor([0]), whole, 2, 2).unique().tolist() == [255]


def test_networks_have_the_papers_shapes():
    p_net, r_net, o_net = networks()
    assert [tuple(v.shape) for v in p_net(torch.zeros(2, 3, 12, 14))] == [(2, 1, 2), (2, 4, 1, 2)]
    assert [tuple(v.shape) for v in r_net(torch.zeros(2, 3, 24, 24))] == [(2,), (2, 4)]
    assert [tuple(v.shape) for v in o_net(torch.zeros(2, 3, 48, 48))] == [(2,), (2, 4), (2, 10)]
    assert sum(a.numel() for n in (p_net, r_net, o_net) for a in n._arrays.values()) == 6632 + 100178 + 389040
    assert Network("rnet", (3, 3, 0)).heads == ["dense5_1", "dense5_2"]


def test_boxes_within_a_more_probable_one_are_left_out():
    boxes = torch.tensor([[0.0, 0, 99, 99], [10, 10, 49, 49], [60, 60, 159, 159], [10, 10, 49, 49]])
    probability, picture = torch.tensor([0.8, 0.9, 0.95, 0.7]), torch.tensor([0, 0, 0, 1])
    assert _outermost(boxes, probability, picture, 0.7).tolist() == [2, 1, 3]

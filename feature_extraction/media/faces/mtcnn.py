"""Pictures > a pyramid > P-Net's boxes > R-Net's > O-Net's: boxes, probabilities and five landmarks per face.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint face detection and alignment using multitask cascaded convolutional networks", IEEE
Signal Processing Letters 23(10), 2016, with the weights and the conventions of facenet-pytorch 2.6.0 (`weights/CREDITS.md`), so
that boxes are the same to a fraction of a pixel. Deviations: all resampling is done on one summed-area table per batch, for all
boxes at once; boxes without any pixel are dropped; the original raises an error.

Legend: B pictures, N boxes (of all pictures), H height, W width.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from avloc.feature_extraction.media.cropping import Pixels

SMALLEST_FACE = 20  # pixels
CELL, CELL_STRIDE = 12, 2  # pixels: P-Net's field of view, and the distance between two of its outputs
PYRAMID_FACTOR = 0.709  # half the area per level
PROBABILITIES = (0.6, 0.7, 0.7)  # lowest ones that the three networks let pass
OVERLAPS = (
    0.5,
    0.7,
    0.7,
    0.7,
)  # largest ones of P-Net's boxes on a level, of those of all levels, of R-Net's, of O-Net's
R_SIDE, O_SIDE = 24, 48  # pixels of the networks' inputs
BOXES_AT_ONCE = 512  # boxes per pass


class Faces(NamedTuple):
    """The faces in one picture, in its pixels, the most probable first.

    Attributes:
        boxes: left, top, right, bottom (N, 4); maybe beyond the picture's edges.
        probabilities: (N,).
        landmarks: x and y of the eyes, the tip of the nose, and the corners of the mouth, left before right (N, 5, 2).
    """

    boxes: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    landmarks: npt.NDArray[np.float32]


class Network:
    """One of the three networks: convolutions > maybe a dense layer > a head per output.

    Args:
        name: `pnet`, `rnet` or `onet`.
        pools: the width of the max-pooling after each convolution, of stride 2; 0: none.
    """

    def __init__(self, name: str, pools: tuple[int, ...]) -> None:
        with resources.as_file(resources.files(__package__) / "weights" / "mtcnn.npz") as path, np.load(path) as file:
            arrays = {key.removeprefix(f"{name}."): torch.from_numpy(file[key]) for key in file if key.startswith(name)}
        self.pools, self._arrays = pools, arrays
        self.heads = sorted({key.split(".")[0] for key in arrays if "_" in key})

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self._arrays[f"{name}.weight"], self._arrays[f"{name}.bias"]

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """Run the network on pixels (B, 3, H, W) in 0 … 255.

        Returns:
            The probability of a face (B[, H', W']), the corrections of its box (B, 4[, H', W']), and of O-Net x and y of the
            landmarks (B, 10); both relative to the box.
        """
        x = (pixels - 127.5) / 128
        for k, pool in enumerate(self.pools, 1):
            x = F.prelu(F.conv2d(x, *self._layer(f"conv{k}")), self._arrays[f"prelu{k}.weight"])
            x = F.max_pool2d(x, pool, 2, ceil_mode=True) if pool else x
        dense = f"dense{len(self.pools) + 1}"
        if f"{dense}.weight" in self._arrays:  # its columns are in the order W', H', channels
            x = F.linear(x.transpose(1, 3).flatten(1), *self._layer(dense))
            x = F.prelu(x, self._arrays[f"{dense.replace('dense', 'prelu')}.weight"])
        apply = F.conv2d if x.ndim == 4 else F.linear
        classes, *others = (apply(x, *self._layer(head)) for head in self.heads)
        return [classes.softmax(dim=1)[:, 1], *others]


@cache
def networks() -> tuple[Network, Network, Network]:
    """P-Net, R-Net and O-Net."""
    return Network("pnet", (2, 0, 0)), Network("rnet", (3, 3, 0)), Network("onet", (3, 3, 2, 0))


class AreaTable:
    """A summed-area table of pictures, which resamples any boxes by averaging.

    Args:
        pictures: (B, H, W, 3) uint8.
    """

    def __init__(self, pictures: Tensor) -> None:
        self.height, self.width = pictures.shape[1:3]
        fits = self.height * self.width * 255 < 2**31
        sums = pictures.cumsum(1, dtype=torch.int32 if fits else torch.int64)
        sums = F.pad(sums.cumsum(2, dtype=sums.dtype), (0, 0, 1, 0, 1, 0))
        self._sums = sums.flatten(0, 2)  # B · (H + 1) · (W + 1), 3

    def resample(self, picture: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
        """Resample boxes.

        Args:
            picture: the index of each box's picture (N,).
            boxes: left, top, right, bottom in whole pixels (N, 4), right and bottom exclusive, none empty.
            height: of the result.
            width: of the result.

        Returns:
            The means of the pixels that each new pixel touches (N, 3, height, width), as `adaptive_avg_pool2d` has them.
        """
        left, top, right, bottom = boxes.unbind(1)
        upper, lower = _bins(top, bottom, height)[..., None]  # N, height, 1
        first, last = _bins(left, right, width)[:, :, None]  # N, 1, width
        areas = (lower - upper) * (last - first)  # N, height, width
        offset = (picture * (self.height + 1))[:, None, None]
        upper, lower = (upper + offset) * (self.width + 1), (lower + offset) * (self.width + 1)
        sums = (
            self._at(lower + last)
            .sub_(self._at(lower + first))
            .sub_(self._at(upper + last))
            .add_(self._at(upper + first))
        )
        return (sums / areas.view(-1, 1)).view(*areas.shape, 3).permute(0, 3, 1, 2)  # channels last in memory: faster

    def _at(self, index: Tensor) -> Tensor:
        return self._sums.index_select(0, index.view(-1))


def _bins(begin: Tensor, end: Tensor, count: int) -> Tensor:
    """Begins and ends of `count` bins that cover [begin, end), whole pixels: (2, N, count).

    >>> _bins(torch.tensor([1]), torch.tensor([4]), 2).tolist()
    [[[1, 2]], [[3, 4]]]
    """
    steps, length = torch.arange(count), (end - begin)[:, None]
    first = steps * length // count
    last = ((steps + 1) * length + count - 1) // count
    return begin[:, None] + torch.stack([first, last])


@torch.inference_mode()
def detect(pictures: Pixels, smallest_face: float = SMALLEST_FACE) -> list[Faces]:
    """Detect the faces in pictures of one size.

    Args:
        pictures: RGB (B, H, W, 3).
        smallest_face: the shortest side of a face that is searched for, in pixels.
    """
    table = AreaTable(torch.from_numpy(pictures))
    boxes, picture = _propose(table, len(pictures), CELL / smallest_face)
    boxes, picture = _refine(table, boxes, picture)
    boxes, picture, probability, landmarks = _output(table, boxes, picture)
    faces = []
    for k in range(len(pictures)):
        of_picture = picture == k
        faces.append(Faces(boxes[of_picture].numpy(), probability[of_picture].numpy(), landmarks[of_picture].numpy()))
    return faces


def _propose(table: AreaTable, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """P-Net on each level of the pyramid: squares (N, 4), and the pictures they are of (N,)."""
    whole = torch.tensor([[0, 0, table.width, table.height]]).expand(count, -1)
    parts = [(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]
    while min(table.height, table.width) * scale >= CELL:
        height, width = int(table.height * scale + 1), int(table.width * scale + 1)
        level = table.resample(torch.arange(count), whole, height, width)
        probability, correction = networks()[0](level)
        picture, row, column = (probability >= PROBABILITIES[0]).nonzero(as_tuple=True)
        corner = CELL_STRIDE * torch.stack([column, row], dim=1).float() + 1
        boxes = torch.cat([(corner / scale).floor(), ((corner + CELL - 1) / scale).floor()], dim=1)
        score = probability[picture, row, column]
        kept = batched_nms(boxes, score, picture, OVERLAPS[0])
        parts.append((boxes[kept], score[kept], correction[picture, :, row, column][kept], picture[kept]))
        scale *= PYRAMID_FACTOR
    boxes, score, correction, picture = (torch.cat(values) for values in zip(*parts, strict=True))
    kept = batched_nms(boxes, score, picture, OVERLAPS[1])
    boxes, correction = boxes[kept], correction[kept]
    return _square(boxes + correction * _sides(boxes)), picture[kept]


def _refine(table: AreaTable, boxes: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """R-Net on each square: the squares of the faces among them, and the pictures they are of."""
    boxes, picture, (probability, correction) = _look_into(table, boxes, picture, networks()[1], R_SIDE)
    passed = probability > PROBABILITIES[1]
    boxes, picture, probability, correction = (v[passed] for v in (boxes, picture, probability, correction))
    kept = batched_nms(boxes, probability, picture, OVERLAPS[2])
    boxes = boxes[kept]
    return _square(boxes + correction[kept] * (_sides(boxes) + 1)), picture[kept]


def _output(table: AreaTable, boxes: Tensor, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """O-Net on each square: boxes, pictures, probabilities and landmarks (N, 5, 2) of the faces, the most probable first."""
    boxes, picture, (probability, correction, relative) = _look_into(table, boxes, picture, networks()[2], O_SIDE)
    passed = probability > PROBABILITIES[2]
    boxes, picture, probability, correction, relative = (
        values[passed] for values in (boxes, picture, probability, correction, relative)
    )
    sides = _sides(boxes) + 1
    points = relative.reshape(-1, 2, 5).transpose(1, 2)  # N, 5, 2
    landmarks = boxes[:, None, :2] + points * sides[:, None, :2] - 1
    boxes = boxes + correction * sides
    kept = _outermost(boxes, probability, picture, OVERLAPS[3])
    return boxes[kept], picture[kept], probability[kept], landmarks[kept]


def _look_into(
    table: AreaTable, boxes: Tensor, picture: Tensor, network: Network, side: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run a network on squares: those that have pixels, the pictures they are of, and the network's outputs."""
    left_top = boxes[:, :2].trunc().long().clamp(min=1) - 1
    limits = torch.tensor([table.width, table.height])
    right_bottom = boxes[:, 2:].trunc().long().minimum(limits)
    has_pixels = (right_bottom > left_top).all(dim=1)
    boxes, picture = boxes[has_pixels], picture[has_pixels]
    whole = torch.cat([left_top, right_bottom], dim=1)[has_pixels]
    outputs = []
    for begin in range(0, max(1, len(boxes)), BOXES_AT_ONCE):
        part = slice(begin, begin + BOXES_AT_ONCE)
        outputs.append(network(table.resample(picture[part], whole[part], side, side)))
    return boxes, picture, [torch.cat(values) for values in zip(*outputs, strict=True)]


def _sides(boxes: Tensor) -> Tensor:
    """Width, height, width and height of boxes: (N, 4)."""
    return (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """Widen each box to a square around its middle: (N, 4)."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = _sides(boxes).amax(dim=1, keepdim=True) / 2
    return torch.cat([middle - half, middle + half], dim=1)


def _outermost(boxes: Tensor, probability: Tensor, picture: Tensor, overlap: float) -> Tensor:
    """The boxes that lie in no more probable one of their picture by more than `overlap`, by falling probability: indices (N,).

    The overlap of two boxes is relative to the smaller one.
    """
    order = probability.argsort(descending=True)
    boxes, picture = boxes[order], picture[order]
    left_top = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    right_bottom = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (right_bottom - left_top + 1).clamp(min=0).prod(dim=2)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(dim=1)
    overlaps = shared / torch.minimum(areas[:, None], areas[None, :]) > overlap
    overlaps &= picture[:, None] == picture[None, :]
    kept: list[int] = []
    for k in range(len(boxes)):
        if not overlaps[k, kept].any():
            kept.append(k)
    return order[kept]

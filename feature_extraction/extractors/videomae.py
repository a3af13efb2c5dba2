"""VideoMAE: frames > sliding windows > tubelets > a transformer > the mean of its tokens, one vector per hop.

Tong et al., "VideoMAE: masked autoencoders are data-efficient learners for self-supervised video pre-training", NeurIPS 2022.

Legend: B windows, W frames of a window, S the side of a frame, C width.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Parameters
from avloc.feature_extraction.extractors.pretrained import folder_sha256, model_folder
from avloc.feature_extraction.extractors.video import IMAGENET, Colour, WindowNetwork
from avloc.io.files import read_json
from avloc.io.pretrained import read_pretrained

if TYPE_CHECKING:
    import torch


class VideoMAE(WindowNetwork):
    """The mean of a window's tokens, after the last layer's norm if the network has one: `hidden_size` numbers.

    The window, the picture's size and its colours come from the network: 16 frames of 224 × 224 for the published ones.

    Args:
        weights: a folder as transformers saves it, or a name in the local Hugging Face cache; nothing is downloaded.
        stride: frames per step.
        batch: windows per forward pass.
        crop: `none` (the whole picture, squeezed), `center`, `face` or `mouth`.

    Raises:
        AvlocError: if the folder is missing, or holds another network.
    """

    name = "videomae"

    def __init__(
        self, *, weights: str = "MCG-NJU/videomae-base", stride: int = 4, batch: int = 8, crop: str = "none"
    ) -> None:
        self.folder = model_folder(weights, self.name)
        config = self._read("config.json")
        if config.get("model_type") != "videomae":
            raise AvlocError(f"{self.folder}: not a VideoMAE network but {config.get('model_type')!r}")
        self.side = _number(config.get("image_size", 224), f"{self.folder}: image_size")
        self.dim = _number(config.get("hidden_size", 768), f"{self.folder}: hidden_size")
        window = _number(config.get("num_frames", 16), f"{self.folder}: num_frames")
        self._set_windows(window=window, stride=stride, batch=batch, crop=crop)
        self.colours = self._colours()

    def _read(self, file: str) -> dict[str, Any]:
        settings = read_json(self.folder / file, "configuration of transformers")
        if not isinstance(settings, dict):
            raise AvlocError(f"{self.folder / file}: not a configuration of transformers")
        return settings

    def _colours(self) -> tuple[Colour, Colour]:
        file = "preprocessor_config.json"
        settings = self._read(file) if (self.folder / file).is_file() else {}
        mean, deviation = (
            settings.get(key, default) for key, default in zip(("image_mean", "image_std"), IMAGENET, strict=True)
        )
        try:
            (a, b, c), (d, e, f) = (map(float, values) for values in (mean, deviation))
        except (TypeError, ValueError) as error:
            raise AvlocError(
                f"{self.folder / file}: expected three numbers each as image_mean and image_std"
            ) from error
        return (a, b, c), (d, e, f)

    def parameters(self) -> Parameters:
        return {"stride": self.stride, "crop": self.crop}

    @cached_property
    def _sha256(self) -> str:
        return folder_sha256(self.folder)

    def weights_sha256(self) -> str:
        return self._sha256

    def _load(self) -> torch.nn.Module:
        from transformers import VideoMAEModel

        network: torch.nn.Module = read_pretrained(VideoMAEModel, self.folder, "VideoMAE")
        return network

    def _forward(self, windows: torch.Tensor) -> torch.Tensor:
        tokens = self.network(windows.permute(0, 1, 4, 2, 3)).last_hidden_state  # B, tokens, C
        return tokens.mean(dim=1)


def _number(value: Any, what: str) -> int:
    """Read a whole number of a configuration, also from a pair of equal ones."""
    if isinstance(value, (list, tuple)) and len(set(value)) == 1:
        value = value[0]
    if not isinstance(value, int) or value < 1:
        raise AvlocError(f"{what} must be a whole number from 1 on, got {value!r}")
    return value

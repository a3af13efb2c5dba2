"""Extractors whose rows a network makes, of weights in a local file: where they come from, and where the network runs."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor
from avloc.io.files import file_sha256

if TYPE_CHECKING:
    import torch

PRECISIONS = {"32": "float32", "bf16": "bfloat16", "16": "float16"}


class NetworkExtractor(Extractor):
    """The base of all that run a network; subclasses build it in `_load` and run it in `rows`.

    Attributes:
        device: where it runs, set by `to`.
        precision: 32, or mixed with bf16 or 16 bits.
        pulse: called after each pass of the network: a sign of life, for slow networks take minutes for a long clip.
    """

    runs_network = True
    pulse: Callable[[], object] = staticmethod(lambda: None)
    device: str = "cpu"
    precision: str = "32"

    def to(self, device: str, precision: str = "32") -> None:
        """Run there from now on.

        Raises:
            AvlocError: if there is no such device or precision.
        """
        import torch

        if precision not in PRECISIONS:
            raise AvlocError(f"the precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        try:
            torch.zeros(0, device=device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise AvlocError(f"no device {device!r} here ({str(error).splitlines()[0]})") from error
        self.device, self.precision = device, precision
        if "network" in self.__dict__:
            self.network.to(device)

    def load(self) -> None:
        _ = self.network

    @cached_property
    def network(self) -> Any:
        """The network, in evaluation mode, on the device."""
        return self._load().eval().requires_grad_(False).to(self.device)

    @abstractmethod
    def _load(self) -> torch.nn.Module:
        """Build the network and read its weights; an AvlocError if they cannot be used."""

    @contextlib.contextmanager
    def running(self) -> Any:
        """Without gradients, and in the chosen precision."""
        import torch

        mixed = self.precision != "32"
        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, getattr(torch, PRECISIONS[self.precision]), enabled=mixed):
            yield
        self.pulse()

    def on_device(self, data: torch.Tensor) -> torch.Tensor:
        """A tensor on the device; the copy does not wait where it need not."""
        if self.device == "cpu":
            return data
        return data.pin_memory().to(self.device, non_blocking=True)

    def describe(self) -> dict[str, Any]:
        return super().describe() | ({} if self.precision == "32" else {"precision": self.precision})


class LocalWeights(NetworkExtractor):
    """A network of one weights file, or of random weights if that is asked for explicitly.

    Args:
        weights: the file; nothing is downloaded.
        random: use random weights (of a fixed seed), for tests of the pipeline.
    """

    def __init__(self, weights: str | None, random: bool = False) -> None:
        if (weights is None) == (not random):
            raise AvlocError(
                f"{self.name} needs a local weights file (weights=PATH), or random=true for random weights"
            )
        if weights is not None and not Path(weights).is_file():
            raise AvlocError(f"{weights}: no such weights file for {self.name}")
        self.weights, self.random = weights, random

    @cached_property
    def _sha256(self) -> str | None:
        return None if self.weights is None else file_sha256(Path(self.weights))

    def weights_sha256(self) -> str | None:
        return self._sha256

"""Bases of extractors that run a network: its device and precision, and weights from a local file."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.core.descriptions import ExtractorDescription
from avloc.errors import AvlocError, one_line
from avloc.feature_extraction.extractors.base import Extractor
from avloc.io.files import file_sha256

if TYPE_CHECKING:
    import torch

DEVICES = "want cpu, cuda, or one of several GPUs as cuda:1"
PRECISIONS = {"32": "float32", "bf16": "bfloat16", "16": "float16"}


def require_device(device: str) -> str:
    """Check that a device can be used, and return it.

    Args:
        device: as PyTorch names it.

    Raises:
        AvlocError: if PyTorch does not know or see it.

    >>> require_device("cpu")
    'cpu'
    """
    import torch

    try:
        torch.device(device)
    except RuntimeError as error:  # its message lists devices that nobody has
        raise AvlocError(f"device {device!r} cannot be used here: unknown, {DEVICES}") from error
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        reason = one_line(error).partition(". ")[0]
        raise AvlocError(f"device {device!r} cannot be used here: {reason}; {DEVICES}") from error
    return device


class NetworkExtractor(Extractor):
    """The base of extractors that run a network; subclasses build it in `_load` and run it in `rows`.

    Attributes:
        device: the device that the network runs on, set by `to`.
        precision: `32`, or mixed precision with `bf16` or `16`.
        pulse: called after each pass of the network as a sign of life, because a slow network takes minutes per clip.
    """

    runs_network = True
    pulse: Callable[[], object] = staticmethod(lambda: None)
    device: str = "cpu"
    precision: str = "32"

    def to(self, device: str, precision: str = "32") -> None:
        """Move the network to a device, and set its precision.

        Raises:
            AvlocError: if the device or the precision does not exist.
        """
        if precision not in PRECISIONS:
            raise AvlocError(f"the precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.device, self.precision = require_device(device), precision
        if "network" in self.__dict__:
            self.network.to(device)

    def load(self) -> None:
        _ = self.network

    @cached_property
    def network(self) -> Any:
        """The network, in evaluation mode, on the device; loaded on first use."""
        return self._load().eval().requires_grad_(False).to(self.device)

    @abstractmethod
    def _load(self) -> torch.nn.Module:
        """Build the network and read its weights.

        Raises:
            AvlocError: if the weights cannot be used.
        """

    @contextlib.contextmanager
    def running(self) -> Any:
        """A context for one pass of the network: no gradients, the chosen precision, and a pulse at its end."""
        import torch

        mixed = self.precision != "32"
        kind = torch.device(self.device).type
        _ = self.network  # before the context: weights made in inference mode can never leave their device
        with torch.inference_mode(), torch.autocast(kind, getattr(torch, PRECISIONS[self.precision]), enabled=mixed):
            yield
        self.pulse()

    def on_device(self, data: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to the device, asynchronously from pinned memory."""
        if self.device == "cpu":
            return data
        return data.pin_memory().to(self.device, non_blocking=True)

    def describe(self) -> ExtractorDescription:
        return replace(super().describe(), precision=self.precision)


class LocalWeights(NetworkExtractor):
    """A network with weights from one local file, or with random ones on explicit request.

    Args:
        weights: the file; nothing is downloaded.
        random: use random weights (of a fixed seed), for tests of the pipeline.

    Raises:
        AvlocError: unless exactly one of the two is given, or if the file is missing.
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

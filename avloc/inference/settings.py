"""`LocalizerSettings`: a network and how to run it, as plain values that can be sent to other processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.feature_extraction.extractors.base import Extractor
    from avloc.feature_extraction.media.types import Span
    from avloc.inference.localizer import Localizer


@dataclass(frozen=True, slots=True)
class LocalizerSettings:
    """The arguments of `Localizer.from_checkpoint`, or those of `load_packaged`. Making one imports and reads nothing.

    Attributes:
        checkpoint: the checkpoint; None: the networks of the package.
        network: the class of the network or its dotted name, if it is the user's own.
        own_extractors: the same for the user's own extractors.
        weights: by extractor, the file of its weights.
        device: device of the network.
        precision: `32`, `bf16` or `16`.
        decoding: decoding of boundary maps; None: the checkpoint's own.
        streams: `both`, `audio` or `visual`, of the package's networks; None: the one for the streams that a clip has.

    >>> LocalizerSettings("best.ckpt").device
    'cpu'
    """

    checkpoint: str | Path | None = None
    network: type[Any] | str | None = None
    own_extractors: Sequence[type[Extractor] | str] = ()
    weights: Mapping[str, str | Path] = field(default_factory=dict)
    device: str = "cpu"
    precision: str = "32"
    decoding: str | None = None
    streams: str | None = None

    @property
    def file(self) -> Path:
        """The checkpoint's file; for the networks of the package, that of the one for both streams unless another is named."""
        if self.checkpoint is not None:
            return Path(self.checkpoint).expanduser()
        from avloc.models.packaged import packaged_checkpoint

        return packaged_checkpoint(self.streams or "both")

    def network_hashes(self) -> tuple[str, ...]:
        """Return the hashes of the networks that may judge a clip: one, or that of each network of the package.

        Raises:
            AvlocError: if the checkpoint cannot be read, or no such network exists.
        """
        if self.checkpoint is not None:
            from avloc.models.checkpoint import read_checkpoint

            descriptions = [read_checkpoint(self.checkpoint).description]
        else:
            from avloc.models.packaged import STREAMS, packaged_description

            names = STREAMS if self.streams is None else (self.streams,)
            descriptions = [packaged_description(streams) for streams in names]
        return tuple(description.sha256 for description in descriptions if description is not None)

    def recorded(self, *, span: Span, prior: float, keep: int = 100) -> dict[str, object]:
        """Return the settings of a localization that change its result, as JSON values; its record keeps them.

        Args:
            span: the part of the clip, and the audio track.
            prior: the probability that a clip is forged, before the network is asked.
            keep: at most this many segments per 40 s of a clip; by default as many as `Localizer.localize` keeps.

        >>> from avloc.feature_extraction.media.types import WHOLE
        >>> LocalizerSettings(streams="audio").recorded(span=WHOLE, prior=0.5)["streams"]
        'audio'
        """
        return {
            "streams": self.streams,
            "precision": self.precision,
            "decoding": self.decoding,
            "keep": keep,
            "start": span.start_s,
            "end": None if math.isinf(span.end_s) else span.end_s,
            "audio_track": span.audio_track,
            "prior": prior,
        }

    def check(self) -> None:
        """Check that the options go together.

        Raises:
            AvlocError: if one of them would have no effect.
        """
        if self.checkpoint is not None and self.streams is not None:
            raise AvlocError("--streams chooses among the networks of the package; leave it out with a --checkpoint")
        options = {"network": self.network, "extractor": self.own_extractors, "weights": self.weights}
        unused = next((f"--{name}" for name, value in options.items() if value), None)
        if self.checkpoint is None and unused is not None:
            raise AvlocError(f"{unused} belongs to a checkpoint of your own; name it with --checkpoint")

    def load(self) -> Localizer:
        """Load the network on its device.

        Raises:
            AvlocError: if the device cannot be used, the options do not go together, or the checkpoint cannot be loaded.
        """
        from avloc.feature_extraction.extractors.network import require_device
        from avloc.inference.localizer import Localizer
        from avloc.inference.packaged import load_packaged

        self.check()
        device = require_device(self.device)
        if self.checkpoint is None and self.decoding is None:
            return load_packaged(self.streams, device=device, precision=self.precision)
        return Localizer.from_checkpoint(
            self.file,
            device=device,
            weights=self.weights,
            precision=self.precision,
            decoding=self.decoding,
            network=self.network,
            own_extractors=self.own_extractors,
        )

    def load_for_work(self, pulse: Callable[[], None]) -> Localizer:
        """Load the checkpoint and all that decoding needs, in a process of a pool.

        Args:
            pulse: called during long work.

        Raises:
            AvlocError: as `load`, or if an extractor lacks its weights.
        """
        localizer = self.load()
        localizer.source.prepare(pulse)
        localizer.pulse = pulse
        return localizer

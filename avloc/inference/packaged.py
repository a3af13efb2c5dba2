"""The networks of the package > one localizer, which sends each clip to the network for the streams that it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.core.records import MODALITIES
from avloc.feature_extraction.media.arrays import ClipArrays
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import NO_STREAM, WHOLE, MediaInfo, Span
from avloc.inference.localizer import LocalizationProgress, Localizer
from avloc.models.packaged import packaged_checkpoint

if TYPE_CHECKING:
    from avloc.heads.candidates import PointDecoding
    from avloc.localization.result import Localization


def load_packaged(streams: str | None = None, *, device: str = "cpu", precision: str = "32") -> Localizer:
    """Load the networks that come with avloc. Their descriptions tell the little that they were trained on (`scope`).

    Args:
        streams: `both`, `audio` or `visual`: judge these streams of every clip; None: those that the clip has.
        device: device of the networks.
        precision: see `Localizer`.

    Raises:
        AvlocError: if no such network exists, or the precision is unknown.

    >>> load_packaged("audio")
    Localizer(BoundaryTransformer on cpu, precision 32, calibrated)
    """
    if streams is None:
        return PackagedLocalizer(device, precision)
    return Localizer.from_checkpoint(packaged_checkpoint(streams), device=device, precision=precision)


class PackagedLocalizer(Localizer):
    """The package's network for both streams; a clip that has only one goes to the network that was trained on that stream.

    That network's calibration and operating point were fitted on one stream. It is loaded when it is first needed.
    `run` judges all examples by the network for both streams, whose training left out a stream of some clips.

    Args:
        device: device of the networks.
        precision: see `Localizer`.
    """

    def __init__(self, device: str = "cpu", precision: str = "32") -> None:
        both = Localizer.from_checkpoint(packaged_checkpoint(), device=device, precision=precision)
        super().__init__(both.model, both.source, device, precision, both.calibration, both.description)
        self.file = both.file
        self._single_stream: dict[str, Localizer] = {}
        self._decoding: PointDecoding | None = None

    def localize(
        self,
        clip: str | Path | ClipArrays,
        *,
        keep: int = 100,
        span: Span = WHOLE,
        preview: bool = False,
        info: MediaInfo | None = None,
        progress: LocalizationProgress | None = None,
    ) -> Localization:
        """Find the fake segments of one clip by the network for its streams; see `Localizer.localize`."""
        if not isinstance(clip, ClipArrays):
            clip = Path(clip).expanduser()
            info = probe(clip, self.pulse) if info is None else info
        modality = only_stream(clip, info)
        localize = super().localize if modality is None else self._for_stream(modality).localize
        localization = localize(clip, keep=keep, span=span, preview=preview, info=info, progress=progress)
        if modality is None:
            return localization
        absent = next(m for m in MODALITIES if m != modality)
        problems = (info.problems if info is not None else ()) or (NO_STREAM[absent],)
        return replace(
            localization,
            problems=tuple(dict.fromkeys((*problems, *localization.problems))),
            unjudged={absent: "; ".join(problems)},
        )

    def set_decoding(self, decoding: PointDecoding) -> None:
        """Set the decoding of the candidates of all networks; see `Localizer.set_decoding`."""
        super().set_decoding(decoding)
        self._decoding = decoding
        for localizer in self._single_stream.values():
            localizer.set_decoding(decoding)

    def _for_stream(self, modality: str) -> Localizer:
        if modality not in self._single_stream:
            single = load_packaged(modality, device=self.device, precision=self.precision)
            if self._decoding is not None:
                single.set_decoding(self._decoding)
            self._single_stream[modality] = single
        localizer = self._single_stream[modality]
        localizer.pulse = self.pulse
        return localizer


def only_stream(clip: Path | ClipArrays, info: MediaInfo | None) -> str | None:
    """Return the modality of a clip that has one stream only; None for a clip with both, or with none.

    Args:
        clip: a file, or a clip in memory.
        info: the file's header.

    >>> import numpy as np
    >>> only_stream(ClipArrays(samples=np.zeros(1600, np.float32)), None)
    'audio'
    """
    if isinstance(clip, ClipArrays):
        exists = (clip.samples is not None, clip.frames is not None)
    else:
        exists = (info is not None and info.sample_rate is not None, info is not None and info.width is not None)
    present = [modality for modality, stream_exists in zip(MODALITIES, exists, strict=True) if stream_exists]
    return present[0] if len(present) == 1 else None

"""The trained front end of a checkpoint as an extractor: samples or mouths > embeddings, for any network on cached features.

A front end that learned with a network (`avloc.models.front_ends`) is thereby cached once and read many times: by ablations of
later layers, and by fusions. Rows are the encoder's embeddings, before the network interpolates them to steps and convolves them.

Gaps in the decoded sound and pictures are an exception: the network masks them, but an extractor gets the decoder's silence and
repeated frames. Rows of a gap are marked as absent either way, but rows beside it, and norms over the clip, differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

from avloc.core.records import MODALITIES
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, FeatureArray, Parameters, Stream
from avloc.feature_extraction.extractors.network import LocalWeights
from avloc.feature_extraction.media.types import VideoFormat

if TYPE_CHECKING:
    import torch

    from avloc.models.front_ends.front_end import FrontEnd

RAW = ("waveform", "mouth")
TRAINED_ON = ("version", "hop_s", "dim", "dtype")
CONTEXT_S = 2.0  # on each side of a row in a window of a long clip; norms and attention see the whole window


class CheckpointFrontEnd(LocalWeights):
    """A front end of a checkpoint that `avloc train` wrote.

    Its name in a store is `checkpoint_audio` or `checkpoint_visual`: a store can hold both front ends of a network.

    Args:
        weights: the checkpoint.
        modality: of the front end, `audio` or `visual`.

    Raises:
        AvlocError: if the file or the modality is missing; on use, if the network has learned no front end of that modality, or
            on rows that this version extracts otherwise.
    """

    name = "checkpoint"
    receptive_field_s = 2 * CONTEXT_S

    def __init__(self, *, weights: str, modality: str = "audio") -> None:
        super().__init__(weights)
        if modality not in MODALITIES:
            raise AvlocError(
                f"extractor {self.name}: modality must be one of {', '.join(MODALITIES)}, got {modality!r}"
            )
        self.modality = modality
        self.name = f"checkpoint_{modality}"

    def parameters(self) -> Parameters:
        return {"modality": self.modality}

    @cached_property
    def _outline(self) -> tuple[FrontEnd, Extractor]:
        """The front end without weights, which takes no memory, and the extractor of the rows that it takes.

        Workers that decode for a network in another process need no more.
        """
        import torch

        from avloc.feature_extraction.extractors.catalog import build_extractor
        from avloc.models.catalog import build_model
        from avloc.models.checkpoint import read_outline
        from avloc.models.front_ends.catalog import find_front_end

        checkpoint = read_outline(str(self.weights))
        with torch.device("meta"):
            front_end = find_front_end(build_model(checkpoint.model, checkpoint.arguments), self.modality)
        raw = [e for e in checkpoint.context.extractors if e.modality == self.modality and e.name in RAW]
        if front_end is None or not raw or checkpoint.context.modality not in (None, self.modality):
            raise AvlocError(f"{self.weights}: its network has no front end for the {self.modality} stream")
        extractor = build_extractor(raw[0].name, raw[0].parameters)
        for attribute in TRAINED_ON:
            expected, got = getattr(raw[0], attribute), getattr(extractor, attribute)
            if got != expected:
                raise AvlocError(
                    f"{self.weights}: its front end learned from rows of {raw[0].name} whose {attribute} was {expected}, it is "
                    f"{got} here; train it again"
                )
        self.decoder = raw[0].decoder
        return front_end, extractor

    def _load(self) -> torch.nn.Module:
        from avloc.models.catalog import build_model
        from avloc.models.checkpoint import load_weights, read_checkpoint
        from avloc.models.front_ends.catalog import find_front_end

        _ = self._outline  # checks that the network has a front end, and of which rows
        checkpoint = read_checkpoint(str(self.weights))
        model = build_model(checkpoint.model, checkpoint.arguments)
        load_weights(model, checkpoint)
        return cast("torch.nn.Module", find_front_end(model, self.modality))

    @property
    def _raw(self) -> Extractor:
        return self._outline[1]

    @property
    def video_format(self) -> VideoFormat | None:
        return None if self.modality == "audio" else self._raw.video_format

    @property
    def version(self) -> int:  # type: ignore[override]
        """That of the rows, which changes with the detector of mouths."""
        return self._raw.version

    @property
    def hop_s(self) -> float:  # type: ignore[override]
        """Seconds of the rows that the front end brings to one."""
        return float(self._raw.hop_s * self._outline[0].stride)

    @property
    def dim(self) -> int:  # type: ignore[override]
        """The network's width."""
        return int(self._outline[0].width)

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        import torch

        features = []
        for rows in self._raw.rows(streams):
            data = self.on_device(torch.from_numpy(rows))[None]
            mask = torch.ones(data.shape[:2], dtype=torch.bool, device=data.device)
            with self.running():
                features.append(self.network.encode(data, mask)[0][0].float().cpu().numpy())
        return features

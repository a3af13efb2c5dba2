"""A checkpoint > the source of its network's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import AvlocError
from avloc.inference.sources.base import InputSource
from avloc.inference.sources.clip import ClipSource
from avloc.inference.sources.feature import FeatureSource

if TYPE_CHECKING:
    from avloc.feature_extraction.extractors.base import Extractor
    from avloc.models.checkpoint import Checkpoint


def build_source(
    checkpoint: Checkpoint,
    weights: Mapping[str, str | Path] | None = None,
    own_extractors: Sequence[type[Extractor] | str] = (),
) -> InputSource:
    """Make the source of inputs that a checkpoint's network was trained on.

    Raises:
        AvlocError: if weights or a class are given for an extractor that the network was not trained on.
    """
    context = checkpoint.context
    _check_used(checkpoint, weights or {}, own_extractors)
    if context.clips is not None:
        return ClipSource(context.clips.frames, context.clips.fit)
    return FeatureSource(
        context.extractors,
        context.hop_s,
        weights,
        own_extractors,
        native_rate=context.native_rate,
        modality=context.modality,
    )


def _check_used(
    checkpoint: Checkpoint, weights: Mapping[str, str | Path], own_extractors: Sequence[type[Extractor] | str]
) -> None:
    """Raise if something is given that would have no effect: it is a mistake, in the name or in the checkpoint."""
    modality = checkpoint.context.modality
    descriptions = [d for d in checkpoint.context.extractors if modality in (None, d.modality)]
    names = [description.name for description in descriptions]
    trained_on = f"{checkpoint.path}: the network was trained on {', '.join(names) or 'the clips themselves'}"
    unused = [name for name in weights if name not in names]
    if unused:
        raise AvlocError(f"{trained_on}, which do not use --weights {unused[0]}=…; leave it out, or correct the name")
    if not own_extractors:
        return
    from avloc.feature_extraction.extractors.catalog import extractor_class

    trained_names = {*names, *(description.factory for description in descriptions)}
    for extractor in own_extractors:
        own_class = extractor_class(extractor) if isinstance(extractor, str) else extractor
        path = f"{own_class.__module__}.{own_class.__qualname__}"
        if trained_names.isdisjoint((path, getattr(own_class, "name", None))):
            raise AvlocError(f"{trained_on}, which do not use --extractor {path}; leave it out, or correct the name")

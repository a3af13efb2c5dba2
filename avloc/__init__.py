"""Audio-visual temporal forgery localization: find *when* a video lies.

The public names of the package; each is imported when it is first used, so that `import avloc` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.core.clip_records import ClipRecord as ClipRecord
    from avloc.core.proposals import Proposals as Proposals
    from avloc.core.records import VideoRecord as VideoRecord
    from avloc.core.timeline import Segment as Segment
    from avloc.core.timeline import TimeGrid as TimeGrid
    from avloc.errors import AvlocError as AvlocError
    from avloc.errors import CheckpointError as CheckpointError
    from avloc.errors import MediaError as MediaError
    from avloc.errors import StoreError as StoreError
    from avloc.evaluation import evaluate as evaluate
    from avloc.inference.localizer import Localizer as Localizer
    from avloc.localization.result import Localization as Localization
    from avloc.verbs import extract as extract
    from avloc.verbs import localize as localize
    from avloc.verbs import predict as predict

__version__ = "0.1.0"

__all__ = [
    "AvlocError",
    "CheckpointError",
    "ClipRecord",
    "Localization",
    "Localizer",
    "MediaError",
    "Proposals",
    "Segment",
    "StoreError",
    "TimeGrid",
    "VideoRecord",
    "__version__",
    "evaluate",
    "extract",
    "localize",
    "predict",
]

_MODULES = {
    "AvlocError": "avloc.errors",
    "CheckpointError": "avloc.errors",
    "ClipRecord": "avloc.core.clip_records",
    "Localization": "avloc.localization.result",
    "Localizer": "avloc.inference.localizer",
    "MediaError": "avloc.errors",
    "Proposals": "avloc.core.proposals",
    "Segment": "avloc.core.timeline",
    "StoreError": "avloc.errors",
    "TimeGrid": "avloc.core.timeline",
    "VideoRecord": "avloc.core.records",
    "evaluate": "avloc.evaluation",
    "extract": "avloc.verbs",
    "localize": "avloc.verbs",
    "predict": "avloc.verbs",
}


_ROOMS = ("augment", "datasets", "evaluation", "feature_extraction", "heads", "inference", "models", "training")


def __getattr__(name: str) -> object:
    return import_module(f"avloc.{name}") if name in _ROOMS else load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])

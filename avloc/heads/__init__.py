"""Heads: labels > targets, and outputs > proposals, one file per head with both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.core.proposals import merge_modalities as merge_modalities
    from avloc.core.proposals import soft_nms as soft_nms
    from avloc.heads.candidates import ClipCandidates as ClipCandidates
    from avloc.heads.candidates import PointCandidates as PointCandidates
    from avloc.heads.candidates import PointDecoding as PointDecoding
    from avloc.heads.clip_labels import ClipTargetMaker as ClipTargetMaker
    from avloc.heads.clip_labels import ClipTargets as ClipTargets
    from avloc.heads.maps import MapTargetMaker as MapTargetMaker
    from avloc.heads.maps import MapTargets as MapTargets
    from avloc.heads.maps import boundary_map as boundary_map
    from avloc.heads.maps import boundary_overlap as boundary_overlap
    from avloc.heads.maps import decode_map as decode_map
    from avloc.heads.maps import rounded_frame_labels as rounded_frame_labels
    from avloc.heads.modality_points import ModalityPointTargetMaker as ModalityPointTargetMaker
    from avloc.heads.modality_points import ModalityPointTargets as ModalityPointTargets
    from avloc.heads.points import PointTargetMaker as PointTargetMaker
    from avloc.heads.points import PointTargets as PointTargets
    from avloc.heads.points import Pyramid as Pyramid
    from avloc.heads.points import boundary_labels as boundary_labels
    from avloc.heads.points import decode_points as decode_points
    from avloc.heads.points import frame_labels as frame_labels
    from avloc.heads.points import point_candidates as point_candidates
    from avloc.heads.points import point_targets as point_targets

__all__ = [
    "ClipCandidates",
    "ClipTargetMaker",
    "ClipTargets",
    "MapTargetMaker",
    "MapTargets",
    "ModalityPointTargetMaker",
    "ModalityPointTargets",
    "PointCandidates",
    "PointDecoding",
    "PointTargetMaker",
    "PointTargets",
    "Pyramid",
    "boundary_labels",
    "boundary_map",
    "boundary_overlap",
    "decode_map",
    "decode_points",
    "frame_labels",
    "merge_modalities",
    "point_candidates",
    "point_targets",
    "rounded_frame_labels",
    "soft_nms",
]

_MODULES = {
    "ClipCandidates": "avloc.heads.candidates",
    "ClipTargetMaker": "avloc.heads.clip_labels",
    "ClipTargets": "avloc.heads.clip_labels",
    "MapTargetMaker": "avloc.heads.maps",
    "MapTargets": "avloc.heads.maps",
    "ModalityPointTargetMaker": "avloc.heads.modality_points",
    "ModalityPointTargets": "avloc.heads.modality_points",
    "PointCandidates": "avloc.heads.candidates",
    "PointDecoding": "avloc.heads.candidates",
    "PointTargetMaker": "avloc.heads.points",
    "PointTargets": "avloc.heads.points",
    "Pyramid": "avloc.heads.points",
    "boundary_labels": "avloc.heads.points",
    "boundary_map": "avloc.heads.maps",
    "boundary_overlap": "avloc.heads.maps",
    "decode_map": "avloc.heads.maps",
    "decode_points": "avloc.heads.points",
    "frame_labels": "avloc.heads.points",
    "merge_modalities": "avloc.core.proposals",
    "point_candidates": "avloc.heads.points",
    "point_targets": "avloc.heads.points",
    "rounded_frame_labels": "avloc.heads.maps",
    "soft_nms": "avloc.core.proposals",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__

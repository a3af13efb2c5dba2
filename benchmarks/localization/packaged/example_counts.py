"""The networks of a folder > what they find in the clips of the package."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from packaged.facts import ExampleCounts
from scoring.naming import FOUND_IOU

from avloc.core.timeline import interval_iou, segment_array
from avloc.datasets import examples_folder
from avloc.datasets.readers.catalog import read_records
from avloc.feature_extraction import probe
from avloc.inference import Localizer
from avloc.inference.packaged import only_stream


def score_examples(folder: Path) -> ExampleCounts:
    """Count the forgeries that the networks of a folder find in the package's clips, each at its operating point.

    A clip goes to the network for the streams that it has, as by `avloc localize`. It is flagged if a segment reaches the
    operating point, and a forged segment is found if such a segment overlaps it with an IoU of at least `FOUND_IOU`.
    """
    load = cache(lambda streams: Localizer.from_checkpoint(folder / f"{streams}.ckpt"))
    counts: Counter[str] = Counter()
    for record in read_records("folder", examples_folder()):
        clip = examples_folder() / record.file
        localization = load(only_stream(clip, probe(clip)) or "both").localize(clip)
        flagged = localization.segments(localization.threshold)
        detected = np.array([[each.start_s, each.end_s] for each in flagged]).reshape(-1, 2)
        iou = interval_iou(segment_array(record.segments), detected)
        kind = "forged" if record.segments else "real"
        counts[f"{kind}_clips"] += 1
        counts[f"{kind}_clips_flagged"] += bool(flagged)
        counts["segments"] += len(record.segments)
        counts["segments_found"] += int((iou >= FOUND_IOU).any(axis=1).sum())
    return ExampleCounts(
        real_clips=counts["real_clips"],
        real_clips_flagged=counts["real_clips_flagged"],
        forged_clips=counts["forged_clips"],
        forged_clips_flagged=counts["forged_clips_flagged"],
        segments=counts["segments"],
        segments_found=counts["segments_found"],
    )

from __future__ import annotations

import json

from avloc.datasets import examples_folder, read_records
from avloc.models.packaged import FACTS, FOLDER


def test_the_clips_of_the_package_are_scored_at_the_operating_point():
    """The same as by `avloc localize`, whose localizer chooses the network for a clip by itself."""
    from packaged.example_counts import score_examples

    from avloc.inference.packaged import load_packaged

    counts = score_examples(FOLDER)
    localizer, flagged, found = load_packaged(), {"real": 0, "forged": 0}, 0
    for record in read_records("folder", examples_folder()):
        localization = localizer.localize(examples_folder() / record.file)
        segments = localization.segments(localization.threshold)
        flagged["forged" if record.segments else "real"] += bool(segments)
        for label in record.segments:
            overlaps = [
                (min(s.end_s, label.end_s) - max(s.start_s, label.start_s))
                / (max(s.end_s, label.end_s) - min(s.start_s, label.start_s))
                for s in segments
            ]
            found += max(overlaps, default=0) >= 0.5
    assert (counts["real_clips"], counts["forged_clips"]) == (4, 8)
    assert (counts["real_clips_flagged"], counts["forged_clips_flagged"]) == (flagged["real"], flagged["forged"])
    assert (counts["segments"], counts["segments_found"]) == (
        sum(len(record.segments) for record in read_records("folder", examples_folder())),
        found,
    )
    assert counts["segments_found"] > 0
    assert json.loads((FOLDER / FACTS).read_text(encoding="utf-8"))["examples"] == counts

"""The kinds of files and folders that avloc knows, each with a test and a description; the first that fits counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from avloc.cli.info import checkpoints, configurations, datasets, documents, folders, media, predictions, stores
from avloc.cli.info.description import Description
from avloc.cli.info.peek import Peek
from avloc.errors import AvlocError


class Detector(NamedTuple):
    """A kind of file or folder.

    Attributes:
        noun: for the help and for messages.
        accepts: tells by the name and the first bytes whether it is of this kind.
        describe: reads it; raises an AvlocError if it is damaged.
    """

    noun: str
    accepts: Callable[[Peek], bool]
    describe: Callable[[Peek], Description]


def _document(noun: str, schema: str, describe: Callable[[Peek], Description]) -> Detector:
    return Detector(noun, partial(documents.has_schema, name=schema), describe)


DETECTORS: dict[str, Detector] = {
    # Folders
    "run": Detector("a training run", checkpoints.is_run, checkpoints.describe_run),
    "demo": Detector("a demo", folders.is_demo, folders.describe_demo),
    "store": Detector("a feature store", stores.is_store, stores.describe_store),
    "results": Detector("a folder of results", folders.is_results, folders.describe_results),
    "dataset": Detector("a dataset", datasets.is_dataset, datasets.describe_dataset),
    "clips": Detector("a folder of clips", datasets.has_clips, datasets.describe_clips),
    # Files, by their names or by the schema that they name
    "checkpoint": Detector("a checkpoint", checkpoints.is_checkpoint, checkpoints.describe_checkpoint),
    "clip": Detector("a clip", media.is_clip, media.describe_clip),
    "raw": Detector("rows before suppression", predictions.is_raw_rows, predictions.describe_raw_rows),
    "result": _document("a result", documents.RESULT, documents.describe_result),
    "calibration": _document("a calibration", documents.CALIBRATION, documents.describe_calibration),
    "fusion": _document("a fusion", documents.FUSION, documents.describe_fusion),
    "tuned": _document("tuned settings", documents.TUNED, documents.describe_tuned),
    "record": _document("a record of provenance", documents.RECORD, documents.describe_record),
    "picture": Detector("a timeline", documents.is_picture, documents.describe_picture),
    "scores": Detector("the numbers of an evaluation", documents.is_scores, documents.describe_scores),
    "table": Detector("a table of results", folders.is_result_table, folders.describe_result_table),
    "yaml": Detector("a configuration", configurations.is_yaml, configurations.describe_yaml),
    # Files of other programs too
    "labels": Detector("a table of labels", datasets.is_label_table, datasets.describe_table),
    "metadata": Detector("the metadata of a dataset", datasets.is_metadata, datasets.describe_metadata),
    "predictions": Detector("predictions", predictions.is_predictions, predictions.describe_predictions),
    "clip_scores": Detector("scores of clips", predictions.is_clip_scores, predictions.describe_clip_scores),
}


def detect(path: Path) -> tuple[str, Description]:
    """Return the kind of a file or folder, a key of `DETECTORS`, and its description.

    Raises:
        AvlocError: if it is of no kind that avloc knows, or damaged.
        OSError: if it cannot be read.
    """
    peek = Peek.at(path)
    for kind, detector in DETECTORS.items():
        if detector.accepts(peek):
            return kind, detector.describe(peek)
    nouns = [detector.noun for detector in DETECTORS.values()]
    state = "is empty" if path.is_file() and not peek.head else "is nothing that avloc knows"
    raise AvlocError(f"{path}: {state}; want {', '.join(nouns[:-1])} or {nouns[-1]}")

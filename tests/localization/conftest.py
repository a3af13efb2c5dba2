from __future__ import annotations

import html.parser

import numpy as np
import pytest

from avloc.core.calibration import PlattFit
from avloc.core.proposals import Proposals
from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance
from avloc.core.timeline import TimeGrid
from avloc.localization.result import Localization

FITS = {
    "clip": PlattFit(1.0, 0.0, 100, 100),  # a score is its probability, at a prior of one half
    "audio": PlattFit(1.0, 0.0, 100, 100),
    "visual": PlattFit(1.0, 0.0, 100, 100),
    "segment": PlattFit(1.0, 0.0, 300, 2700),
}
PROVENANCE = Provenance(
    "0.1.0",
    "2026-11-26T09:30:00Z",
    "avloc localize 'folder/a <b> & $c.mp4' --keep 3",
    {"keep": 3, "end": None},
    CheckpointIdentity(FileIdentity("nets/best.ckpt", "ab" * 32, 2_345_678), "avloc-both 3", "drawn faces"),
    {"clip": FileIdentity("folder/a <b> & $c.mp4", "cd" * 32, 123_456, 4.12)},
)


@pytest.fixture
def localization():
    """A clip of 4.12 s with three segments: visual, audio and both; its audio ends early."""
    fakeness = np.full((103, 2), 0.02, np.float32)
    fakeness[12:20, 1] = 0.9
    fakeness[50:66, 0] = 0.7
    fakeness[90:, 0] = np.nan
    segments = np.array([[0.5, 0.8], [2.0, 2.64], [3.1, 3.3]])
    modality_scores = np.array([[0.05, 0.91], [0.72, 0.1], [0.3, 0.31]])
    return Localization(
        file="folder/a <b> & $c.mp4",
        duration_s=4.12,
        proposals=Proposals(segments, np.array([0.9, 0.7, 0.3]), modality_scores),
        grid=TimeGrid(0.0, 0.04, 103),
        fakeness=fakeness,
        problems=("2 damaged packets were left out",),
        scores={"clip": 0.9, "audio": 0.72, "visual": 0.91},
        calibration=FITS,
        decoded_s={"audio": (0.0, 3.6), "visual": (0.0, 4.12)},
        provenance=PROVENANCE,
    )


@pytest.fixture
def empty_localization():
    """An uncalibrated audio file of 1 s without segments."""
    fakeness = np.stack([np.zeros(25), np.full(25, np.nan)], axis=1).astype(np.float32)
    return Localization(
        file="quiet.wav",
        duration_s=1.0,
        proposals=Proposals.empty(),
        grid=TimeGrid(0.0, 0.04, 25),
        fakeness=fakeness,
        problems=("no video stream",),
        scores={"clip": 0.0, "audio": 0.0, "visual": None},
        decoded_s={"audio": (0.0, 1.0), "visual": None},
        unjudged={"visual": "no video stream"},
    )


class HtmlReader(html.parser.HTMLParser):
    """The tags of a document with their attributes, and those that are still open."""

    void = ("meta", "link", "img", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def find(self, tag, class_name=None):
        """The attributes of each such tag."""
        return [
            attributes
            for name, attributes in self.tags
            if name == tag and (class_name is None or class_name in attributes.get("class", "").split())
        ]


@pytest.fixture
def read_html():
    return HtmlReader

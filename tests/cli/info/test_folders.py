from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avloc.core.calibration import PlattFit
from avloc.core.proposals import Proposals
from avloc.core.provenance import current_provenance
from avloc.core.timeline import TimeGrid
from avloc.localization.result import Localization
from avloc.localization.result_folder import ClipJob, ResultFolder
from avloc.localization.summary import FailedClip, SummaryEntry, SummaryRow


@pytest.fixture
def results(tmp_path):
    """A folder with the results of two clips, one of which failed."""
    fits = {name: PlattFit(1.0, 0.0, 100, 100) for name in ("clip", "audio", "visual", "segment")}
    proposals = Proposals(np.array([[0.5, 0.8]]), np.array([0.9]), np.array([[0.05, 0.91]]))
    grid, scores = TimeGrid(0.0, 0.04, 25), {"clip": 0.9, "audio": 0.05, "visual": 0.91}
    fakeness = np.zeros((25, 2), np.float32)
    clip = Localization("a.mp4", 1.0, proposals, grid, fakeness, scores=scores, calibration=fits)
    clip = replace(clip, provenance=current_provenance("avloc localize a.mp4"))
    folder = ResultFolder(tmp_path / "out", ("json", "csv", "html"))
    job = ClipJob(tmp_path / "a.mp4", tmp_path.relative_to(tmp_path) / "a")
    folder.write(job, clip)
    rows = [SummaryEntry(job.name, SummaryRow.from_localization(clip, 0.5))]
    folder.write_summary(rows, [FailedClip(tmp_path / "b.mp4", "b.mp4: no media")], clip.provenance)
    return tmp_path / "out"


def test_a_folder_of_results(describe, results):
    description, facts = describe(results, "results")
    assert facts["Clips"] == "2"
    assert facts["Verdicts"] == "likely forged 1, b.mp4: no media 1"
    assert facts["Forged"] == "a.mp4: Likely forged: visual, 0.50–0.80 s"
    assert (facts["Command"], facts["Page"]) == ("avloc localize a.mp4", "index.html")
    assert description.commands == [f"avloc info {results / 'a.json'}"]
    assert describe(results / "summary.csv", "table")[0].title == description.title


def test_a_folder_without_a_summary_and_the_table_of_a_clip(describe, results):
    for name in ("summary.csv", "summary.csv.provenance"):
        (results / name).unlink()
    _, facts = describe(results, "results")
    assert (facts["Clips"], facts["Verdicts"]) == ("1", "likely forged 1")
    _, facts = describe(results / "a.csv", "table")
    assert (facts["Segments"], facts["Command"]) == ("1", "avloc localize a.mp4")


def test_a_demo(describe, write, tmp_path):
    write("demo/demo.json", {"version": "0.1.0", "clips": 18})
    write("demo/predictions.json", {})
    description, facts = describe(tmp_path / "demo", "demo")
    assert (facts["Settings"], facts["State"]) == (
        "version 0.1.0, clips 18",
        "unfinished: run avloc demo again to go on",
    )
    assert description.commands == [f"avloc info {tmp_path / 'demo' / 'predictions.json'}"]
    write("demo/report.html", "x")
    assert describe(tmp_path / "demo", "demo")[1]["State"] == "finished"

from __future__ import annotations

import numpy as np

from avloc.evaluation.detection import score_detection
from avloc.evaluation.evidence.costs import score_evidence
from avloc.evaluation.reporting.clip_report import write_clip_report
from avloc.evaluation.reporting.results import ClipScoresReport


def build_report(scores, is_fake, *, is_llr):
    evidence = score_evidence(scores, is_fake, is_llr=is_llr)
    return ClipScoresReport("lavdf", len(scores), score_detection(scores, is_fake), evidence, 0, 0)


def test_page_is_whole_and_loads_nothing(parse_page, tmp_path):
    scores, is_fake = np.array([0.2, 0.7, 0.6]), np.array([False, True, False])
    for is_llr, figures in ((True, 4), (False, 3)):
        path = tmp_path / "r.html"
        write_clip_report(
            path, build_report(scores, is_fake, is_llr=is_llr), scores, is_fake, title="<A>", notes=["of <B>"]
        )
        text = path.read_text(encoding="utf-8")
        page = parse_page(text)
        assert page.tags.count("table") == 2
        assert text.count("<figcaption>") == figures
        assert all(target.startswith(("#", "data:")) for target in page.targets)
        assert "&lt;A&gt;" in text
        assert "<p>of &lt;B&gt;</p>" in text
        assert "3 clips, 1 of them fake" in text


def test_page_of_one_class_has_no_curves(parse_page, tmp_path):
    scores, is_fake = np.array([0.2, 0.7]), np.array([True, True])
    write_clip_report(tmp_path / "r.html", build_report(scores, is_fake, is_llr=True), scores, is_fake)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    parse_page(text)
    assert "Only fake or only real clips: no curves." in text

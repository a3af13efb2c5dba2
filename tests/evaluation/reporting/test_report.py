from __future__ import annotations

from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import PROTOCOLS
from avloc.evaluation.reporting.report import write_report
from avloc.evaluation.reporting.tables import report_tables
from avloc.evaluation.scoring import evaluate_aligned


def test_page_is_whole_and_loads_nothing(small_evaluation, small_report, parse_page, tmp_path):
    path = tmp_path / "new" / "r.html"
    write_report(path, small_evaluation, small_report, title="<A & B>", notes=["a > b"])
    text = path.read_text(encoding="utf-8")
    page = parse_page(text)
    assert all(target.startswith("#") for target in page.targets)
    assert "http" not in text
    assert "&lt;A &amp; B&gt;" in text
    assert page.tags.count("table") == len(report_tables(small_report))
    assert text.count("<figcaption>") == 4 + 2 + 4  # curves of rows and of clips, timelines
    for word in ("AP@0.95", "Errors", "Difference to b.json", "Calibration", "c.mp4", "viewport", "@media print"):
        assert word in text
    assert list(path.parent.iterdir()) == [path]


def test_page_of_an_evaluation_alone_has_its_insight(small_evaluation, parse_page, tmp_path):
    write_report(tmp_path / "r.html", small_evaluation)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    parse_page(text)
    assert "<title>avloc</title>" in text
    assert "By clip length" in text


def test_page_without_labels_rows_or_calibration(small_truth, parse_page, tmp_path):
    path = tmp_path / "r.html"
    for rows in ({}, {file: [(2.5, 0, 1)] for file in small_truth.files}):
        aligned = align(Predictions.from_dict(rows), small_truth.files)
        write_report(path, evaluate_aligned(small_truth, aligned, PROTOCOLS["lavdf"]), title="x")
        parse_page(path.read_text(encoding="utf-8"))
    real = small_truth.select(small_truth.modality.isin("real"))
    aligned = align(Predictions.from_dict({}), real.files)
    write_report(path, evaluate_aligned(real, aligned, PROTOCOLS["lavdf"], modes=("strict",)), title="x")
    parse_page(path.read_text(encoding="utf-8"))

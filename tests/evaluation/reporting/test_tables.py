from __future__ import annotations

import csv
import html

from avloc.evaluation.bootstrap import Interval
from avloc.evaluation.detection import DetectionScores
from avloc.evaluation.reporting.tables import (
    Table,
    detection_table,
    html_table,
    interval_table,
    percent,
    report_tables,
    score_table,
    write_numbers,
)

NAN = float("nan")


def test_nan_is_a_dash():
    assert percent(NAN) == "–"
    lines = interval_table("I", {"ap@0.5": Interval(0.5, NAN, 1.0, None)}, show_p=True).lines
    assert lines == [["AP@0.5", "50.00", "–", "100.00", "–"]]
    table = detection_table("D", DetectionScores(NAN, NAN, NAN, 0.5, NAN, NAN, 0, 3), "clips")
    assert [line[1] for line in table.lines] == ["–", "–", "50.00", "–"]
    assert table.note == "0 of 3 clips are fake."


def test_score_table_has_a_line_per_group_and_mode(small_evaluation):
    table = score_table(small_evaluation.table)
    assert table.header[:4] == ["clips", "mode", "score", "AP@0.5"]
    assert table.header[-1].startswith("AR@")
    assert [line[:2] for line in table.lines[:3]] == [
        ["all (4)", "official"],
        ["all (4)", "strict"],
        ["audio (2)", "official"],
    ]
    assert len(table.lines) == 8
    assert table.lines[1][3] == "68.75"


def test_insight_tables_can_be_left_out(small_report):
    titles = [table.title for table in report_tables(small_report)]
    short = [table.title for table in report_tables(small_report, insight=False)]
    assert short == titles[:4]
    assert titles[4:] == [
        "By fake length",
        "By clip length",
        "By number of fakes",
        "By audio model",
        "Errors",
        "Calibration",
        "Whole clips, by their best row",
    ]


def test_csv_holds_all_numbers_of_the_json(small_report, tmp_path):
    document = small_report.to_dict()
    write_numbers(tmp_path / "t.csv", document)
    rows = dict(csv.reader((tmp_path / "t.csv").read_text().splitlines()))
    assert float(rows["strict/ap/0.5"]) == document["strict"]["ap"]["0.5"]
    assert float(rows["by_modality/audio/official/ar/5"]) == document["by_modality"]["audio"]["official"]["ar"]["5"]
    assert rows["official/score"]
    assert rows["insight/recall_iou/iou/0"] == "0.1"


def test_html_is_escaped_and_aligned(parse_page):
    text = "".join(html_table(Table("<T>", ["a", "n"], [["<x>", "1"]], note="n & m"), html.escape))
    parse_page(text)
    assert "<h3>&lt;T&gt;</h3>" in text
    assert '<td class="l">&lt;x&gt;</td><td class="r">1</td>' in text
    assert '<p class="note">n &amp; m</p>' in text

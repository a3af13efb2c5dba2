from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

import numpy as np
import pytest

from avloc.core.columns import CategoricalColumn
from avloc.evaluation.bootstrap import as_json, intervals
from avloc.evaluation.matching import Labels
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import PROTOCOLS, score
from avloc.evaluation.reporting import gallery as gallery_module
from avloc.evaluation.reporting.gallery import gallery
from avloc.evaluation.reporting.insight import insight
from avloc.evaluation.reporting.report import write_report
from avloc.evaluation.reporting.tables import Table, as_text, print_tables, tables_of, write_numbers
from avloc.evaluation.truth import Truth


@pytest.fixture
def table(small_evaluation):
    own = as_json(intervals(small_evaluation, resamples=5))
    difference = as_json(intervals(small_evaluation, small_evaluation, resamples=5))
    return {
        **small_evaluation.table, "intervals": own, "insight": insight(small_evaluation),
        "versus": {"file": "b.json", "table": small_evaluation.table, "difference": difference},
    }  # fmt: skip


class Page(HTMLParser):
    """Checks that tags are closed, and collects what an html page refers to."""

    VOID = ("meta", "input", "path", "use", "rect", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.targets, self.tags, self.ids = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.targets += [v for k, v in attributes if k in ("src", "href")]
        self.ids += [v for k, v in attributes if k == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing(small_evaluation, table, tmp_path):
    path = tmp_path / "new" / "r.html"
    write_report(path, small_evaluation, table, title="<A & B>", notes=["a > b"])
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert all(target.startswith("#") for target in page.targets)
    assert "http" not in text
    assert "&lt;A &amp; B&gt;" in text
    assert page.tags.count("table") == len(tables_of(table))
    assert text.count("<figcaption>") == 4 + 4  # curves, clips
    for word in ("AP@0.95", "Errors", "Difference to b.json", "Calibration", "c.mp4", "viewport", "@media print"):
        assert word in text
    assert list(path.parent.iterdir()) == [path]


def test_the_page_without_labels_rows_or_calibration(small_truth, tmp_path):
    for rows in ({}, {f: [(2.5, 0, 1)] for f in small_truth.files}):
        found = score(small_truth, align(Predictions.of(rows), small_truth.files), PROTOCOLS["lavdf"])
        write_report(tmp_path / "r.html", found, {**found.table, "insight": insight(found)}, title="x")
        Page((tmp_path / "r.html").read_text())
    real = small_truth.chosen(small_truth.modality.isin("real"))
    found = score(real, align(Predictions.of({}), real.files), PROTOCOLS["lavdf"], modes=("strict",))
    write_report(tmp_path / "r.html", found, {**found.table, "insight": insight(found)}, title="x")


def test_the_gallery_shows_the_worst_and_the_best_of_each_kind(monkeypatch):
    monkeypatch.setattr(gallery_module, "SHOWN_CLIPS", 4)
    clips = 40
    truth = Truth(
        [f"<{k}>" for k in range(clips)], Labels.of([np.array([[1.0, 2.0]])] * clips),
        CategoricalColumn.from_strings("audio" if k % 2 else "visual" for k in range(clips)), {}, np.full(clips, np.nan), np.arange(clips),
    )  # fmt: skip
    rows = Predictions.of({f: [(0.5, 1, 2), (-3, 5, 4)] for f in truth.files}).rows
    text = "".join(gallery(truth, rows, np.arange(clips) / clips))
    shown = [k for k in range(clips) if f"&lt;{k}&gt; ·" in text]
    assert shown == [0, 1, 2, 3, 36, 37, 38, 39]
    assert text.count('class="truth"') == 8
    assert text.count('class="found"') == 8  # a row that ends before it starts is not drawn
    Page(text)


def test_text_and_csv(table, tmp_path):
    text = as_text(Table("T", ["name", "n"], [["a", "1"], ["bcd", "22"]], note="note"))
    assert text.splitlines() == ["T", "name   n", "a      1", "bcd   22", "note"]
    write_numbers(tmp_path / "t.csv", table)
    rows = dict(csv.reader((tmp_path / "t.csv").read_text().splitlines()))
    assert float(rows["strict/ap/0.5"]) == table["strict"]["ap"]["0.5"]
    assert float(rows["by_modality/audio/official/ar/5"]) == table["by_modality"]["audio"]["official"]["ar"]["5"]
    assert rows["official/score"]
    assert rows["insight/recall_iou/iou/0"] == "0.1"


def test_a_terminal_gets_the_same_numbers(table, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "200")
    plain, terminal = io.StringIO(), Terminal()
    print_tables(tables_of(table), plain)
    print_tables(tables_of(table), terminal)
    assert "68.75" in plain.getvalue()
    assert "68.75" in terminal.getvalue()
    one = io.StringIO()
    print_tables(tables_of(table)[:1], one)
    assert one.getvalue().startswith("clips")

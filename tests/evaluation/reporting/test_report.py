from __future__ import annotations

import dataclasses

from avloc.core.provenance import FileIdentity, Provenance
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
    assert all(target.startswith(("#", "data:")) for target in page.targets)
    assert "http" not in text
    assert "&lt;A &amp; B&gt;" in text
    assert page.tags.count("table") == len(report_tables(small_report))
    assert text.count("<figcaption>") == 4 + 2 + 4  # curves of rows and of clips, timelines
    for word in ("AP@0.95", "Errors", "Difference to b.json", "Calibration", "c.mp4", "viewport", "@media print"):
        assert word in text
    assert list(path.parent.iterdir()) == [path]


def test_page_tells_where_its_scores_come_from(small_evaluation, small_report, parse_page, tmp_path):
    inputs = {"predictions": FileIdentity("<p>.json", "cd" * 32, 1200)}
    record = Provenance("0.9.1", "2026-11-26T09:30:00Z", "avloc evaluate", {"mode": "both"}, inputs=inputs)
    write_report(tmp_path / "r.html", small_evaluation, dataclasses.replace(small_report, provenance=record))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    parse_page(text)
    assert "<p>Made by avloc 0.9.1 on 2026-11-26 09:30:00 UTC.</p>" in text
    assert f"<dt>Predictions</dt><dd>&lt;p&gt;.json, 1.2 kB, sha256 {'cd' * 32}</dd>" in text
    assert "<dt>Settings</dt><dd>mode both</dd>" in text


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


def test_page_in_a_browser(small_evaluation, small_report, browser, screenshot, tmp_path):
    write_report(tmp_path / "r.html", small_evaluation, small_report, title="a system on a set, test")
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    logged = []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto((tmp_path / "r.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    screenshot(page, "report_dark")
    colour = "element => { const style = getComputedStyle(element); return [style.stroke, style.fill]; }"
    curve, label = page.locator(".figures svg path[style*='--curve-1']").first, page.locator(".figures svg text").first
    dark = [curve.evaluate(colour)[0], label.evaluate(colour)[1]]
    page.emulate_media(color_scheme="light")
    light = [curve.evaluate(colour)[0], label.evaluate(colour)[1]]
    assert dark == ["rgb(111, 179, 232)", "rgb(236, 236, 241)"]
    assert light == ["rgb(31, 111, 176)", "rgb(27, 27, 31)"]
    drawn = page.locator(".gallery .found:not([hidden])")
    before, slider = drawn.count(), page.locator("[name=threshold]")
    slider.fill(slider.get_attribute("max"))
    assert 0 < drawn.count() < before
    slider.fill(slider.get_attribute("min"))
    assert drawn.count() == before
    clips = page.locator(".gallery figure:visible").count()
    page.get_by_label("audio", exact=True).check()
    assert 0 < page.locator(".gallery figure:visible").count() < clips
    page.get_by_label("all", exact=True).last.check()
    page.set_viewport_size({"width": 380, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    wide = page.locator(".wide").first
    assert wide.evaluate("box => box.scrollWidth > box.clientWidth")
    page.locator(".hint:visible").first.wait_for()
    tick = page.locator(".ticks span").first
    assert (
        tick.evaluate("element => parseFloat(getComputedStyle(element).fontSize)") >= 12
    )  # pixels, whatever the width
    screenshot(page, "report_phone")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator(".hint").first.wait_for(state="hidden")
    assert logged == []
    page.close()

from __future__ import annotations

import pytest

from avloc.datasets.inspect.overview import overview
from avloc.datasets.inspect.overview_page import as_html
from avloc.datasets.readers.table import TableBuilder


@pytest.fixture
def page_text():
    """The page of a set with long names and with clips of all lengths."""
    builder = TableBuilder()
    builder.repaired["odd & rare"] = 2
    for k in range(60):
        name = "a_generator_with_a_very_long_name_" * 2 + "<1>"
        builder.add(
            f"{k}.mp4", "train", duration_s=1.0 + k, attributes={"audio_model": name}, audio=[(0.0, 0.05 + k / 60)]
        )
    builder.add("d.mp4", "test", labelled=False)
    return as_html(overview(builder.build()), "<set>" + "x" * 80)


def test_page_has_the_numbers_and_escapes_names(page_text):
    assert "<title>&lt;set&gt;" in page_text
    assert "name_&lt;1&gt;</td>" in page_text
    assert "<p>Repaired: 2 odd &amp; rare.</p>" in page_text
    assert "<set>" not in page_text
    assert "<p>61 clips, 30.5 minutes; the metadata lack the length of 1 of them.</p>" in page_text
    assert "<p>60 fake segments: 60 audio, 0 visual, 0 both.</p>" in page_text
    assert "Median 0.54 s, mean 0.54 s, 95 % under" in page_text
    assert "http" not in page_text


def test_page_of_an_empty_set_has_no_empty_tables():
    text = as_html(overview(TableBuilder().build()), "x")
    assert "<p>0 clips, 0 hours.</p>" in text
    assert "<table" not in text


def test_no_label_is_broken_and_nothing_overflows(page_text, browser, screenshot, tmp_path):
    (tmp_path / "i.html").write_text(page_text, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.goto((tmp_path / "i.html").as_uri())
    screenshot(page, "data_info")
    for width in (1200, 380):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        heights = page.locator(".bin").evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().height)")
        assert max(heights) < 40  # one line each
    widths = page.locator(".bar").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")
    assert max(widths) > 100
    screenshot(page, "data_info_phone")
    page.close()

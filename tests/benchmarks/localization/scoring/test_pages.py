from __future__ import annotations

import re
from pathlib import Path

import pytest

from avloc.errors import AvlocError

PAGE = """Head

<!-- table: a -->
old
<!-- end -->

between

<!-- table: b -->
<!-- end -->

<!-- table: c -->
kept
<!-- end -->
"""


def test_places_are_filled_and_filled_again(tmp_path):
    from scoring.pages import fill_page

    page, folder = tmp_path / "page.md", tmp_path / "tables"
    folder.mkdir()
    page.write_text(PAGE)
    (folder / "a.md").write_text("Title\n\n| x |\n|---|\n| \\1 |\n")
    (folder / "b.md").write_text("B\n")
    assert fill_page(page, folder) == ["c"]
    first = page.read_text()
    assert "old" not in first
    assert "<!-- table: a -->\n\nTitle\n\n| x |\n|---|\n| \\1 |\n\n<!-- end -->" in first
    assert "<!-- table: c -->\nkept\n<!-- end -->" in first
    assert re.findall(r"^(Head|between)$", first, re.MULTILINE) == ["Head", "between"]
    fill_page(page, folder)
    assert page.read_text() == first


def test_a_page_without_places_is_refused(tmp_path):
    from scoring.pages import fill_page

    page = tmp_path / "page.md"
    with pytest.raises(AvlocError, match=r"page.md: No such file"):
        fill_page(page, tmp_path)
    page.write_text("nothing\n")
    with pytest.raises(AvlocError, match="no place for a table"):
        fill_page(page, tmp_path)
    assert page.read_text() == "nothing\n"


def test_the_places_of_the_documentation_are_tables_of_the_report(benchmarks):
    from scoring.pages import PLACE

    text = (Path(benchmarks).parent / "docs" / "model.md").read_text(encoding="utf-8")
    names = [place["name"] for place in PLACE.finditer(text)]
    assert len(names) == len(set(names)) > 10
    forms = (
        r"((ablation|(visual_)?front_ends)-)?(validation|costs)-(short|long)|choices|trials|test-(short|long)-[a-z0-9@.-]+"
        r"|footage-(short|long)(-ap@0\.5|-auc)?|held_back-val-short-fold-[abc]-(un)?seen"
    )
    assert [name for name in names if not re.fullmatch(forms, name)] == []
    assert text.count("<!-- table:") == len(names)

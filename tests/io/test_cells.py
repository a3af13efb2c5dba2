from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avloc.io.cells import FORMULA_BEGINS, quote_cell, unquote_cell
from avloc.io.files import write_csv


@pytest.mark.parametrize("begin", FORMULA_BEGINS)
def test_texts_that_begin_like_formulas_are_quoted(begin):
    text = f'{begin}HYPERLINK("http://example.org").mp4'
    assert quote_cell(text) == "'" + text
    assert unquote_cell(quote_cell(text)) == text
    assert unquote_cell(quote_cell("'" + text)) == "'" + text


@pytest.mark.parametrize("value", ["a=b", "", "'tis.mp4", "''", " =1", "1-2", -0.5, -3, 0, None, True])
def test_other_values_stay_as_they_are(value):
    assert quote_cell(value) is value


@given(st.text(alphabet="'=+-@\t\r\nab", max_size=6))
def test_quoted_texts_are_read_back(text):
    assert unquote_cell(quote_cell(text)) == text
    assert not quote_cell(text).startswith(FORMULA_BEGINS)


def test_every_csv_file_is_quoted(tmp_path):
    write_csv(tmp_path / "t.csv", ("=name", "value"), [("=cmd|' /C calc'!A0", -0.5), ("+1", "@x"), ("a", "b")])
    rows = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert rows == [["'=name", "value"], ["'=cmd|' /C calc'!A0", "-0.5"], ["'+1", "'@x"], ["a", "b"]]

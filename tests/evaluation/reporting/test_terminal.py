from __future__ import annotations

import io
import re

import pytest

from avloc.evaluation.reporting.tables import Table, report_tables
from avloc.evaluation.reporting.terminal import as_text, fold_columns, print_tables, terminal_width

LONG = Table(
    "Scores",
    ["clips", "mode", "score", *(f"AP@{iou}" for iou in (0.5, 0.75, 0.9, 0.95)), *(f"AR@{n}" for n in (50, 30, 5))],
    [[f"{name} (57340)", mode, *(f"{10 + k}.25" for k in range(8))] for name in ("all", "both") for mode in ("o", "s")],
    labels=2,
    note="A note.",
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(tables, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    print_tables(tables, out)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def test_text_is_aligned():
    text = as_text(Table("T", ["name", "n"], [["a", "1"], ["bcd", "22"]], note="note"))
    assert text.splitlines() == ["T", "name   n", "a      1", "bcd   22", "note"]
    assert as_text(Table("T", ["n", "meaning"], [["1", "ab"]], labels=0), title=False) == "n  meaning\n1  ab"


def test_a_table_that_fits_is_one_part():
    assert fold_columns(LONG, 200) == [LONG]
    assert fold_columns(Table("T", ["a"], []), 80) == [Table("T", ["a"], [])]


def test_families_of_columns_stay_together():
    parts = fold_columns(LONG, 64)
    assert [part.header[2:] for part in parts] == [LONG.header[2:7], LONG.header[7:]]
    assert [part.title for part in parts] == ["Scores", ""]
    assert [part.note for part in parts] == ["", "A note."]
    assert [line[2] for line in parts[0].lines] == ["10.25"] * 4
    # A family that does not fit is divided.
    assert [len(part.header) - 2 for part in fold_columns(LONG, 37)] == [1, 2, 2, 2, 1]


@pytest.mark.parametrize("columns", [30, 37, 64, 80, 100])
def test_every_number_is_printed_whole_within_the_width(columns, monkeypatch):
    text = printed([LONG], columns, monkeypatch)
    assert max(map(len, text.splitlines())) <= columns
    assert "…" not in text
    for k in range(8):
        assert text.count(f"{10 + k}.25") == 4
    for name in LONG.header[2:]:
        assert text.split().count(name) == 1, name


def test_names_that_are_wider_than_the_terminal_break(monkeypatch):
    table = Table("T", ["clip", "AP"], [["x" * 90, "71.20"]])
    text = printed([table], 40, monkeypatch)
    assert text.count("x") == 90
    assert "71.20" in text
    assert max(map(len, text.splitlines())) <= 40


def test_descriptions_break_between_words(monkeypatch):
    table = Table("T", ["kind", "count", "meaning"], [["late", "1234", "a segment that starts much too late " * 3]])
    text = printed([table], 60, monkeypatch)
    assert max(map(len, text.splitlines())) <= 60
    assert text.split().count("segment") == 3


def test_markup_in_names_is_text(monkeypatch):
    assert "[red]a[/red].mp4" in printed([Table("T", ["clip", "n"], [["[red]a[/red].mp4", "1"]])], 80, monkeypatch)


def test_terminal_and_plain_output_have_the_same_numbers(small_report, monkeypatch):
    plain = io.StringIO()
    print_tables(report_tables(small_report), plain)
    terminal = printed(report_tables(small_report), 80, monkeypatch)
    numbers = [word for word in plain.getvalue().split() if word.replace(".", "").isdigit() and "." in word]
    assert "68.75" in numbers
    for number in set(numbers):
        assert terminal.split().count(number) >= plain.getvalue().split().count(number)
    single = io.StringIO()
    print_tables(report_tables(small_report)[:1], single)
    assert single.getvalue().startswith("clips")


def test_width_is_that_of_the_environment_or_80(monkeypatch):
    monkeypatch.setenv("COLUMNS", "123")
    assert terminal_width(io.StringIO()) == 123
    for text in ("0", "wide", "-5"):
        monkeypatch.setenv("COLUMNS", text)
        assert terminal_width(io.StringIO()) == 80

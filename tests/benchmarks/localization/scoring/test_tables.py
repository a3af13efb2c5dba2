from __future__ import annotations

import pytest


@pytest.fixture
def table():
    from scoring.tables import Table

    rows = [(("ActionFormer-like", "3 seeds"), [(f"{k}.5±0.1", "59.0–67.1") for k in range(9)])]
    return Table("t", "Scores", "system", [f"AP{k}" for k in range(9)], rows, ("A note that is " + "long " * 20,))


def test_markdown(table):
    lines = table.to_markdown().splitlines()
    assert lines[0] == "Scores"
    assert {line.count("|") for line in lines[2:5]} == {11}
    assert lines[4].startswith("| ActionFormer-like<br>3 seeds | 0.5±0.1<br>59.0–67.1 |")
    assert lines[-1].startswith("A note")


def test_text_has_80_columns(table):
    lines = table.to_text().splitlines()
    assert max(map(len, lines)) <= 80
    # Columns that do not fit follow in a second block, with the labels again.
    heads = [line.split() for line in lines if line.startswith("system")]
    assert heads == [["system", *(f"AP{k}" for k in range(6))], ["system", *(f"AP{k}" for k in range(6, 9))]]
    assert sum(line.startswith("ActionFormer-like") for line in lines) == 2
    assert sum(line.startswith("3 seeds") for line in lines) == 2


def test_a_column_wider_than_the_terminal_still_comes():
    from scoring.tables import Table

    table = Table("t", "x", "y", ["a", "b"], [(("r",), [("w" * 100,), ("1",)])])
    assert "w" * 100 in table.to_text()


def test_cells():
    from scoring.tables import percent, score_cell

    assert score_cell(0.5, 0.354, 0.1, 1.0) == ("50.0±35.4", "10.0–100.0")
    assert score_cell(float("nan"), 0, 0, 0) == ("–",)
    assert percent(1.0) == "100.0"

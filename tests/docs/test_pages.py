"""Pages whose code runs as it stands: the API pages, the training loop, metrics in memory."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml

import avloc

DOCS = Path(__file__).parents[2] / "docs"
API_PAGES = sorted((DOCS / "api").glob("*.md"))


def blocks(page: Path) -> list[str]:
    """The Python code of a page that has no file name."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def files(page: Path) -> dict[str, str]:
    """The files that a page writes out, by name."""
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r'^```\w+ title="([\w.]+)"\n(.*?)^```', text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", API_PAGES, ids=lambda page: page.stem)
def test_api_pages_begin_with_an_example_that_runs(page):
    (code,) = blocks(page)
    before_names = page.read_text(encoding="utf-8").partition(":::")[0]
    assert code in before_names
    assert "Guide" in before_names or "guide" in before_names
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(page), "exec"), {"__name__": page.stem})
    assert printed.getvalue().strip()


def test_api_pages_list_every_public_name_once():
    listed = "\n".join(page.read_text(encoding="utf-8") for page in API_PAGES)
    names = re.findall(r"^::: ([\w.]+)", listed, re.MULTILINE)
    assert len(names) == len(set(names))
    last_parts = {name.rpartition(".")[2] for name in names}
    for room in ("avloc", *(f"avloc.{name}" for name in dir(avloc) if hasattr(getattr(avloc, name), "__path__"))):
        missing = {*import_module(room).__all__, "__version__"} - last_parts
        assert missing == {"__version__"}, room


def evaluated(code: str, names: dict[str, object]) -> list[object]:
    """Run a block; return the value of each line that is an expression."""
    values = []
    for node in ast.parse(code).body:
        if isinstance(node, ast.Expr):
            values.append(eval(compile(ast.Expression(node.value), "page", "eval"), names))
        else:
            exec(compile(ast.Module([node], []), "page", "exec"), names)
    return values


def test_metrics_in_memory(tmp_path, monkeypatch):
    page, names, values = DOCS / "metrics_in_memory.md", {}, []
    monkeypatch.chdir(tmp_path)
    for code in blocks(page):
        values.append(evaluated(code, names))
    single, (numbers, document), (interval, difference), (auc, cllr), training, protocol = values
    assert single == [pytest.approx(float(text)) for text in re.findall(r"  # ([\d.]+)\n", blocks(page)[0])]
    assert len(single) == 3
    assert numbers == (pytest.approx(0.5), pytest.approx(0.5), 0)
    assert document["protocol"] == "lavdf"
    assert interval.low <= interval.value <= interval.high
    assert difference.value > 0
    assert auc == 1.0
    assert 0 <= cllr < 1
    assert training[-1]["ap@0.5"] == 1.0
    (tmp_path / "mine.yaml").write_text(files(page)["mine.yaml"])
    from avloc.evaluation import Protocol, get_protocol

    assert get_protocol("mine.yaml") == names["mine"]
    assert avloc.evaluate(names["predictions"], names["truth"], protocol="mine.yaml").strict.ap[0.3] == protocol[0]
    fields = {*Protocol.__dataclass_fields__, "base"}
    assert fields == set(re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(yaml.safe_load(files(page)["mine.yaml"])) <= fields


def test_the_training_loop_trains_scores_and_leaves_a_checkpoint(tiny_set, tiny_store, tmp_path, monkeypatch, capsys):
    page = files(DOCS / "training_loop.md")
    assert len([line for line in page["train.py"].splitlines() if line and "import" not in line]) <= 20
    (tmp_path / "clips").symlink_to(tiny_set)
    (tmp_path / "features").symlink_to(tiny_store)
    monkeypatch.chdir(tmp_path)
    exec(compile(page["train.py"], "train.py", "exec"), {"__name__": "train"})
    first, second = (ast.literal_eval(line[2:])["loss"] for line in capsys.readouterr().out.splitlines())
    assert np.isfinite([first, second]).all()
    names = {"__name__": "score"}
    exec(compile(page["score.py"], "score.py", "exec"), names)
    assert len(names["predictions"]) == 3
    assert min(len(rows) for rows in names["predictions"].values()) > 0
    assert 0 <= float(capsys.readouterr().out) <= 1
    localizer = avloc.Localizer.from_checkpoint("mine.ckpt")
    assert localizer.source is not None

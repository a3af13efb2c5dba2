from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TAKE = Path(__file__).parents[3] / "docs" / "images" / "take.py"


@pytest.fixture
def take():
    pytest.importorskip("playwright")
    spec = importlib.util.spec_from_file_location("take", TAKE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_picture_is_of_the_page_of_the_example(take, monkeypatch, tmp_path):
    calls, pictures = [], []

    def run_avloc(arguments):
        calls.append(arguments)
        (Path(arguments[arguments.index("--out") + 1]) / "both-2.html").write_text("page")
        return 0

    monkeypatch.setattr(take, "run_avloc", run_avloc)
    monkeypatch.setattr(take, "take_screenshot", lambda page, picture: pictures.append((page.read_text(), picture)))
    take.take(tmp_path / "page.png")
    assert calls[0][:2] == ["localize", "--example"]
    assert pictures == [("page", tmp_path / "page.png")]


def test_failed_localization_ends_with_its_exit_code(take, monkeypatch, tmp_path):
    monkeypatch.setattr(take, "run_avloc", lambda arguments: 2)
    with pytest.raises(SystemExit, match="2"):
        take.take(tmp_path / "page.png")
    assert not list(tmp_path.iterdir())

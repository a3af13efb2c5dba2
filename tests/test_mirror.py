"""The tests mirror the tree, file by file."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
# Tests of the package as a whole, or of a whole path through it.
WHOLE = {
    "test_api.py",
    "test_architecture.py",
    "test_constraints.py",
    "test_extending.py",
    "test_mirror.py",
    "test_package.py",
    "test_startup.py",
    "cli/test_batfd.py",
    "cli/test_end_to_end.py",
    "docs/images/test_take.py",
    "docs/test_augment.py",
    "docs/test_challenge.py",
    "docs/test_formats.py",
    "docs/test_notebook.py",
    "docs/test_pages.py",
    "docs/test_quickstart.py",
    "feature_extraction/job/test_kill.py",
    "feature_extraction/media/test_media_matrix.py",
    "localization/pages/test_clip_page_in_browser.py",
}
WHOLE_FOLDER = "chaos/"  # attempts to break the package


def has_code(path: Path) -> bool:
    """Whether a file defines anything; the front doors, which only list names, are tested by test_api.py."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return bool(names - {"__getattr__", "__dir__"})


def mirrored() -> dict[str, Path]:
    """By test file, relative to tests/, the source file that it tests."""
    pairs = {}
    for folder in ("avloc", "benchmarks", "datasets", "evaluation", "feature_extraction"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            if parts[0] == "avloc" and (ROOT / "avloc" / parts[1]).is_symlink():
                continue
            parts = parts[1:] if parts[0] == "avloc" else parts
            name = "test_init.py" if path.name == "__init__.py" else f"test_{path.name}"
            pairs["/".join([*parts[:-1], name])] = path
    return pairs


def test_every_test_file_has_its_source():
    present = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    present = {name for name in present if not name.startswith(WHOLE_FOLDER)}
    assert sorted(present - set(mirrored()) - WHOLE) == []
    assert sorted(WHOLE - present) == []


def test_every_source_has_its_test_file():
    missing = [name for name, source in mirrored().items() if has_code(source) and not (TESTS / name).is_file()]
    assert sorted(missing) == []

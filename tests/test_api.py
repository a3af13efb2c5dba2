"""The public names and their signatures: nothing moves, disappears or changes unnoticed.

After a wanted change: `python tests/test_api.py > tests/data/api.txt`, and a line in CHANGELOG.md.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FROZEN = Path(__file__).parent / "data" / "api.txt"
ROOT = Path(__file__).parents[1]
ROOMS = (
    "avloc",
    "avloc.augment",
    "avloc.datasets",
    "avloc.evaluation",
    "avloc.feature_extraction",
    "avloc.heads",
    "avloc.inference",
    "avloc.models",
    "avloc.training",
)


def signature(value: object) -> str:
    """A callable's parameters without their types: names, kinds and defaults; nothing for other values."""
    if not callable(value):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:
        return "(…)"
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return re.sub(r"<function ([\w.<>]+) at 0x\w+>", r"<\1>", str(inspect.Signature(plain)))


def api() -> Iterator[str]:
    """A line per public name."""
    for room in ROOMS:
        module = import_module(room)
        for name in sorted(module.__all__):
            yield f"{room}.{name}{signature(getattr(module, name))}"


def test_names_and_signatures_are_frozen():
    assert list(api()) == FROZEN.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("room", ROOMS)
def test_a_front_door_lists_what_it_loads(room):
    """`__all__`, the lazy table and the imports for type checkers name the same things, from the same files."""
    module = import_module(room)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (guard,) = (n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test))
    typed = {a.asname: n.module for n in guard.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed == module._MODULES
    assert sorted(module.__all__) == sorted({*typed, *(["__version__"] if room == "avloc" else [])})
    rooms = [room.partition(".")[2] for room in ROOMS[1:]] if room == "avloc" else []
    assert dir(module) == sorted([*module.__all__, *rooms])
    with pytest.raises(AttributeError, match=f"module '{room}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def public_classes() -> list[type]:
    """The classes that the front doors list, each once; errors aside."""
    values = [getattr(import_module(room), name) for room in ROOMS for name in import_module(room).__all__]
    classes = {value for value in values if isinstance(value, type) and not issubclass(value, Exception)}
    return sorted(classes, key=lambda c: c.__qualname__)


@pytest.mark.parametrize("public", public_classes(), ids=lambda c: c.__qualname__)
def test_every_public_class_has_an_example(public):
    assert ">>> " in (public.__doc__ or "")


def results(tmp_path) -> Iterator[object]:
    """A result of every kind that the public functions return."""
    import avloc
    from avloc import evaluation, feature_extraction
    from avloc.datasets import TableBuilder

    predictions = {f"{k}.mp4": [[0.9, 1.0, 2.0]] * 40 for k in range(50)}
    truth = {file: [[1.0, 2.0]] for file in predictions}
    scores = avloc.evaluate(predictions, truth)
    builder = TableBuilder()
    for file in predictions:
        builder.add(file, "train", audio=[(1.0, 2.0)])
    yield from (scores, scores.table, scores.truth, scores.strict, evaluation.Predictions.from_dict(predictions))
    yield from (
        builder.build(),
        avloc.Segment(1.0, 2.0),
        avloc.TimeGrid(0.0, 0.04, 99),
        avloc.VideoRecord("a.mp4", "t"),
    )
    many = np.zeros((999, 2)), np.zeros(999), np.zeros((999, 2))
    yield avloc.Proposals(*many)
    yield avloc.Localization("a.mp4", 1.0, avloc.Proposals(*many), avloc.TimeGrid(0.0, 0.04, 99), np.zeros((99, 2)))
    yield feature_extraction.Features(np.zeros((99, 5), np.float32), avloc.TimeGrid(0.0, 0.04, 99))
    yield feature_extraction.ClipArrays(np.zeros((9, 8, 8, 3), np.uint8), np.zeros(999, np.float32))
    yield feature_extraction.Clip(tmp_path / "a.mp4", 25.0, 16_000, samples=np.zeros(999, np.float32))
    yield feature_extraction.FeatureStore(tmp_path)
    yield feature_extraction.build_extractor("logspec").describe()


def test_every_result_is_shown_in_one_line(tmp_path):
    for result in results(tmp_path):
        assert "\n" not in repr(result), type(result)
        assert len(repr(result)) < 600, type(result)


def test_front_doors_cost_no_torch():
    code = "\n".join(
        [
            "import sys",
            *(f"import {room}" for room in ROOMS),
            "bad = sorted({'torch', 'av', 'h5py', 'scipy', 'matplotlib', 'transformers'} & set(sys.modules))",
            "sys.exit(', '.join(bad) or 0)",
        ]
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_rooms_are_attributes_of_the_package():
    code = "import sys, avloc; avloc.models.BATFD; avloc.evaluation.average_precision; avloc.heads.soft_nms"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_evaluate_works_in_memory_without_torch():
    code = """
import sys, avloc
result = avloc.evaluate({"a.mp4": [[0.9, 1.0, 2.0]], "b.mp4": []}, {"a.mp4": [[1.0, 2.0]], "b.mp4": []}, protocol="lavdf")
print(result)
sys.exit("torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == 1


def public_texts() -> list[Path]:
    """The texts that users read and copy from."""
    texts = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]
    return [*texts, *sorted((ROOT / "configs").rglob("*.yaml"))]


@pytest.mark.parametrize("path", public_texts(), ids=lambda path: path.name)
def test_texts_use_public_names_only(path):
    """`from avloc… import` and `class_path:` of what users read come through the front doors."""
    text = path.read_text(encoding="utf-8")
    deep = []
    for module, names in re.findall(r"from (avloc[\w.]*) import ([\w, ]+)", text):
        public = module in ROOMS and {n.strip() for n in names.split(",")} <= set(import_module(module).__all__)
        deep += [] if public else [f"from {module} import {names}"]
    for class_path in re.findall(r"class_path: (avloc[\w.]+)", text):
        room, _, name = class_path.rpartition(".")
        deep += [] if room in ROOMS and name in import_module(room).__all__ else [class_path]
    assert deep == []


if __name__ == "__main__":
    print("\n".join(api()))

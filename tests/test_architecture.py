"""The law of imports: data flows one way, no two rooms need each other, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
BESIDE = ("datasets", "evaluation", "feature_extraction")
# A room may import itself and the rooms of lower levels.
LEVELS = {
    "errors": 0,
    "lazy": 0,
    "core": 1,
    "io": 2,
    "heads": 2,
    "augment": 3,
    "models": 3,
    "feature_extraction": 4,
    "datasets": 5,
    "localization": 5,
    "inference": 6,
    "training": 6,
    "verbs": 7,
    "web": 8,
    "cli": 9,
    "__main__": 10,
}
EVALUATION_SEES = {"errors", "lazy", "core", "io", "evaluation"}
SEES_EVALUATION = {"training", "inference", "verbs", "cli", "evaluation"}


def source_files() -> Iterator[tuple[str, Path]]:
    """Module name and path of every source file."""
    for folder in ("avloc", *BESIDE):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[0] == "avloc" and len(parts) > 2 and parts[1] in (*BESIDE, "configs"):
                continue  # the links of a plain checkout
            parts = parts if folder == "avloc" else ("avloc", *parts)
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(tree: ast.AST) -> Iterator[str]:
    """The absolute imports that run, inside of functions too; those for types only are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


FILES = dict(source_files())
GRAPH = {name: sorted(set(imports(ast.parse(path.read_text(encoding="utf-8"))))) for name, path in FILES.items()}


def room(module: str) -> str:
    """The room of a module of avloc: `avloc.core.timeline` → `core`."""
    return module.split(".")[1] if "." in module else ""


def module_of(name: str) -> str:
    """The module that an imported name lies in."""
    return name if name in FILES else name.rpartition(".")[0]


def test_rooms_import_lower_rooms_only():
    wrong = []
    for module, names in GRAPH.items():
        here = room(module)
        for name in names:
            there = room(module_of(name)) if name.startswith("avloc.") else ""
            if not there or there == here or not here or there not in (*LEVELS, "evaluation"):
                continue
            if here == "evaluation":
                allowed = there in EVALUATION_SEES
            elif there == "evaluation":
                allowed = here in SEES_EVALUATION
            else:
                allowed = LEVELS[there] < LEVELS[here]
            if not allowed:
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_every_room_has_a_level():
    rooms = {room(module) for module in FILES} - {"", "evaluation"}
    assert rooms == set(LEVELS)


def test_no_two_files_need_each_other():
    edges = {m: {module_of(n) for n in names if module_of(n) in FILES} - {m, "avloc"} for m, names in GRAPH.items()}
    waiting = dict(edges)
    while ready := [m for m, needs in waiting.items() if not needs & waiting.keys()]:
        for module in ready:
            del waiting[module]
    # Left are circles and the files above them; a file that nobody left needs is not part of a circle.
    while loose := [m for m in waiting if not any(m in waiting[o] for o in waiting)]:
        for module in loose:
            del waiting[module]
    assert sorted(waiting) == []


def test_heavy_packages_stay_in_their_files():
    def users(package: str) -> set[str]:
        return {m for m, names in GRAPH.items() if any(n.split(".")[0] == package for n in names)}

    assert {m for m in users("torchmetrics") if room(m) != "training"} == {"avloc.evaluation.torchmetric"}
    assert {m for m in users("torch") if room(m) in ("core", "evaluation")} == {"avloc.evaluation.torchmetric"}
    assert {room(m) for m in users("starlette") | users("uvicorn")} == {"web"}
    assert {room(m) for m in users("ray")} == {"feature_extraction"}


def test_core_needs_numpy_only():
    outside = {n.split(".")[0] for m, names in GRAPH.items() if room(m) == "core" for n in names} - {"avloc", "numpy"}
    import sys

    assert {n for n in outside if n not in sys.stdlib_module_names} == set()

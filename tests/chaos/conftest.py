from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def mutations() -> ModuleType:
    """The module that writes damaged clips, `tests/chaos/mutations.py`."""
    spec = importlib.util.spec_from_file_location("avloc_mutations", Path(__file__).with_name("mutations.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["avloc_mutations"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def mutated_clips(mutations: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Path]]:
    """A function that returns the first `count` damaged clips, which are written once; they must not be changed."""
    folder = tmp_path_factory.mktemp("mutated")
    paths: list[Path] = []

    def clips(count: int) -> list[Path]:
        if len(paths) < count:
            paths.extend(mutations.write_mutations(folder, count - len(paths), first=len(paths)))
        return paths[:count]

    return clips


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that was not trained, on `logspec` and `residual_grid`."""
    import torch

    from avloc.core.descriptions import TrainingContext
    from avloc.feature_extraction.extractors.catalog import build_extractor
    from avloc.models import BoundaryTransformer
    from avloc.models.checkpoint import write_checkpoint

    torch.manual_seed(0)
    extractors = [build_extractor(name, {}) for name in ("logspec", "residual_grid")]
    model = BoundaryTransformer(audio_dim=extractors[0].dim, visual_dim=extractors[1].dim, width=8, heads=2, levels=1)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    write_checkpoint(path, model, TrainingContext(0.04, tuple(each.describe() for each in extractors)))
    return path

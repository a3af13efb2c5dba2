from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avloc.cli.train import CONFIGS
from avloc.core.descriptions import TrainingContext
from avloc.errors import AvlocError, CheckpointError
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import write_checkpoint
from avloc.training.command import _check_resumable, train

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def network(width: int = 8) -> BoundaryTransformer:
    return BoundaryTransformer(audio_dim=5, visual_dim=7, width=width, heads=2, levels=1)


def test_a_checkpoint_resumes_a_network_of_its_own_shapes_only(tmp_path):
    path = tmp_path / "c.ckpt"
    write_checkpoint(path, network(), TrainingContext(0.04))
    _check_resumable(str(path), network())
    with pytest.raises(CheckpointError, match=r"boundary_head.* is \(.*8.*\) there and \(.*12.*\) here"):
        _check_resumable(str(path), network(width=12))
    with pytest.raises(CheckpointError, match="is of a BoundaryTransformer, the configuration's network is a Linear"):
        _check_resumable(str(path), torch.nn.Linear(2, 2))


def test_training_returns_the_best_checkpoint(tiny_set, tiny_store, tmp_path):
    words = ["--config", str(CONFIGS / "demo.yaml"), "--data.root", str(tiny_set), "--data.store", str(tiny_store)]
    words += ["--trainer.default_root_dir", str(tmp_path), "--trainer.enable_progress_bar", "false"]
    best = train([*words, "--trainer.max_epochs", "1", "--model.model.width", "8", "--model.model.heads", "2"])
    assert best == Path(tmp_path).resolve() / "checkpoints" / "best.ckpt"
    assert sorted(p.name for p in best.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_wrong_setting_is_one_line(tiny_set, tiny_store):
    words = ["--config", str(CONFIGS / "demo.yaml"), "--data.root", str(tiny_set), "--data.store", str(tiny_store)]
    with pytest.raises(AvlocError, match="colour") as error:
        train([*words, "--colour", "red"])
    assert "\n" not in str(error.value)

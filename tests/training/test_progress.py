from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from avloc.cli.train import CONFIGS
from avloc.core.descriptions import ExtractorDescription, TrainingContext
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.training.progress import metrics_line, run_summary, steps_of_run


def test_metrics_are_one_line_with_the_loss_first():
    values = {"train/fakeness": 0.1, "val/ap@0.5": 0.75, "val/loss": 0.5, "train/loss": 0.25}
    assert metrics_line(2, 18, values) == "epoch 2/18: train/loss 0.250, val/loss 0.500, val/ap@0.5 0.750"
    assert metrics_line(2, -1, {"train/loss": float("nan")}) == "epoch 2: train/loss nan"


@pytest.mark.parametrize(("steps", "expected"), [(36, 36), (float("inf"), None)])
def test_the_bar_counts_the_steps_of_all_epochs(steps, expected):
    assert steps_of_run(SimpleNamespace(estimated_stepping_batches=steps)) == expected


def test_a_run_is_described_before_it_begins():
    records = [
        VideoRecord("a.mp4", "train", 4.0, (Segment(1, 2),), (Segment(1, 2), Segment(3, 3.5))),  # two forgeries
        VideoRecord("b.mp4", "train", 4.0),
    ]
    network = torch.nn.Linear(3, 2)
    network.bias.requires_grad = False
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        current_epoch=0,
        max_epochs=5,
        num_training_batches=7,
        train_dataloader=SimpleNamespace(dataset=SimpleNamespace(records=records)),
        val_dataloaders=None,
    )
    context = TrainingContext(0.04, (ExtractorDescription("mel", "audio", hop_s=0.01, dim=5),))
    assert run_summary(trainer, SimpleNamespace(model=network, context=context)) == [
        "network: Linear, 6 parameters, on cpu",
        "epochs: 5, 7 batches each",
        "training: 2 clips, 2 fake segments",
        "features: mel (audio, 5 numbers)",
    ]
    trainer.current_epoch = 3
    lines = run_summary(trainer, SimpleNamespace(model=network, context=TrainingContext(0.04)))
    assert lines[1] == "epochs: 3 to 5, 7 batches each"
    assert lines[-1] == "features: none, the network takes the clips themselves"


def test_a_run_in_a_terminal_has_one_bar_and_a_line_per_epoch(tiny_set, tiny_store, tmp_path, run_in_terminal):
    run = run_in_terminal(
        [
            *("train", "--config", CONFIGS / "demo.yaml", "--data.root", tiny_set, "--data.store", tiny_store),
            *("--trainer.default_root_dir", tmp_path / "run", "--trainer.max_epochs", "2"),
            *("--model.model.width", "8", "--model.model.heads", "2", "--data.batch_size", "2"),
        ],
        100,
    )
    assert run.code == 0, run.text
    lines = [line.strip() for line in re.split(r"[\r\n]+", run.text) if line.strip()]
    assert lines[0].startswith("network: BoundaryTransformer, ")
    assert lines[1] == "epochs: 2, 2 batches each"
    assert lines[2].startswith("training: 3 clips, ")
    assert lines[3].startswith("validation: 3 clips, ")
    assert lines[4] == "features: logspec (audio, 513 numbers), residual_grid (visual, 320 numbers)"
    assert [line.partition(":")[0] for line in lines if line.startswith("epoch ")] == ["epoch 1/2", "epoch 2/2"]
    assert all("val/ap 0." in line and "train/loss " in line for line in lines if line.startswith("epoch "))
    bars = [line for line in lines if line.startswith("train:")]
    assert all("/4 steps [" in line for line in bars)
    assert any("50 %" in line for line in bars)
    best = tmp_path.resolve() / "run" / "checkpoints" / "best.ckpt"
    assert re.fullmatch(rf"best checkpoint: {best} \(val/ap 0\.\d+\)", lines[-2])
    assert lines[-1].startswith(f"next: avloc predict --checkpoint {best} --dataset lavdf --root {tiny_set} --store ")

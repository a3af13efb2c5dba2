from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from avloc.core.calibration import PlattFit
from avloc.core.descriptions import NetworkDescription, TrainingContext
from avloc.core.proposals import Proposals
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.loading.batch import Batch, FeatureInputs
from avloc.datasets.loading.feature_data import FeatureData
from avloc.datasets.loading.split_data import DatasetWarning
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import as_table
from avloc.errors import AvlocError
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import KEY, weights_sha256
from avloc.training.clip_scores import ClipResults
from avloc.training.module import LocalizationModule, clips_not_finite, one_cycle


def module(**arguments):
    training = LocalizationModule(BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2), **arguments)
    training._trainer = SimpleNamespace(estimated_stepping_batches=10)
    return training


def test_published_recipes():
    """BA-TFD: Adam, halved on a plateau; BA-TFD+: multiplied by .992 an epoch."""
    configured = module(optimizer="adam", betas=(0.5, 0.9), schedule="plateau").configure_optimizers()
    assert type(configured["optimizer"]) is torch.optim.Adam
    assert configured["optimizer"].defaults["betas"] == (0.5, 0.9)
    plateau = configured["lr_scheduler"]["scheduler"]
    for _ in range(5):
        plateau.step(1.0)
    assert configured["optimizer"].param_groups[0]["lr"] == pytest.approx(5e-4)
    assert configured["lr_scheduler"]["monitor"] == "val/loss"
    (optimizer,), (schedule,) = module(optimizer="adam", schedule="exponential").configure_optimizers()
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.992e-3)
    assert type(module().configure_optimizers()["optimizer"]) is torch.optim.AdamW


def test_wrong_recipes_are_refused():
    with pytest.raises(AvlocError, match="got 'sgd', 'one_cycle'"):
        module(optimizer="sgd")
    with pytest.raises(AvlocError, match="want lr > 0"):
        module(lr=0.0)


def batch(value=1.0):
    audio, visual = torch.ones(2, 9, 5), torch.ones(2, 9, 7)
    audio[1, 3, 2] = value
    masks = torch.ones(2, 9, dtype=torch.bool)
    records = [VideoRecord("a.mp4", "train", 0.36), VideoRecord("b.mp4", "train", 0.36)]
    return Batch(FeatureInputs(audio, visual, masks, masks), [TimeGrid(0, 0.04, 9)] * 2, records, None, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training(value):
    training = module(lr=0.5)
    training._trainer = SimpleNamespace(
        global_step=7, current_epoch=2, optimizers=[SimpleNamespace(param_groups=[{"lr": 0.125}])]
    )
    good = {"loss": torch.tensor(1.0), "point": torch.tensor(2.0)}
    training._check_finite("loss", good, batch())
    bad = {"loss": torch.tensor(value), "point": torch.tensor(value), "step": torch.tensor(2.0)}
    with pytest.raises(
        AvlocError, match=r"the loss is no finite number at step 7 \(epoch 2, learning rate 0.125\)"
    ) as error:
        training._check_finite("loss", bad, batch())
    assert f"point {value:g}; try a smaller --model.lr" in str(error.value)
    assert "step 2" not in str(error.value)
    with pytest.raises(AvlocError, match="the features of b.mp4 are not finite numbers: verify the store"):
        training._check_finite("loss", bad, batch(value))


def test_clips_whose_inputs_are_not_finite():
    assert clips_not_finite(batch()) == []
    assert clips_not_finite(batch(float("nan"))) == ["b.mp4"]


@pytest.mark.parametrize("table", [as_table, ClipRecordTable.from_records])
def test_a_training_that_validates_on_its_own_clips_warns_once(table, tmp_path):
    """A set without splits is its own validation set; LAV-DF's splits share no clip."""
    training, data = module(), FeatureData(dataset="folder", root=tmp_path, store=tmp_path, extractors=["logspec"])

    def start(files, validation_files):
        loaders = [
            SimpleNamespace(dataset=SimpleNamespace(records=table([VideoRecord(file, "all") for file in names])))
            for names in (files, validation_files)
        ]
        training._trainer = SimpleNamespace(
            is_global_zero=True, datamodule=data, train_dataloader=loaders[0], val_dataloaders=loaders[1]
        )
        training.on_train_start()

    with pytest.warns(
        DatasetWarning, match=r"^2 of 3 validation clips are training clips too, the first is b\.mp4: "
    ) as caught:
        start(["a.mp4", "b.mp4", "c.mp4", "d.mp4"], ["e.mp4", "b.mp4", "d.mp4"])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start(["a.mp4", "b.mp4"], ["c.mp4"])
        training._trainer.val_dataloaders = None  # with limit_val_batches: 0
        training.on_train_start()


def test_weights_that_are_not_finite_get_no_checkpoint():
    training = module()
    training._trainer = SimpleNamespace(global_step=7)
    checkpoint = {"state_dict": {f"model.{name}": value for name, value in training.model.state_dict().items()}}
    training.on_save_checkpoint(checkpoint)
    assert KEY not in checkpoint  # no data module, so no context
    training.context = TrainingContext(0.04)
    training.on_save_checkpoint(checkpoint)
    assert checkpoint[KEY]["weights_sha256"] == weights_sha256(checkpoint["state_dict"])
    assert "network" not in checkpoint[KEY]
    training.description = NetworkDescription("BoundaryTransformer", scope="the split train of lavdf")
    training.on_save_checkpoint(checkpoint)
    assert checkpoint[KEY]["network"]["scope"] == "the split train of lavdf"
    name = next(iter(dict(training.model.named_parameters())))
    checkpoint["state_dict"][f"model.{name}"] = torch.tensor([float("nan")])
    with pytest.raises(
        AvlocError, match=rf"after step 7 \(no checkpoint is written\): the weights {name} are not finite"
    ):
        training.on_save_checkpoint(checkpoint)


def test_a_checkpoint_keeps_the_calibration_of_its_own_weights_only(monkeypatch):
    """Of two checkpoints after one validation, the one at the same step; a validation of the later weights replaces it."""
    training = module()
    training.context, training._validates_segments = TrainingContext(0.04), False
    training.description = NetworkDescription("BoundaryTransformer")
    state = {f"model.{name}": value for name, value in training.model.state_dict().items()}

    def kept_at(step, fit=None, share=None):
        training._trainer = SimpleNamespace(global_step=step)
        if fit is not None:
            results = ClipResults({"clip": fit}, float("nan"), float("nan"), share)
            monkeypatch.setattr(training.clip_scores, "compute", lambda: results)
            training.on_validation_epoch_end()
        checkpoint = {"state_dict": dict(state)}
        training.on_save_checkpoint(checkpoint)
        return checkpoint[KEY].get("calibration"), checkpoint[KEY]["network"].get("modality_share")

    assert kept_at(7, PlattFit(2.0, 0.5, 3, 2), 0.3) == ({"clip": (2.0, 0.5, 3, 2)}, 0.3)
    assert kept_at(7) == ({"clip": (2.0, 0.5, 3, 2)}, 0.3)
    assert kept_at(9) == (None, None)
    assert kept_at(12, PlattFit(3.0, 0.25, 3, 2), 0.6) == ({"clip": (3.0, 0.25, 3, 2)}, 0.6)
    assert kept_at(13, PlattFit(3.0, 0.25, 3, 2)) == ({"clip": (3.0, 0.25, 3, 2)}, None)


def test_a_forgery_of_sound_and_picture_is_one_fake_of_the_validation(monkeypatch):
    """Its sound and its mouth have ends of their own; one row that covers both is all that there is to report."""
    training, examples = module(), batch()
    training.eval()
    forged = VideoRecord("a.mp4", "val", 0.36, (Segment(0.04, 0.2),), (Segment(0.08, 0.24),))
    examples.records[0] = forged
    row = Proposals(torch.tensor([[0.04, 0.24]]).double().numpy(), torch.ones(1).numpy(), torch.ones(1, 2).numpy())
    monkeypatch.setattr(training.model, "decode", lambda output, grids: [row, Proposals.empty()])
    training.validation_step(examples, 0)
    assert {name: float(value) for name, value in training.metric.compute().items()}["ap"] == 1.0


def sound_network(front_end, options):
    """A network that learns from samples."""
    sizes = {"audio_dim": 160, "visual_dim": 7, "width": 8, "heads": 2}
    rates = {"audio_rows_per_step": 4.0, "visual_rows_per_step": 1.0}
    return BoundaryTransformer(**sizes, **rates, audio_front_end=front_end, audio_front_end_options=options)


def front_end_module(tuning, **arguments):
    """A network on a small speech network with random weights."""
    settings = {"model_type": "wav2vec2", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings |= {"intermediate_size": 8, "conv_dim": [4] * 7}
    settings |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    network = sound_network("speech", {"settings": settings, "tuning": tuning, "top_layers": 1})
    training = LocalizationModule(network, **arguments)
    training._trainer = trainer(10, batches=2)
    return training


def trainer(steps, batches, accumulate=1):
    """A trainer's numbers: optimizer steps in all, and batches per epoch."""
    return SimpleNamespace(
        estimated_stepping_batches=steps, num_training_batches=batches, accumulate_grad_batches=accumulate
    )


def rates_of(training, steps):
    """The learning rate of each group at each step."""
    configured = training.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return optimizer.param_groups, rates


def test_pretrained_layers_learn_at_their_own_rates_after_the_frozen_epochs():
    """They warm up from the step in which they begin, instead of beginning at the rate that the rest has then."""
    training = front_end_module("all", lr=1e-3, front_end_lr=1e-4, layer_decay=0.5, frozen_epochs=2, warmup=0.5)
    groups, rates = rates_of(training, 10)
    assert {group["initial_lr"] for group in groups if not group["pretrained"]} == {1e-3}
    assert [group["initial_lr"] for group in groups if group["pretrained"]] == [1e-4] * 2 + [0.5e-4] * 2 + [0.25e-4] * 2
    pretrained = [[r for r, group in zip(rate, groups, strict=True) if group["pretrained"]] for rate in rates]
    rest = [rate[0] for rate in rates]
    assert rest == pytest.approx([1e-3 * one_cycle(k / 10, 0.5) for k in range(10)])
    top = [rate[0] for rate in pretrained]
    assert top == pytest.approx([0.0] * 4 + [1e-4 * one_cycle(k / 6, 0.5) for k in range(6)])
    assert top[4] == pytest.approx(0.04e-4)
    assert max(top) == pytest.approx(1e-4)
    for rate in pretrained:
        assert rate == pytest.approx([rate[0] * ratio for ratio in (1, 1, 0.5, 0.5, 0.25, 0.25)])


@pytest.mark.parametrize(
    ("steps", "batches", "accumulate", "frozen"),
    [(10, 2, 1, 4), (7, 2, 1, 4), (12, 7, 3, 6)],
    ids=["epochs", "max_steps alone", "accumulated"],
)
def test_frozen_epochs_are_counted_in_steps(steps, batches, accumulate, frozen):
    """Without a number of epochs (`max_epochs: -1`), too."""
    training = front_end_module("all", frozen_epochs=2)
    training._trainer = trainer(steps, batches, accumulate)
    groups, rates = rates_of(training, steps)
    k = next(k for k, group in enumerate(groups) if group["pretrained"])
    assert [rate[k] > 0 for rate in rates] == [False] * frozen + [True] * (steps - frozen)


@pytest.mark.parametrize(("steps", "batches"), [(4, 2), (3, 2), (2, 1), (9, float("inf"))])
def test_frozen_epochs_that_never_end_are_refused(steps, batches):
    training = front_end_module("all", frozen_epochs=2)
    training._trainer = trainer(steps, batches)
    with pytest.raises(
        AvlocError, match=f"are {2 * batches} steps, and the training has {steps}: the pretrained layers"
    ):
        training.configure_optimizers()


def test_a_training_without_an_end_has_no_schedule():
    training = module()
    training._trainer = SimpleNamespace(estimated_stepping_batches=float("inf"))
    with pytest.raises(AvlocError, match="needs the end of the training"):
        training.configure_optimizers()


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_weight_decay_leaves_scales_biases_and_cutoffs_alone(optimizer):
    """Without gradients, decay alone moves weights: matrices of the front end shrink, its vectors stay."""
    network = sound_network("raw", {"filters": 5, "kernel": 40})
    training = LocalizationModule(network, weight_decay=0.5, optimizer=optimizer)
    training._trainer = trainer(10, 2)
    front_end = network.stems[0]
    before = {name: p.detach().clone() for name, p in front_end.named_parameters()}
    configured = training.configure_optimizers()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    configured["optimizer"].step()
    unmoved = {name for name, p in front_end.named_parameters() if torch.equal(p, before[name])}
    assert {"filters.low_khz", "filters.band_khz", "project.bias", "strided.0.norm.weight"} <= unmoved
    assert unmoved == {name for name, value in before.items() if value.dim() == 1}


def test_frozen_weights_keep_their_values_in_the_frozen_epochs():
    training = front_end_module("top", frozen_epochs=2, weight_decay=0.5)
    configured = training.configure_optimizers()
    parameter = next(group for group in configured["optimizer"].param_groups if group["pretrained"])["params"][0]
    before = parameter.detach().clone()
    for epoch in range(3):
        for _ in range(2):
            parameter.grad = torch.ones_like(parameter)
            configured["optimizer"].step()
            configured["lr_scheduler"]["scheduler"].step()
        assert torch.equal(parameter, before) == (epoch < 2)


def test_frozen_epochs_need_the_schedule_that_has_them():
    with pytest.raises(AvlocError, match="frozen_epochs are for schedule one_cycle, got 'plateau'"):
        front_end_module("top", frozen_epochs=1, schedule="plateau")
    with pytest.raises(AvlocError, match="are for pretrained layers that learn"):
        front_end_module("frozen", front_end_lr=1e-4).configure_optimizers()

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from avloc.cli.train import CONFIGS
from avloc.core.descriptions import ExtractorDescription, TrainingContext
from avloc.datasets.loading import split_data
from avloc.datasets.readers.catalog import read_records
from avloc.errors import AvlocError, CheckpointError
from avloc.inference.localizer import Localizer
from avloc.inference.split.prediction import predict
from avloc.io.files import temporary_path
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import read_checkpoint, write_checkpoint
from avloc.training import command
from avloc.training.command import _check_fits, _loading_error, train, without_traces

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


CONTEXT = TrainingContext(0.04, (ExtractorDescription("mel", "audio", hop_s=0.01, dim=5),))


def network(width: int = 8) -> BoundaryTransformer:
    return BoundaryTransformer(audio_dim=5, visual_dim=7, width=width, heads=2, levels=1)


def test_a_checkpoint_resumes_a_network_of_its_own_shapes_only(tmp_path):
    path = tmp_path / "c.ckpt"
    write_checkpoint(path, network(), CONTEXT)
    _check_fits(str(path), network())
    with pytest.raises(CheckpointError, match=r"boundary_head.* is \(.*8.*\) there and \(.*12.*\) here"):
        _check_fits(str(path), network(width=12))
    with pytest.raises(CheckpointError, match="is of a BoundaryTransformer, the configuration's network is a Linear"):
        _check_fits(str(path), torch.nn.Linear(2, 2))


@pytest.fixture
def words(tiny_set, tiny_store, tmp_path):
    """A run of one epoch in the folder `run`."""
    return [
        *("--config", str(CONFIGS / "demo.yaml"), "--data.root", str(tiny_set), "--data.store", str(tiny_store)),
        *("--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.enable_progress_bar", "false"),
        *("--trainer.max_epochs", "1", "--model.model.width", "8", "--model.model.heads", "2"),
    ]


def test_training_returns_the_best_checkpoint(words, tmp_path):
    unfinished = temporary_path(tmp_path / "run" / "checkpoints" / "last.ckpt")  # of a run that was killed
    unfinished = unfinished.with_name(unfinished.name.replace(f".{os.getpid()}.", ".99999999."))
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half")
    best = train(words)
    assert best == tmp_path.resolve() / "run" / "checkpoints" / "best.ckpt"
    assert sorted(p.name for p in best.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
    last = best.with_name("last.ckpt")
    assert read_checkpoint(last).context == read_checkpoint(best).context
    # A run that was stopped in the middle of a write by a release without whole checkpoints.
    last.write_bytes(last.read_bytes()[:-2000])
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt: a damaged checkpoint, .*best\.ckpt beside it is whole, name that one"
    ):
        train(words)
    assert train([*words, "--resume", str(best)]) == best


def test_training_starts_from_the_weights_of_another_run(words, tmp_path, capsys):
    first = train(words)
    other = [*words, "--trainer.default_root_dir", str(tmp_path / "other"), "--model.lr", "1e-12", "--init", str(first)]
    capsys.readouterr()
    second = train(other)
    assert f"weights of {first}" in capsys.readouterr().out
    before, after = read_checkpoint(first).weights, read_checkpoint(second).weights
    assert before.keys() == after.keys()
    trained = [name for name in before if "running_" not in name]  # averages over batches move whatever the rate is
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in trained)
    with pytest.raises(CheckpointError, match="does not fit the configuration's network"):
        train([*other, "--overwrite", "true", "--model.model.width", "12"])


def test_overwrite_discards_the_run_that_the_folder_holds(words, tmp_path, monkeypatch, capsys):
    """A run that is killed before its first checkpoint leaves none of the discarded run, which would be resumed as its own."""
    run = tmp_path / "run"
    first = train(words)
    (run / "checkpoints" / "epoch=0-step=7.ckpt").write_bytes(b"of a callback")
    (run / "checkpoints" / "pretrained.pt").write_bytes(b"not of the run")
    kept = first.read_bytes()
    other = [*words, "--model.lr", "2e-3", "--overwrite", "true"]
    for option in ("--init", "--resume"):
        with pytest.raises(
            AvlocError, match=rf"best\.ckpt: {option} names a checkpoint that --overwrite true discards"
        ):
            train([*other, option, str(first)])
    with pytest.raises(CheckpointError):
        train([*other, "--init", str(run / "checkpoints" / "pretrained.pt")])
    assert first.read_bytes() == kept

    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(command.pl.Trainer, "fit", interrupt)
        train(other)
    assert sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()) == [
        "checkpoints/pretrained.pt",
        "run.json",
    ]
    capsys.readouterr()
    assert train(other[:-2]).read_bytes() != kept
    assert "resuming" not in capsys.readouterr().out


def test_training_stops_at_the_first_loss_that_is_not_finite(words, tmp_path):
    with pytest.raises(AvlocError, match=r"the loss is no finite number at step 1 \(epoch 0, learning rate"):
        train([*words, "--model.lr", "1e30", "--data.batch_size", "1"])
    assert not (tmp_path / "run").exists()


def test_a_failed_run_leaves_nothing(words, tmp_path):
    with pytest.raises(AvlocError, match="no features of 'nope'"):
        train([*words, "--data.extractors", "[nope]"])
    assert not (tmp_path / "run").exists()


def test_a_failed_run_leaves_what_was_there(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(AvlocError), without_traces(tmp_path):
        (tmp_path / "logs" / "version_0").mkdir(parents=True)
        (tmp_path / "logs" / "version_0" / "config.yaml").write_text("")
        raise AvlocError("wrong")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "run.json"]
    with pytest.raises(AvlocError), without_traces(tmp_path):
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "last.ckpt").write_text("")
        raise AvlocError("wrong")
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_full_disk_names_the_file_of_the_run(words, tmp_path, monkeypatch):
    def refuse(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match="no room on the disk"):
        train(words)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "a process that loads batches died"),
        (RuntimeError("another"), None),
        (OSError(errno.EIO, "Input/output error"), None),
    ],
)
def test_errors_of_a_loader(error, message):
    outer = RuntimeError("while it ended")
    outer.__context__ = error
    loading = _loading_error(outer)
    assert loading is None if message is None else message in str(loading)


def test_errors_of_a_configuration_name_its_file(words, tmp_path):
    text = (CONFIGS / "demo.yaml").read_text()
    for wrong, message in (
        ("lr: fast", "model.lr: want float, got 'fast'"),
        ("colour: red", "model.colour does not exist"),
    ):
        path = tmp_path / "my.yaml"
        path.write_text(text.replace("lr: 1.0e-3", wrong))
        with pytest.raises(AvlocError, match=f"^{re.escape(str(path))}: .*{message}") as error:
            train(["--config", str(path), *words[2:]])
        assert "\n" not in str(error.value)


def test_a_wrong_setting_is_one_line(tiny_set, tiny_store):
    words = ["--config", str(CONFIGS / "demo.yaml"), "--data.root", str(tiny_set), "--data.store", str(tiny_store)]
    with pytest.raises(AvlocError, match="colour") as error:
        train([*words, "--colour", "red"])
    assert "\n" not in str(error.value)


FRONT_END_CONFIG = """
seed_everything: 0
model:
  lr: 1.0e-3
  front_end_lr: 1.0e-4
  layer_decay: 0.9
  frozen_epochs: 1
  model:
    class_path: avloc.models.BoundaryTransformer
    init_args:
      audio_dim: 160
      visual_dim: 320
      audio_rows_per_step: 4.0
      visual_rows_per_step: 1.0
      audio_front_end: speech
      audio_front_end_options:
        tuning: lora
        rank: 2
        checkpointing: true
        settings:
          {model_type: wavlm, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 8,
           conv_dim: [4, 4, 4, 4, 4, 4, 4], num_conv_pos_embeddings: 4, num_conv_pos_embedding_groups: 2}
      width: 8
      heads: 2
      levels: 1
data:
  class_path: avloc.datasets.FeatureData
  init_args:
    dataset: lavdf
    root: clips
    store: features
    extractors: [waveform, residual_grid]
    longest_s: 2.0
    batch_size: 1
trainer:
  max_epochs: 2
  accelerator: cpu
  enable_progress_bar: false
"""


def test_a_front_end_and_its_options_are_set_on_the_command_line(tmp_path):
    words = [
        *("--config", str(CONFIGS / "demo.yaml"), "--data.root", str(tmp_path), "--data.store", str(tmp_path)),
        *("--data.extractors", "[waveform, residual_grid]", "--trainer.default_root_dir", str(tmp_path / "run")),
        *("--model.model.audio_front_end", "spectrogram", "--model.model.audio_dim", "160"),
        *("--model.model.audio_spectral_channels", "0", "--data.longest_s", "null"),
    ]
    option = "--model.model.audio_front_end_options"
    for more in ([option, "{n_fft: 320, phase: false}"], [f"{option}.n_fft", "320", f"{option}.phase", "false"]):
        model = command._cli([*words, *more]).model.model
        options = {"n_fft": 320, "channels": 12, "phase": False, "differences": True}
        assert model.arguments["audio_front_end_options"] == options


@pytest.fixture
def front_end_words(tiny_set, tmp_path):
    """A run of two epochs through a small WavLM, from samples in a store."""
    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.job.run import extract
    from avloc.feature_extraction.job.worker import ExtractionSettings
    from avloc.feature_extraction.store.feature_store import FeatureStore

    files = [record.file for record in read_records("lavdf", tiny_set)]
    settings = ExtractionSettings(tiny_set, (("waveform", {}), ("residual_grid", {})))
    extract(files, FeatureStore(tmp_path / "store"), settings)
    (tmp_path / "c.yaml").write_text(FRONT_END_CONFIG)
    return [
        *("--config", str(tmp_path / "c.yaml"), "--data.root", str(tiny_set), "--data.store", str(tmp_path / "store")),
        *("--trainer.default_root_dir", str(tmp_path / "run")),
    ]


def test_a_front_end_trains_from_samples_and_runs_on_a_clip(front_end_words, tiny_set):
    from avloc.inference.localizer import Localizer

    best = train(front_end_words)
    checkpoint = read_checkpoint(best.with_name("last.ckpt"))
    assert [e.dtype for e in checkpoint.context.extractors] == ["int16", "float16"]
    assert checkpoint.arguments["audio_front_end_options"]["settings"]["model_type"] == "wavlm"
    updates = [value for name, value in checkpoint.weights.items() if name.endswith("q_proj.up")]
    assert len(updates) == 2
    assert all(value.any() for value in updates)  # 0 at first: they have learned in the second epoch
    clip = next((tiny_set / "test").glob("*.mp4"))
    assert len(Localizer.from_checkpoint(best).localize(clip).proposals)


@pytest.mark.slow
def test_two_processes_train_a_front_end(front_end_words, tmp_path):
    """Every parameter takes part in every step, also where a process gets clips without sound."""
    import subprocess
    import sys

    parallel = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = [sys.executable, "-W", "ignore", "-m", "avloc", "train", *front_end_words, *parallel]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize(("dataset", "split"), [("lavdf", "test"), ("avdeepfake1m++", "val"), ("folder", "all")])
def test_the_next_command_is_one_that_works(dataset, split):
    from avloc.training.command import _describe_end

    class OwnNetwork:
        pass

    callback = SimpleNamespace(best_model_score=0.5, monitor="val/ap")
    data = SimpleNamespace(dataset=dataset, root="R", store=SimpleNamespace(root="S"), val_split=split)
    cli = SimpleNamespace(
        trainer=SimpleNamespace(checkpoint_callback=callback),
        datamodule=data,
        model=SimpleNamespace(model=OwnNetwork()),
    )
    text = _describe_end(cli, "b.ckpt")
    assert f"--split {split} --out predictions.json" in text
    assert f"--network '{__name__}." in text or f"--network {__name__}." in text
    assert "--store S" in text
    data.from_clips = True
    assert "--store" not in _describe_end(cli, "b.ckpt")


def test_clip_labels_choose_the_checkpoint_by_the_auc(words, tiny_set, tiny_store, tmp_path, capsys, monkeypatch):
    """All three splits as one, which has real and fake clips."""
    monkeypatch.setattr(split_data, "read_records", lambda dataset, root, split: read_records(dataset, root))
    with pytest.warns(split_data.DatasetWarning, match="9 of 9 validation clips are training clips too"):
        best = train([*words, "--data.clip_labels_only", "true", "--model.model.clip_pooling", "noisy_or"])
    text = capsys.readouterr().out
    assert re.search(r"best\.ckpt \(val/auc [01]\.\d+\)", text)
    assert re.search(r"training: 9 clips, [1-8] fake, clip labels only", text)
    assert "val/eer" in text
    assert "val/ap" not in text
    predictions = predict(Localizer.from_checkpoint(best), "lavdf", tiny_set, "dev", store=tiny_store, keep=5)
    assert {len(rows) for rows in predictions.values()} == {5}
    assert not predictions.failures
    report = [*words, "--data.clip_labels_only", "true", "--data.report_segments", "true", "--overwrite", "true"]
    train([*report, "--model.model.clip_pooling", "top_k"])
    text = capsys.readouterr().out
    assert "val/ap" in text
    assert re.search(r"best\.ckpt \(val/auc", text)

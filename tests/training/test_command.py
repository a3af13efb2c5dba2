from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
import torch

from avloc.cli.train import CONFIGS
from avloc.core.descriptions import ExtractorDescription, TrainingContext
from avloc.errors import AvlocError, CheckpointError
from avloc.io.files import temporary_path
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import read_checkpoint, write_checkpoint
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
    assert f"weights of {first}" in capsys.readouterr().err
    before, after = read_checkpoint(first).weights, read_checkpoint(second).weights
    assert before.keys() == after.keys()
    trained = [name for name in before if "running_" not in name]  # averages over batches move whatever the rate is
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in trained)
    with pytest.raises(CheckpointError, match="does not fit the configuration's network"):
        train([*other, "--overwrite", "true", "--model.model.width", "12"])


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
    for wrong, message in (("lr: fast", 'Parser key "model.lr"'), ("colour: red", "'colour'")):
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

"""BA-TFD through the command line: trained on clips and on features, converted, run, and used as an extractor."""

from __future__ import annotations

import json
import shlex
import shutil

import numpy as np
import pytest
import torch

from avloc.cli.main import main
from avloc.inference.localizer import Localizer

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SMALL = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (6, 5), "samples": 4}


def small_network(prefix="--model.model."):
    return [f"{prefix}{key}={json.dumps(value)}" for key, value in SMALL.items()]


@pytest.mark.parametrize(
    ("config", "network"),
    [
        ("lavdf/batfd", ["durations=8", "frames=64"]),
        ("avdeepfake1m/batfd_plus", ["video_encoder=c3d", "audio_encoder=cnn"]),
    ],
)
def test_networks_train_on_clips(tiny_set, tmp_path, config, network):
    run = tmp_path / "run"
    frames = next((n.partition("=")[2] for n in network if n.startswith("frames")), "20")
    arguments = ["train", "--config", config, "--data.dataset", "lavdf", "--data.root", str(tiny_set)]
    arguments += ["--data.workers", "0", "--data.frames", frames, "--trainer.max_epochs", "1"]
    arguments += ["--data.cache", str(tmp_path / "cache"), "--trainer.enable_progress_bar", "false"]
    arguments += [f"--model.model.{n}" for n in [*network, f"frames={frames}"]] + small_network()
    assert main([*arguments, "--trainer.default_root_dir", str(run)]) == 0
    best = run / "checkpoints" / "best.ckpt"
    localizer = Localizer.from_checkpoint(best)
    assert (localizer.source.frames, localizer.source.fit) == (
        int(frames),
        "pad" if config.startswith("lavdf") else "squeeze",
    )
    predict = ["predict", "--checkpoint", str(best), "--dataset", "lavdf", "--root", str(tiny_set), "--workers", "1"]
    assert main([*predict, "--out", str(tmp_path / "p.json")]) == 0
    predictions = json.loads((tmp_path / "p.json").read_text())
    assert len(predictions) == 3
    durations = {e["file"]: e["duration"] for e in json.loads((tiny_set / "metadata.min.json").read_text())}
    for file, rows in predictions.items():
        assert len(rows) > 50
        assert max(end for _, _, end in rows) <= durations[file] + 0.05


def test_broken_clip_in_a_worker_is_one_line(tiny_set, tmp_path, capsys):
    shutil.copytree(tiny_set, tmp_path / "set")
    for clip in (tmp_path / "set" / "train").glob("*.mp4"):
        clip.write_text("none")
    arguments = ["train", "--config", "lavdf/batfd", "--data.root", str(tmp_path / "set"), "--data.workers", "1"]
    arguments += ["--data.frames", "20", "--model.model.frames", "20", "--trainer.enable_progress_bar", "false"]
    assert main([*arguments, *small_network(), "--trainer.default_root_dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cannot be opened as media" in error
    assert "Traceback" not in error


def test_map_trains_on_features(tiny_set, tiny_store, tmp_path, capsys):
    arguments = ["train", "--config", "demo_batfd", "--data.root", str(tiny_set), "--data.store", str(tiny_store)]
    arguments += ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    arguments += ["--trainer.default_root_dir", str(tmp_path)]
    assert main(arguments) == 0
    best = tmp_path / "checkpoints" / "best.ckpt"
    predict = ["predict", "--checkpoint", str(best), "--dataset", "lavdf", "--root", str(tiny_set), "--workers", "1"]
    assert main([*predict, "--store", str(tiny_store), "--out", str(tmp_path / "a.json")]) == 0
    assert main([*predict, "--out", str(tmp_path / "b.json")]) == 0
    cached, decoded = (json.loads((tmp_path / n).read_text()) for n in ("a.json", "b.json"))
    for file, rows in cached.items():  # the store keeps float16
        assert np.array(rows)[0, 0] == pytest.approx(np.array(decoded[file])[0, 0], abs=0.02)
    assert (
        main([*predict, "--store", str(tiny_store), "--out", str(tmp_path / "c.json"), "--decoding", "published"]) == 0
    )
    published = json.loads((tmp_path / "c.json").read_text())
    assert all(rows != published[file] for file, rows in cached.items())
    capsys.readouterr()
    network = ["--model.model.video_encoder", "c3d", "--model.model.audio_encoder", "cnn", "--model.model.width", "256"]
    other = ["train", "--config", "lavdf/batfd", "--data.root", str(tiny_set), "--data.frames", "64"]
    assert main([*other, "--trainer.default_root_dir", str(tmp_path / "other")]) == 2
    assert "the network takes clips of 512 frames, the data has 64" in capsys.readouterr().err
    assert main([*arguments, *network, "--overwrite", "true"]) == 2
    assert "train it with avloc.datasets.ClipData" in capsys.readouterr().err


@pytest.fixture
def converted(published, tmp_path, capsys):
    fixture = published("batfd")
    torch.save({"state_dict": fixture.state, "hyper_parameters": fixture.settings}, tmp_path / "published.ckpt")
    assert main(["convert", str(tmp_path / "published.ckpt"), "--out", str(tmp_path / "ours.ckpt")]) == 0
    assert "BATFD: 60 tensors" in capsys.readouterr().out
    return tmp_path / "ours.ckpt"


def test_released_checkpoints_run_on_clips(converted, tiny_set, tmp_path, capsys):
    clip = next((tiny_set / "test").glob("*.mp4"))
    assert (
        main(["localize", str(clip), "--checkpoint", str(converted), "--out", str(tmp_path), "--precision", "bf16"])
        == 0
    )
    document = json.loads((tmp_path / f"{clip.stem}.json").read_text())
    assert (tmp_path / f"{clip.stem}.png").is_file()
    # The network takes 64 frames; this clip is longer, and is run in windows.
    assert len(document["step"]["audio"]) * 0.04 == pytest.approx(document["duration"], abs=0.1)
    assert document["duration"] > 64 * 0.04
    assert None not in document["step"]["visual"]
    root = tmp_path / "one"  # the set of this clip alone
    (root / "test").mkdir(parents=True)
    shutil.copyfile(clip, root / "test" / clip.name)
    labels = json.loads((tiny_set / "metadata.min.json").read_text())
    (root / "metadata.min.json").write_text(
        json.dumps([each for each in labels if each["file"] == f"test/{clip.name}"])
    )
    store = str(tmp_path / "store")
    extract = ["extract", "--dataset", "lavdf", "--root", str(root), "--split", "test", "--store", store]
    weights = f"weights={converted}"
    assert main([*extract, "--extractors", f"batfd_c3d:{weights},batfd_audio:{weights}", "--workers", "1"]) == 0
    assert (
        main(
            shlex.split(
                f"predict --checkpoint {converted} --dataset lavdf --root {root} --store {store} --out "
                f"{tmp_path / 'p.json'}"
            )
        )
        == 2
    )
    assert "the network takes the clips themselves" in capsys.readouterr().err

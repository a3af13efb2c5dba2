"""The whole way through the command line, on a tiny set: synth → extract → train → predict → evaluate → localize."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.cli.info.detectors import detect
from avloc.cli.main import main
from avloc.datasets.synthetic.encode import write_mp4
from avloc.inference.localizer import Localizer


def test_each_step_is_a_command(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clips, store, run = str(demo / "clips"), str(tmp_path / "features"), tmp_path / "run"
    assert (
        main(
            shlex.split(
                f"extract --dataset lavdf --root {clips} --store {store} --extractors logspec,residual_grid --workers 1"
            )
        )
        == 0
    )
    common = shlex.split(
        f"train --config demo --data.root {clips} --data.store {store} --trainer.default_root_dir "
        f"{run} --trainer.enable_progress_bar false"
    )
    assert main([*common, "--trainer.max_epochs", "1"]) == 0
    assert (run / "checkpoints" / "best.ckpt").is_file()
    last = run / "checkpoints" / "last.ckpt"
    assert main([*common, "--trainer.max_epochs", "2", "--resume", str(last)]) == 0
    first, second = ((run / "logs" / f"version_{k}" / "metrics.csv").read_text().splitlines()[1:] for k in range(2))
    assert {line.split(",")[0] for line in first} == {"0"}
    assert {line.split(",")[0] for line in second} == {"1"}  # the second run did the second epoch, no more
    arguments = ["predict", "--checkpoint", str(last), "--dataset", "lavdf", "--root", clips, "--split", "test"]
    arguments += ["--workers", "1"]
    assert main([*arguments, "--store", store, "--out", str(tmp_path / "a.json")]) == 0
    assert main([*arguments, "--out", str(tmp_path / "b.json")]) == 0
    cached, decoded = (json.loads((tmp_path / n).read_text()) for n in ("a.json", "b.json"))
    for file, rows in cached.items():  # the store keeps float16, so equal but for rounding
        best, other = np.array(rows)[0], np.array(decoded[file])
        assert np.abs(other - best).max(axis=1).min() < 0.05
    capsys.readouterr()
    metadata = str(demo / "clips" / "metadata.json")
    assert (
        main(
            shlex.split(
                f"evaluate {tmp_path / 'a.json'} {metadata} --protocol lavdf --split test --report "
                f"{tmp_path / 'r.html'}"
            )
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "AP@0.95" in printed
    assert "strict" in printed
    assert (tmp_path / "r.html").is_file()


def test_the_scores_name_the_checkpoint_and_what_it_was_trained_on(demo: Path):
    """From the training through the predictions to the numbers and the checkpoint's description."""
    record = json.loads((demo / "metrics.json").read_text())["provenance"]
    sha256 = hashlib.sha256((demo / "checkpoint.ckpt").read_bytes()).hexdigest()
    assert (record["checkpoint"]["sha256"], record["checkpoint"]["name"]) == (sha256, "BoundaryTransformer")
    assert record["checkpoint"]["trained_on"] == "the split train of lavdf"
    predictions = hashlib.sha256((demo / "predictions.json").read_bytes()).hexdigest()
    assert record["inputs"]["predictions"]["sha256"] == predictions
    for part, kind in (
        ("", "demo"),
        ("training", "run"),
        ("checkpoint.ckpt", "checkpoint"),
        ("metrics.json", "scores"),
    ):
        assert detect(demo / part)[0] == kind
    assert dict(detect(demo / "predictions.json")[1].facts)["Trained on"] == "the split train of lavdf"


def test_localize_works_on_any_clip(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rng = np.random.default_rng(0)
    hd = rng.integers(0, 255, (30, 720, 1280, 3), dtype=np.uint8)
    write_mp4(tmp_path / "hd 30.mp4", hd, rng.normal(0, 0.1, (2, 48000)).astype(np.float32), fps=30, sample_rate=48000)
    small = rng.integers(0, 255, (50, 64, 64, 3), dtype=np.uint8)
    write_mp4(tmp_path / "silent.mp4", small, None)
    write_mp4(tmp_path / "blind.mp4", None, rng.normal(0, 0.1, 32000).astype(np.float32))
    write_mp4(tmp_path / "long.mp4", np.tile(small, (30, 1, 1, 1)), rng.normal(0, 0.1, 16000 * 60).astype(np.float32))
    names = ["hd 30", "silent", "blind", "long"]
    out, checkpoint = tmp_path / "out", str(demo / "checkpoint.ckpt")
    assert (
        main(["localize", *(str(tmp_path / f"{n}.mp4") for n in names), "--checkpoint", checkpoint, "--out", str(out)])
        == 0
    )
    found = {n: json.loads((out / f"{n}.json").read_text()) for n in names}
    assert all((out / f"{n}.png").stat().st_size > 10_000 for n in names)
    assert found["long"]["duration"] == pytest.approx(60, abs=0.1)
    assert len(found["long"]["step"]["audio"]) == pytest.approx(1500, abs=3)
    assert None not in found["long"]["step"]["audio"][:1490]
    assert found["silent"]["problems"] == ["no audio stream"]
    assert set(found["silent"]["step"]["audio"]) == {None}
    assert found["blind"]["problems"] == ["no video stream"]
    for each in found.values():
        assert all(0 <= s["start"] < s["end"] <= each["duration"] + 0.04 for s in each["segments"])
    (tmp_path / "text.mp4").write_text("no clip")
    words = ["localize", str(tmp_path / "text.mp4"), "--checkpoint", checkpoint, "--workers", "0"]
    assert main([*words, "--out", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()
    assert (
        main(
            shlex.split(
                f"localize {tmp_path / 'text.mp4'} {tmp_path / 'silent.mp4'} --checkpoint {checkpoint} --out {out} --workers 0"
            )
        )
        == 1
    )


def test_windows_agree_with_the_whole(demo: Path, monkeypatch: pytest.MonkeyPatch):
    """A clip cut into overlapping windows says the same within them as it does in one piece."""
    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.inference import windowed_network as inference

    localizer = Localizer.from_checkpoint(demo / "checkpoint.ckpt")
    records = read_records("lavdf", demo / "clips", "test")
    example = localizer.source.stored(records, FeatureStore(demo / "features"), allow_missing=False)[0]
    whole = next(localizer.run([example]))
    monkeypatch.setattr(inference, "WINDOW_S", 2.0)
    monkeypatch.setattr(inference, "OVERLAP", 0.5)
    parts = next(localizer.run([example]))
    assert parts.fakeness.shape == whole.fakeness.shape
    assert not np.isnan(parts.fakeness).any()
    assert len(parts.proposals) > 0


def test_a_clip_that_cannot_be_read_is_recorded(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clips = tmp_path / "clips"
    shutil.copytree(demo / "clips", clips)
    (clips / "test" / "000000.mp4").write_text("no clip")
    arguments = shlex.split(
        f"extract --dataset lavdf --root {clips} --split test --store {tmp_path / 's'} --extractors "
        "logmel,residual_grid --workers 1"
    )
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "3 clips extracted, 0 already in the store, 1 failed" in captured.out
    assert "failed: test/000000.mp4" in captured.err
    assert main(arguments) == 1  # what is recorded as failed is said again
    predict = shlex.split(
        f"predict --checkpoint {demo / 'checkpoint.ckpt'} --dataset lavdf --root {clips} --workers 1 "
        f"--out {tmp_path / 'p.json'}"
    )
    assert main(predict) == 1
    assert json.loads((tmp_path / "p.json").read_text())["test/000000.mp4"] == []
    assert main([*predict, "--store", str(tmp_path / "s")]) == 2  # other extractors than the checkpoint's


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("avloc"), "not a checkpoint of `avloc train`"),
        (lambda c: c["avloc"].update(model="Other"), "unknown network 'Other'"),
        (lambda c: c["avloc"]["arguments"].update(width=48), "the weights do not fit this BoundaryTransformer"),
        (lambda c: c["state_dict"].clear(), "the weights do not fit"),
        (lambda c: c.pop("state_dict"), "a damaged checkpoint, it holds no weights"),
        (lambda c: c["avloc"].pop("hop_s"), "a damaged checkpoint, its entry 'hop_s' is None"),
        (lambda c: c["avloc"]["extractors"].append(3), "a damaged checkpoint, its entry 'extractors' is 3"),
    ],
)
def test_a_checkpoint_of_another_model_is_one_line(demo, tmp_path, capsys, spoil, message):
    checkpoint = torch.load(demo / "checkpoint.ckpt", weights_only=True)
    del checkpoint["avloc"]["weights_sha256"]  # the hash is tested with the checkpoint's reader
    spoil(checkpoint)
    torch.save(checkpoint, tmp_path / "odd.ckpt")
    clip = str(demo / "clips" / "test" / "000000.mp4")
    words = ["localize", clip, "--checkpoint", str(tmp_path / "odd.ckpt"), "--out", str(tmp_path / "o")]
    assert main([*words, "--workers", "0"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_localize_spares_what_is_not_its_own(demo, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = tmp_path / "cost_$5_$6_€.mp4"
    shutil.copy(demo / "clips" / "test" / "000000.mp4", clip)
    arguments = ["localize", str(clip), "--checkpoint", str(demo / "checkpoint.ckpt"), "--workers", "0"]
    clip.with_suffix(".json").write_text('{"mine": 1}')
    assert main(arguments) == 2
    assert "may not be avloc's; choose another --out" in capsys.readouterr().err
    clip.with_suffix(".json").unlink()
    assert main(arguments) == 0
    assert main(arguments) == 0  # its own may be written again
    picture = clip.with_suffix(".png")
    assert main(["localize", str(picture), *arguments[2:]]) == 2
    assert "is one of the clips and would be overwritten" in capsys.readouterr().err
    assert picture.stat().st_size > 10_000


def test_a_network_on_pretrained_features_runs_on_clips(demo: Path, tmp_path: Path, capsys):
    from avloc.feature_extraction.extractors.catalog import build_extractor

    weights, other = tmp_path / "r3d.pth", tmp_path / "other.pth"
    torch.manual_seed(0)
    from torchvision.models.video import r3d_18

    torch.save(r3d_18().state_dict(), weights)
    torch.save(r3d_18().state_dict(), other)
    checkpoint = torch.load(demo / "checkpoint.ckpt", weights_only=True)
    extractor = build_extractor("r3d_18", {"weights": str(weights)})
    checkpoint["avloc"]["extractors"][1] = extractor.describe().to_dict()
    checkpoint["avloc"]["arguments"] |= {"visual_dim": 512, "visual_rows_per_step": 0.25}  # 4 frames per row
    from avloc.models import build_model

    state = build_model("BoundaryTransformer", checkpoint["avloc"]["arguments"]).state_dict()
    checkpoint["state_dict"] = {f"model.{k}": v for k, v in state.items()}
    del checkpoint["avloc"]["weights_sha256"]
    torch.save(checkpoint, tmp_path / "c.ckpt")
    clip = str(demo / "clips" / "test" / "000000.mp4")
    arguments = ["localize", clip, "--checkpoint", str(tmp_path / "c.ckpt"), "--out", str(tmp_path / "o"), "--end", "1"]
    here = [*arguments, "--workers", "0"]  # no process for a refusal
    assert main(here) == 2
    assert "r3d_18 needs the weights file it was trained with: give --weights r3d_18=FILE" in capsys.readouterr().err
    assert main([*here, "--weights", f"r3d_18={other}"]) == 2
    assert "not the weights of r3d_18 that the network was trained on" in capsys.readouterr().err
    assert main([*arguments, "--weights", "r3d_18"]) == 2
    assert not (tmp_path / "o").exists()
    assert main([*arguments, "--weights", f"r3d_18={weights}"]) == 0

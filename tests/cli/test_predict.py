from __future__ import annotations

from pathlib import Path

import pytest

from avloc.cli.main import main
from avloc.inference.localizer import Localizer


def test_predictions_pass_the_submission_check(demo: Path, tmp_path: Path, capsys):
    """What our own `predict` writes, our own `submit` has nothing to say against."""
    arguments = [str(demo / "predictions.json"), "--durations", str(demo / "features")]
    assert main(["submit", *arguments]) == 0
    assert "no problems found" in capsys.readouterr().err


def test_predictions_do_not_depend_on_the_batch(demo: Path):
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.store.feature_store import FeatureStore

    localizer = Localizer.from_checkpoint(demo / "checkpoint.ckpt")
    records = read_records("lavdf", demo / "clips")
    examples = list(FeatureDataset(records, FeatureStore(demo / "features"), ("logspec", "residual_grid"), hop_s=0.04))
    for example, batched in zip(examples, localizer.run(examples), strict=True):
        alone = next(localizer.run([example]))
        assert batched.proposals.scores == pytest.approx(alone.proposals.scores, abs=1e-5)


def test_options_are_parsed_into_one_dataclass(tmp_path):
    from avloc.cli.predict import parse

    checkpoint = tmp_path / "c.ckpt"
    checkpoint.touch()
    words = ["--checkpoint", str(checkpoint), "--dataset", "lavdf", "--root", "~", "--out", "p.json"]
    options = parse([*words, "--network", "my_net.MyNet", "--extractor", "a.B", "--weights", "r3d_18=w.pth"])
    assert options.localizer.checkpoint == checkpoint
    assert options.localizer.network == "my_net.MyNet"
    assert options.localizer.own_extractors == ("a.B",)
    assert options.localizer.weights == {"r3d_18": Path("w.pth")}
    assert options.root == Path.home()
    assert (options.split, options.keep, options.batch_size, options.store) == ("test", 100, None, None)


def test_out_must_not_be_a_folder(tmp_path, capsys):
    (tmp_path / "c.ckpt").touch()
    words = ["predict", "--checkpoint", str(tmp_path / "c.ckpt"), "--dataset", "lavdf", "--root", str(tmp_path)]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "is a folder, want the name of a file to write" in capsys.readouterr().err

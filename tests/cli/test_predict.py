from __future__ import annotations

from pathlib import Path

import pytest

from avloc.cli.main import main
from avloc.inference.localizer import Localizer


def test_predictions_pass_the_submission_check(demo: Path, tmp_path: Path, capsys):
    """What our own `predict` writes, our own `submit` has nothing to say against."""
    arguments = [str(demo / "predictions.json"), "--durations", str(demo / "features")]
    assert main(["submit", *arguments]) == 0
    assert "no problems found" in capsys.readouterr().out


def test_predictions_do_not_depend_on_the_batch(demo: Path):
    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.store.feature_store import FeatureStore

    localizer = Localizer.from_checkpoint(demo / "checkpoint.ckpt")
    records = read_records("lavdf", demo / "clips")
    dataset = localizer.source.stored(records, FeatureStore(demo / "features"), allow_missing=False)
    examples = [dataset[k] for k in range(len(dataset))]
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
    assert (options.split, options.keep, options.batch_size, options.store) == ("test", None, None, None)
    assert (options.devices, options.timeout, options.longest) == (["cpu"], 300.0, 6 * 3600.0)
    assert (options.engine.engine, options.engine.shard) == ("local", (0, 1))
    options = parse([*words, "--device", "cuda:0,cuda:1", "--shard", "3/8", "--longest", "90m"])
    assert (options.devices, options.localizer.device) == (["cuda:0", "cuda:1"], "cuda:0")
    assert (options.engine.shard, options.longest) == ((3, 8), 5400.0)


def test_out_must_not_be_a_folder(tmp_path, capsys):
    (tmp_path / "c.ckpt").touch()
    words = ["predict", "--checkpoint", str(tmp_path / "c.ckpt"), "--dataset", "lavdf", "--root", str(tmp_path)]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "is a folder, want the name of a file to write" in capsys.readouterr().err


@pytest.fixture
def generated(generated_split, tmp_path, monkeypatch):
    """The words of a prediction of 140 clips in two parts, of which 11 have no features; run in their folder."""
    words = generated_split.write_split(tmp_path, 140, failed=11)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return words


def test_failed_clips_are_listed_and_exit_with_1(generated, tmp_path, capsys):
    assert main([*generated, "--out", "p.json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "p.json: 140 clips, 12900 rows, 11 failed\n"
    lines = captured.err.splitlines()
    assert lines[0] == "failed, empty list written: 000003.mp4: no features in the store"
    assert lines[10] == "… and 1 more: p.failures.csv"
    assert len(lines) == 11
    assert len((tmp_path / "p.failures.csv").read_text().splitlines()) == 12


def test_detection_is_a_file_for_submit(generated, tmp_path, capsys):
    assert main([*generated, "--task", "detection", "--out", "prediction.txt"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "prediction.txt: 140 clips, 11 failed\n"
    assert captured.err.startswith("failed, score 0 written: 000003.mp4: no features in the store\n")
    assert main(["submit", "prediction.txt", "--out", "s.zip"]) == 0
    assert main(["predict", *generated[1:], "--task", "segments", "--out", "p.txt"]) == 2


def test_a_run_that_failed_early_is_repeated_with_other_options(generated, capsys):
    assert main([*generated[:-1], "--out", "p.json"]) == 2
    assert "11 of 140 clips have no features" in capsys.readouterr().err
    assert main([*generated, "--out", "p.json"]) == 1


def test_clips_of_an_earlier_run_are_counted(generated, capsys):
    main([*generated, "--out", "p.json", "--shard", "0/2"])
    capsys.readouterr()
    assert main([*generated, "--out", "p.json"]) == 1
    assert capsys.readouterr().out == "p.json: 140 clips (128 by an earlier run), 12900 rows, 11 failed\n"


def test_tasks_of_a_job_array(generated, tmp_path, capsys):
    codes = [main([*generated, "--out", "p.json", "--shard", f"{k}/2"]) for k in (0, 1)]
    assert codes == [1, 0]  # all failures are in the first part
    command = f"avloc {' '.join(generated)} --out p.json"
    assert capsys.readouterr().out.splitlines() == [
        "task 0 of 2: 128 clips, 11700 rows, 11 failed",
        "unfinished parts of all tasks: 1. When all tasks are done, this writes p.json:",
        f"  {command}",
        "task 1 of 2: 12 clips, 1200 rows, 0 failed",
        "unfinished parts of all tasks: 0. When all tasks are done, this writes p.json:",
        f"  {command}",
    ]
    assert not (tmp_path / "p.json").exists()
    assert main([*generated, "--out", "p.json", "--keep", "7"]) == 2
    assert "holds parts of another run, whose keep was 100, now it is 7" in capsys.readouterr().err
    assert main(command.split()[1:]) == 1
    assert capsys.readouterr().out == "p.json: 140 clips (140 by an earlier run), 12900 rows, 11 failed\n"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "2/2"], "--shard i/n needs 0 <= i < n, got 2/2"),
        (["--shard", "one"], "want i/n, as in 0/8, got 'one'"),
        (["--engine", "ray", "--device", "cuda:0,cuda:1"], "--engine ray: name one --device"),
        (["--device", "warp"], "device 'warp' cannot be used here"),
        (["--longest", "0"], "want a length of time above 0"),
    ],
)
def test_wrong_options_are_one_line(generated, capsys, words, message):
    assert main([*generated, "--out", "p.json", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_ray_makes_the_parts(generated, tmp_path, capsys, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the cluster's processes import the network
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    try:
        assert main([*generated, "--out", "p.json", "--engine", "ray", "--workers", "1"]) == 1
    finally:
        ray.shutdown()
    assert main([*generated, "--out", "q.json"]) == 1
    assert (tmp_path / "p.json").read_bytes() == (tmp_path / "q.json").read_bytes()

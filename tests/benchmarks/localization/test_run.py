from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from avloc.errors import AvlocError


@pytest.fixture
def small_system(monkeypatch):
    """A system small enough to train in a test, under the name of `frame_wise`."""
    import run
    import systems
    import tables

    arguments = {"audio_dim": 513, "visual_dim": 320, "width": 8, "heads": 2, "blocks": 1}
    small = {"frame_wise": replace(systems.SYSTEMS["frame_wise"], arguments=arguments)}
    small["decoded"] = replace(small["frame_wise"], title="decoded", weights_of="frame_wise")
    for module in (run, tables):
        monkeypatch.setattr(module, "SYSTEMS", small)


@pytest.fixture
def out(tmp_path, tiny_set, tiny_store):
    """A prepared folder of the benchmark, with the tiny set as its clips."""
    from avloc.datasets.readers.catalog import read_records

    shutil.copytree(tiny_set, tmp_path / "clips")  # a file is added, and other tests share the set
    (tmp_path / "features").symlink_to(tiny_store)
    methods = {
        record.file: {"audio": "phase-search"} if record.segments else {} for record in read_records("lavdf", tiny_set)
    }
    (tmp_path / "clips" / "methods.json").write_text(json.dumps(methods))
    return tmp_path


def test_run_trains_tests_and_leaves_its_result(out, small_system):
    import run

    torch_threads = torch.get_num_threads()
    task = run.Task("frame_wise", 0, out, 1, "cpu", 1)
    assert run.run(task) == "frame_wise-0"
    result = json.loads(task.result_file.read_text())
    assert (result["system"], result["seed"], result["epochs"], result["threads"]) == ("frame_wise", 0, 1, 1)
    assert result["train_s"] > 0
    assert set(result["scores"]) == {"all", "audio", "visual", "both", "unseen"}
    assert result["scores"]["all"].keys() >= {"ap@0.5", "ar@10"}
    assert task.weights_file.is_file()
    decoded = task._replace(system="decoded")
    assert run.run(decoded) == "decoded-0"
    again = json.loads(decoded.result_file.read_text())
    assert (again["train_s"], again["validation_ap"]) == (0.0, None)
    assert again["scores"] == result["scores"]
    torch.set_num_threads(torch_threads)


def test_decoding_needs_the_trained_network(out, small_system):
    import run

    with pytest.raises(AvlocError, match="run frame_wise first, decoded is the same network"):
        run.run(run.Task("decoded", 1, out, 1, "cpu", 1))


def test_subsets_of_a_clip():
    from run import clip_subsets

    assert clip_subsets({}) == ["all", "audio", "visual", "both", "unseen"]
    assert clip_subsets({"audio": "lpc"}) == ["all", "audio"]
    assert clip_subsets({"audio": "lpc", "visual": "coded"}) == ["all", "both"]
    assert clip_subsets({"visual": "coded"}) == ["all", "visual", "unseen"]


def test_options():
    from run import parse

    options = parse(["--out", "x", "--systems", "main", "--seeds", "3,4", "--quick"])
    assert options.seeds == (3, 4)
    assert options.systems == ("boundary_map", "actionformer", "ummaformer", "frame_wise", "boundary_transformer")
    assert parse(["--out", "x", "--systems", "wide,no_cross"]).systems == ("wide", "no_cross")
    with pytest.raises(AvlocError, match="unknown systems narrow; want main, ablation, trials, all, boundary_map"):
        parse(["--out", "x", "--systems", "wide,narrow"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_order_of_the_systems(tmp_path, benchmarks):
    """The small form of the benchmark, one seed: ours is not behind where boundaries count."""
    script = benchmarks / "localization" / "run.py"
    subprocess.run(
        [sys.executable, str(script), "--out", str(tmp_path), "--quick", "--seeds", "0", "--jobs", "2"], check=True
    )
    scores = {
        path.stem[:-2]: json.loads(path.read_text())["scores"]["all"]["ap@0.75"]
        for path in (tmp_path / "quick" / "runs").glob("*.json")
    }
    ours = scores.pop("boundary_transformer")
    assert ours > max(scores.values())

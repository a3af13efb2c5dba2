from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from avloc.cli.main import main
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.engines import ray as engine
from avloc.feature_extraction.job.pipeline import ShardDone
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

ray = pytest.importorskip("ray")

# Ray leaves sockets, processes and files to the end of its own processes.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each. On a busy machine a node may need minutes to start: Ray alone would wait for half a minute."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_gcs_server_port_wait_time_s", "300")
        patch.setenv("RAY_worker_niceness", "0")  # Ray's 15 would leave its workers next to nothing beside other tests
        head = {"num_cpus": 1, "include_dashboard": False, "wait": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1, wait=False)
        cluster.wait_for_nodes(timeout=300)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def many(tmp_path, frames, beep):
    root = tmp_path / "clips"
    for k in range(11):
        write_mp4(root / f"{k:02d}.mp4", frames[: 8 + k % 5], beep if k % 3 else None)
    (root / "broken.mp4").write_text("no clip")
    return root, [*(f"{k:02d}.mp4" for k in range(11)), "broken.mp4"]


def content(store, extractor):
    return {file: store.read(extractor, file).values.tolist() for file in store.files(extractor)}


def test_a_killed_worker_does_not_change_the_store(cluster, many, tmp_path):
    root, files = many
    both = (("logmel", {}), ("residual_grid", {}))
    plain = FeatureStore(tmp_path / "plain")
    job.extract(files, plain, ExtractionSettings(root, both), shard_clips=3)

    killed = []

    def progress(event):
        if isinstance(event, ShardDone) and not killed:
            killed.append(kill_a_task())

    def run(specs, settings):
        return engine.run(specs, settings, address=cluster.address)

    store = FeatureStore(tmp_path / "ray")
    report = job.extract(
        files, store, ExtractionSettings(root, both, workers=1), shard_clips=3, engine=run, progress=progress
    )
    assert killed
    assert (report.done, list(report.failures)) == (12, ["broken.mp4"])
    for name, _ in both:
        assert content(store, name) == content(plain, name)
    assert not list((tmp_path / "ray").rglob(".*.tmp*"))


def ancestors(pid: int) -> list[int]:
    """The processes above a process: another run of these tests may have tasks of its own on this machine."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return [parent, *ancestors(parent)] if parent > 1 else []


def kill_a_task() -> int:
    """Kill a Ray process that makes a shard, like the death of its machine."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                name = Path(f"/proc/{pid}/cmdline").read_bytes()
                is_ours = name.startswith(b"ray::_run_unit") and os.getpid() in ancestors(pid)
            except OSError:
                continue
            if is_ours:
                os.kill(pid, signal.SIGKILL)
                return pid
        time.sleep(0.01)
    raise AssertionError("no task of Ray's is running")


def test_on_the_command_line(cluster, many, tmp_path, capsys, monkeypatch):
    assert many
    monkeypatch.chdir(tmp_path)  # a relative root and store are the same folders for the nodes
    command = ["extract", "--dataset", "folder", "--root", "clips", "--store", "s", "--extractors", "logmel"]
    assert main([*command, "--engine", "ray", "--ray-address", cluster.address, "--workers", "1"]) == 1  # broken.mp4
    assert "11 clips extracted, 0 already in the store, 1 failed" in capsys.readouterr().out
    assert main([*command, "--workers", "1"]) == 1
    assert "0 clips extracted, 11 already in the store, 1 failed" in capsys.readouterr().out


def test_a_shard_that_cannot_be_made_does_not_end_the_others(cluster, many, tmp_path, monkeypatch):
    root, files = many
    monkeypatch.setattr(engine, "SHARD_RETRIES", 0)
    store = FeatureStore(tmp_path / "s")

    def run(specs, settings):
        specs = list(specs)
        blocked = specs[0].paths[0]
        blocked.mkdir()  # a folder where the shard is to go
        yield from engine.run(specs, settings, address=cluster.address)

    with pytest.raises(
        StoreError, match=r"1 shards could not be made, run the same again; the first: .*cannot be written"
    ):
        job.extract(files, store, ExtractionSettings(root, (("logmel", {}),), workers=1), shard_clips=5, engine=run)
    assert len(list((store.root / "logmel").glob("*.h5"))) == 3


def test_a_missing_wheel_or_package_is_named(tmp_path, monkeypatch):
    with pytest.raises(AvlocError, match=r"no\.whl: no such wheel"):
        engine._connect(None, str(tmp_path / "no.whl"))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(AvlocError, match=r"pip install 'avloc\[ray\]'"):
        engine._connect(None, None)

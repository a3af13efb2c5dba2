"""Start-up costs, in CPU seconds relative to importing torch; and errors that come before torch is imported."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

import pytest

ROUNDS = 3


def cpu_seconds(code: str) -> float:
    """The median CPU seconds of a Python process that runs `code`."""
    seconds = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds)


@pytest.fixture(scope="module")
def torch_seconds() -> float:
    return cpu_seconds("import torch")


@pytest.mark.parametrize("module", ["avloc.inference", "avloc.inference.localizer", "avloc.inference.split.prediction"])
def test_inference_costs_no_more_than_torch(torch_seconds, module):
    assert cpu_seconds(f"import {module}") <= 1.15 * torch_seconds


def test_help_imports_nothing_heavy():
    code = "import sys; sys.argv = ['avloc', '--help']; from avloc.cli.main import main; main(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_help_is_fast(torch_seconds):
    # 0.3 s where torch takes about 2 s: noisy machines are compared with themselves.
    assert (
        cpu_seconds("import sys; sys.argv = ['avloc', '--help']; from avloc.cli.main import main; main()")
        < 0.15 * torch_seconds
    )


RUN = """
import sys
from avloc.cli.main import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "torch was imported"
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict --checkpoint no.ckpt --dataset lavdf --root . --out p.json", "no.ckpt: no such checkpoint"),
        ("predict --checkpoint HERE --dataset lavdf --root . --store none --out p.json", "none: no such feature store"),
        ("predict --checkpoint HERE --dataset lavdf --root none --out p.json", "none: no such folder"),
        ("localize HERE --checkpoint no.ckpt", "no.ckpt: no such checkpoint"),
        ("localize none.mp4 --checkpoint HERE", "none.mp4: no such"),
        ("serve --checkpoint no.ckpt", "no.ckpt: no such checkpoint"),
        ("convert no.ckpt --out c.ckpt", "no.ckpt: no such checkpoint"),
        ("train --config none.yaml", "none.yaml: no such configuration"),
        ("train --config demo --data.root . --data.store none", "none: no such feature store"),
        ("train --config demo --data.root none --data.store .", "none: no such folder"),
        ("train --config demo --data.root . --data.store . --resume no.ckpt", "no.ckpt: no such checkpoint"),
        ("extract --dataset lavdf --root none --extractors logspec --store s", "none: no such folder"),
        ("store ls none", "none: no such"),
        ("data info --dataset lavdf --root none", "none: no such folder"),
        ("evaluate none.json none.json --protocol lavdf", "none.json: no such"),
        ("submit none.json", "none.json: no such"),
    ],
)
def test_missing_paths_are_reported_before_torch_is_imported(tmp_path, words, message):
    here = tmp_path / "here"
    here.write_text("x")
    arguments = [str(here) if word == "HERE" else word for word in words.split()]
    run = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 2, run.stderr
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["here"]

"""The quick start as a newcomer types it: the commands are taken from the page itself, line by line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quickstart.md"


def blocks():
    """(language, text) of each block of code."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run(command, folder, environment):
    """Type a command; a server is asked for its page, and stopped."""
    if not command.startswith("avloc serve"):
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=880,
            check=False,
            executable="/bin/bash",
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
        return
    port = re.search(r"--port (\d+)", command)[1]
    url = f"http://127.0.0.1:{port}/"
    server = subprocess.Popen(
        f"exec {command}", shell=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(900):
            assert server.poll() is None
            try:
                with urllib.request.urlopen(url, timeout=60) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                time.sleep(0.2)
        else:
            raise AssertionError(f"{command}: no answer")
        server.send_signal(signal.SIGINT)
        assert server.wait(120) in (0, 130, -signal.SIGINT)
    finally:
        server.kill()
        server.wait()


def type_all(folder, environment, commands):
    for language, text in commands:
        if language == "python":
            (folder / "typed.py").write_text(text)
            run("python typed.py", folder, environment)
            continue
        for command in text.replace("\\\n", " ").splitlines():
            run(command, folder, environment)
    for name in (
        "first/both-2.html",
        "demo/report.html",
        "timeline/000001.html",
        "timeline/000001.json",
        "timelines/index.html",
        "timeline.png",
    ):
        assert (folder / name).stat().st_size > 1000


DEMO = "avloc demo --out demo --clips 48 --epochs 2"
SMALL_DEMO = "avloc demo --out demo --clips 18 --epochs 1"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_line_in_this_environment(tmp_path, demo):
    """All but the lines that make the environment: that is the slow test, and what `.ci/run` does itself.

    The demo is the small one that other tests made; its command finds it done.
    """
    install, *rest = blocks()
    assert install == ("bash", "python3.11 -m venv .venv\n. .venv/bin/activate\npip install '.[web]'\n")
    assert sum(text.count(DEMO) for _, text in rest) == 1
    rest = [(language, text.replace(DEMO, SMALL_DEMO)) for language, text in rest]
    shutil.copytree(demo, tmp_path / "demo")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    type_all(tmp_path, environment, rest)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_in_a_fresh_environment(tmp_path):
    """Of a clean checkout, with a shell that has nothing of this environment."""
    checkout = tmp_path / "avloc"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(checkout)], check=True)
    (_, install), *rest = blocks()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for command in install.splitlines():
        run(command.replace(". .venv/bin/activate", "true"), checkout, environment)
        environment["PATH"] = f"{checkout}/.venv/bin:{os.environ['PATH']}"
    type_all(checkout, environment, rest)
    shutil.rmtree(checkout / ".venv")

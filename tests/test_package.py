"""What holds for the package as a whole: it is installed under its own names only, and its doctests hold."""

from __future__ import annotations

import doctest
import pkgutil
import re
import subprocess
import tomllib
from importlib import import_module, metadata, resources
from pathlib import Path
from types import SimpleNamespace

import pytest

import avloc

MODULES = [m.name for m in pkgutil.walk_packages(avloc.__path__, "avloc.") if not m.name.endswith("__main__")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    assert doctest.testmod(import_module(name)).failed == 0


def test_data_is_installed():
    speech = resources.files("avloc.datasets.synthetic") / "speech"
    assert {"CREDITS.md", "LICENSE.CC-BY-3.0.txt", "LICENSE.CC-BY-SA-3.0.txt"} <= {p.name for p in speech.iterdir()}
    sizes = [f.stat().st_size for d in speech.iterdir() if d.is_dir() for f in d.iterdir()]
    assert 5_000_000 < sum(sizes) < 6_000_000
    assert (resources.files("avloc") / "configs" / "demo.yaml").is_file()
    weights = resources.files("avloc.feature_extraction") / "media" / "faces" / "weights"
    assert {"mtcnn.npz", "CREDITS.md", "LICENSE.MIT.txt"} <= {p.name for p in weights.iterdir()}
    weights = resources.files("avloc.models") / "whisper" / "weights"
    assert {"whisper_base.npz", "CREDITS.md", "LICENSE.MIT.txt"} <= {p.name for p in weights.iterdir()}
    networks = resources.files("avloc.models") / "pretrained"
    assert {"both.ckpt", "audio.ckpt", "visual.ckpt", "networks.json"} <= {p.name for p in networks.iterdir()}
    examples = resources.files("avloc.datasets") / "synthetic" / "example_clips"
    assert {"both-1.mp4", "labels.csv", "CREDITS.md"} <= {p.name for p in examples.iterdir()}


def test_torch_and_its_companions_are_pinned_to_one_set():
    """torchaudio does not say which torch it needs, and its patch releases do not load with an earlier one's."""
    root = Path(__file__).parents[1]
    dependencies = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    constraints = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [each for each in dependencies if each.startswith(("torch==", "torchaudio==", "torchvision=="))]
    assert len(pinned) == 3
    assert {*pinned} <= {*constraints}


def test_all_data_of_the_checkout_is_named_in_the_build():
    """Each folder's files that are no Python are package data of `setup.py`, or they would be missing from the wheel."""
    root = Path(__file__).parents[1]
    text = (root / "setup.py").read_text(encoding="utf-8")
    patterns = re.findall(r'"(avloc\.?[\w.]*)": \[([^\]]*)\]', text[text.index("package_data") :])
    named = set()
    for package, globs in patterns:
        folder = package.partition(".")[2].replace(".", "/")
        beside = folder.split("/")[0] in ("configs", "datasets", "evaluation", "feature_extraction")
        base = root / folder if beside else root / "avloc" / folder
        named |= {path for pattern in re.findall(r'"([^"]+)"', globs) for path in base.glob(pattern)}
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no checkout")
    folders = ("avloc/", "configs/", "datasets/", "evaluation/", "feature_extraction/")
    data = {
        root / name
        for name in listed.stdout.split("\0")
        if name.startswith(folders) and not name.endswith(".py") and (root / name).is_file()
    }
    assert sorted(data - named) == []


def test_vocoder_is_installed_with_its_credits():
    weights = resources.files("avloc.datasets.synthetic") / "weights"
    assert {p.name for p in weights.iterdir()} == {"spectral_vocoder.pt", "CREDITS.md"}
    assert (weights / "spectral_vocoder.pt").stat().st_size <= 3_000_000


def test_each_license_stands_beside_its_speech():
    credits = (resources.files("avloc.datasets.synthetic") / "speech" / "CREDITS.md").read_text(encoding="utf-8")
    for folder in ("en", "fr", "it", "ru"):
        assert f"`{folder}/`" in credits


def test_the_version_has_one_source():
    import yaml

    root = Path(__file__).parents[1]
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == avloc.__version__ == metadata.version("avloc")
    assert 'dynamic = ["version"]' in (root / "pyproject.toml").read_text(encoding="utf-8")


def test_ruff_is_pinned_once():
    root = Path(__file__).parents[1]
    (pinned,) = re.findall(r'"ruff==([\d.]+)"', (root / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"rev: v{pinned}\n" in (root / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def test_folders_are_tested_in_several_processes_and_single_files_in_one(pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))

    def workers(*arguments: Path, capture: str = "fd") -> int:
        config = SimpleNamespace(args=list(map(str, arguments)), option=SimpleNamespace(capture=capture))
        return conftest.pytest_xdist_auto_num_workers(config)

    folder = Path(__file__).parent
    assert 1 <= workers(folder) <= conftest.MOST_WORKERS
    assert workers(folder, folder / "chaos") == workers(folder)
    assert workers(Path(__file__)) == workers(folder, Path(f"{__file__}::test_data_is_installed")) == 0
    assert workers(folder / "chaos", capture="no") == 0

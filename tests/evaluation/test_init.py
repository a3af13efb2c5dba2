from __future__ import annotations

import subprocess
import sys

import pytest

import avloc.evaluation


def run_python(code, folder):
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


def test_all_public_names_exist_and_are_listed():
    assert sorted(avloc.evaluation.__all__) == sorted(avloc.evaluation._MODULES)
    for name in avloc.evaluation.__all__:
        assert getattr(avloc.evaluation, name) is not None
        assert name in dir(avloc.evaluation)
    with pytest.raises(AttributeError, match=r"module 'avloc.evaluation' has no attribute 'recall'"):
        _ = avloc.evaluation.recall


def test_import_loads_nothing_heavy(tmp_path):
    run_python(
        "import sys, avloc.evaluation\n"
        "bad = {'torch', 'torchmetrics', 'scipy', 'matplotlib', 'rich', 'numpy'} & set(sys.modules)\n"
        "assert not bad, bad",
        tmp_path,
    )


def test_scoring_needs_no_torch(tmp_path):
    run_python(
        "import sys, avloc.evaluation\n"
        "from avloc.evaluation import evaluate\n"
        "result = evaluate({'a.mp4': [[0.9, 1, 2]]}, {'a.mp4': [[1, 2]]})\n"
        "assert result.strict.ap[0.5] == 1\n"
        "bad = {'torch', 'torchmetrics', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not bad, bad",
        tmp_path,
    )


def test_reports_submissions_and_verbs_load_neither_torch_nor_drawing(tmp_path):
    run_python(
        "import sys, avloc.evaluation.reporting.report, avloc.evaluation.bootstrap, avloc.evaluation.submission\n"
        "import avloc.cli.evaluate, avloc.cli.submit\n"
        "bad = {'torch', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not bad, bad",
        tmp_path,
    )

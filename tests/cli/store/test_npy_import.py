from __future__ import annotations

import numpy as np

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.store.feature_store import FeatureStore


def test_import_of_an_export(run, store, tmp_path, capsys):
    out = tmp_path / "npy"
    run("export", store.root, "--extractor", "wave", "--out", out)
    capsys.readouterr()
    assert run("import", tmp_path / "t", "--from", out) == 1
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 't'}: 3 clips imported, 0 already in the store, 1 failed\n"
    assert captured.err == "failed: test/b.mp4: no sound\n"
    assert run("verify", tmp_path / "t") == 0
    assert FeatureStore(tmp_path / "t").describe("wave") == store.describe("wave")


def test_import_of_a_foreign_folder(run, tmp_path, capsys):
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "a.npy", np.full((3, 2), 1e6))
    words = (
        "--from",
        tmp_path / "npy",
        "--extractor",
        "tsn",
        "--modality",
        "visual",
        "--hop",
        0.04,
        "--suffix",
        ".avi",
        "--first-row",
        0.5,
        "--transposed",
    )
    assert run("import", tmp_path / "s", *words) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 's'}: 1 clips imported, 0 already in the store, 0 failed\n"
    assert captured.err.startswith("warning: 1 clips had values past ±65504")
    assert FeatureStore(tmp_path / "s").grid("tsn", "a.avi") == TimeGrid(0.5, 0.04, 2)

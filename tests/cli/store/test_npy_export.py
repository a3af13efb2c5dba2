from __future__ import annotations


def test_export(run, store, tmp_path, capsys):
    out = tmp_path / "npy"
    assert run("export", store.root, "--extractor", "wave", "--out", out) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}: 2 clips exported, 0 already there; export.json describes the files\n"
    assert "1 clips of the store could not be read and have no file" in captured.err
    assert run("export", store.root, "--extractor", "wave", "--out", out) == 0
    assert "0 clips exported, 2 already there" in capsys.readouterr().out


def test_forms(run, store, tmp_path, capsys):
    out = tmp_path / "emb"
    assert (
        run("export", store.root, "--extractor", "wave", "--out", out, "--add-suffix", "/f.npz", "--key", "sound") == 0
    )
    assert (out / "c" / "f.npz").is_file()
    assert run("import", tmp_path / "back", "--from", out) == 1  # the clip that had failed
    assert "3 clips imported, 0 already in the store, 1 failed" in capsys.readouterr().out

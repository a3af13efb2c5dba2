from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from avloc.evaluation import evaluate


def negative(samples):
    return -samples


def gray(frames, mouths, forged, side, strength):
    for t in np.flatnonzero(forged):
        x, y = mouths[t].round().astype(int)
        frames[t, y - 9 : y + 9, x - 9 : x + 9] = 128


@pytest.fixture
def script(monkeypatch):
    """The script, with one method for sound and one for mouths; a third cannot be had."""
    import footage as script
    from real_footage.forging import Methods

    unseen = script.UnseenMethods(Methods({"negative": negative}, {"gray": gray}), ["forger absent is left out: why"])
    monkeypatch.setattr(script, "load_unseen", lambda cache: unseen)
    monkeypatch.setattr(script, "score_footage", partial(script.score_footage, resamples=40))
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    monkeypatch.setattr(script.ledger, "commit_name", lambda allow_dirty: f"abc-{allow_dirty}")
    return script


@pytest.fixture
def looks(script, monkeypatch):
    """The lines that the script adds to the ledger."""
    lines = []
    monkeypatch.setattr(script.ledger, "append", lambda look, commit: lines.append((look, commit)))
    return lines


@pytest.fixture
def validation(tmp_path):
    """Predictions and metadata of a real clip of twenty minutes with three segments."""
    rows, entry = [[0.9, 1, 2], [0.8, 5, 6], [0.3, 8, 9]], {"file": "r.mp4", "duration": 1200.0, "fake_segments": []}
    (tmp_path / "p.json").write_text(json.dumps({"r.mp4": rows}))
    (tmp_path / "m.json").write_text(json.dumps([entry]))
    return str(tmp_path / "p.json"), str(tmp_path / "m.json")


def test_without_footage_one_line_says_so(script, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("AVLOC_FOOTAGE", raising=False)
    assert script.main(["--out", str(tmp_path / "out"), "--checkpoint", "c", "--corpus", "clips"]) == 0
    assert capsys.readouterr().out == script.NO_FOOTAGE + "\n"
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        script.main(["--out", str(tmp_path), "--predictions", "p", "--corpus", "clips"])
    assert "--corpus needs --checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.main(["--out", str(tmp_path), "--checkpoint", "c"])
    assert "name --validation or --corpus, on which the threshold is chosen" in capsys.readouterr().err


def test_checkpoint_is_scored_on_forged_footage(
    script, footage, tmp_path, validation, small_checkpoint, looks, monkeypatch, capsys
):
    monkeypatch.setenv("AVLOC_FOOTAGE", str(footage))
    out = tmp_path / "out"
    words = [
        "--out",
        str(out),
        "--checkpoint",
        str(small_checkpoint),
        "--language",
        "it",
        "--cores",
        "1",
        "--rounds",
        "1",
    ]
    assert script.main([*words, "--validation", *validation]) == 0
    printed = capsys.readouterr().out
    [(look, commit)] = looks
    assert look.system == f"c {script.file_sha256(small_checkpoint)[:12]} on footage"
    assert (look.clips, look.seed, look.budget, commit) == (12, None, "", "abc-False")
    assert "forger absent is left out: why\n" in printed
    assert "**Real footage**, c: 2 clips, 12 versions of them, half of them forged; words by quiet points;" in printed
    assert "Left out: wall (no face in 25 of 25 frames)" in printed
    assert (out / "c.md").read_text() == printed[printed.index("**Real") : -1]
    document = json.loads((out / "c.json").read_text())
    assert (document["system"], document["methods"], document["language"]) == ("c", ["negative", "gray"], "it")
    assert 0.3 < document["setting"]["threshold"] < 0.301
    assert [*document["groups"]] == ["all", "audio", "visual", "both", "negative", "gray"]
    assert [len(document["clips"]), document["groups"]["all"]["forged"]] == [12, 6]
    predictions, metadata = out / "c-predictions.json", out / "clips" / "val_metadata.json"
    strict = evaluate(predictions, metadata, "avdeepfake1m", modes="strict").strict
    assert document["groups"]["all"]["metrics"]["ap@0.5"]["value"] == pytest.approx(strict.ap[0.5], abs=1e-6)
    assert document["groups"]["all"]["metrics"]["ar@10"]["value"] == pytest.approx(strict.ar[10], abs=1e-6)

    def fail(*arguments):
        raise AssertionError("the clips are localized already")

    monkeypatch.setattr(script, "localize_clips", fail)
    assert script.main([*words, "--corpus", str(out / "clips")]) == 0
    again = json.loads((out / "c.json").read_text())
    assert again["groups"]["all"]["metrics"] == document["groups"]["all"]["metrics"]
    assert (again["setting"]["clips"], again["setting"]["alarms"], again["real_flagged"]) == (6, 0, 0)
    monkeypatch.setattr(script, "predict_validation", fail)
    assert script.main([*words, "--corpus", str(out / "clips")]) == 0
    assert len(looks) == 1  # the same look

    other = [
        "--out",
        str(out),
        "--predictions",
        str(predictions),
        "--name",
        "other",
        "--language",
        "it",
        "--rounds",
        "1",
    ]
    assert script.main([*other, "--validation", *validation]) == 0
    assert [look.system.split()[0] for look, _ in looks] == ["c", "other"]
    same = json.loads((out / "other.json").read_text())
    assert same["groups"]["visual"]["metrics"]["auc"] == document["groups"]["visual"]["metrics"]["auc"]
    assert same["groups"]["visual"]["named"] is None


def test_methods_that_no_training_met(tmp_path, monkeypatch):
    import footage as script

    def load_forgers(cache, log):
        log("forger lpc is left out: not looked for")
        log("forger flite is left out: no package")
        return {"kokoro": negative, "opus": np.flip, "codec2": np.flip}

    monkeypatch.setattr(script.sound_forgers, "load_forgers", load_forgers)
    monkeypatch.setattr(script.forgers, "UNSEEN_SOUND", frozenset({"kokoro", "codec2", "flite"}))
    monkeypatch.setattr(script.forgers, "UNSEEN_MOUTH", frozenset({"coded", "painted"}))
    monkeypatch.setattr(script.mouth_forgers, "load_forgers", lambda log: {"coded": gray, "averaged": gray})
    methods = script.load_methods(tmp_path)
    assert methods.sound == {"codec2": np.flip, "kokoro": negative}
    assert methods.mouth == {"coded": gray}
    missing = ["forger flite is left out: no package", "forger painted is left out: no such module"]
    assert script.load_unseen(tmp_path).missing == missing


def test_kept_results_belong_to_their_key(tmp_path):
    from footage import keep_result

    path = tmp_path / "kept.json"
    assert keep_result(path, {"checkpoint": "a"}, lambda: [1, 2]) == [1, 2]
    assert keep_result(path, {"checkpoint": "a"}, lambda: 1 / 0) == [1, 2]
    assert keep_result(path, {"checkpoint": "b"}, lambda: [3]) == [3]


def test_checksum_changes_with_the_code(tmp_path, monkeypatch):
    import footage as script

    assert len(script.package_sha256()) == 64
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "linked").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(script.avloc, "__file__", str(tmp_path / "package" / "__init__.py"))
    checksums = {script.package_sha256()}
    for content in ("1", "2"):
        (tmp_path / "elsewhere" / "module.py").write_text(content)
        checksums.add(script.package_sha256())
    (tmp_path / "package" / "notes.txt").touch()
    checksums.add(script.package_sha256())
    assert len(checksums) == 3


def test_tables_of_systems_lie_beside_those_of_the_benchmark(script, footage, tmp_path, monkeypatch, capsys):
    from comparing import comparison
    from real_footage import runs
    from scoring.choices import Choice
    from scoring.tables import Table

    calls = []

    def compare(tasks, out, methods, commit, labels):
        runs = [task for own in tasks.values() for task in own]
        calls.append(([task.name for task in runs], runs[0].out, len(methods), commit, labels))
        return [Table("footage-long", "Real footage", "system", ["AP"], [(("ours",), [("1.0",)])])]

    monkeypatch.setattr(runs, "compare", compare)
    monkeypatch.setattr(runs, "extract", lambda out, files, *others: calls.append((out, len(files), *others)))
    aps = {"boundary_map": 0.3, "boundary_map_slow": 0.4}
    choice = Choice("boundary_map", aps)
    monkeypatch.setattr(comparison, "read_choices", lambda folder: {"boundary_map": choice})
    words = [
        "--footage",
        str(footage),
        "--out",
        str(tmp_path / "out"),
        "--benchmark",
        str(tmp_path / "loc"),
        "--cores",
        "1",
    ]
    options = ["--rounds", "1", "--systems", "boundary_map", "--seeds", "2,4", "--budget", "long", "--allow-dirty"]
    assert script.main([*words, *options]) == 0
    assert calls[0] == (tmp_path / "out", 12, ("logspec", "residual_grid"), tmp_path / "out" / "cache", 1)
    names = ["boundary_map_slow, seed 2, long", "boundary_map_slow, seed 4, long"]
    labels = {"boundary_map": "rate 1e-3, best of 2 trials"}
    assert calls[1] == (names, tmp_path / "loc", 12, "abc-True", labels)
    assert "| ours | 1.0 |" in (tmp_path / "loc" / "tables" / "selected-footage-long.md").read_text()
    output = capsys.readouterr().out
    assert "ours   1.0" in output
    assert "boundary_map: boundary_map_slow, of 2 trials by validation AP" in output
    assert script.main([*words, *options[:2], "--systems", "main", "--budget", "long"]) == 0
    assert (tmp_path / "loc" / "tables" / "footage-long.md").is_file()


def test_a_changed_network_is_another_look(script, looks, tmp_path):
    words = ["--footage", "f", "--out", str(tmp_path), "--checkpoint", str(tmp_path / "c.ckpt"), "--corpus", "x"]
    options = script.parse(words)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "val_metadata.json").write_text("[]")
    for content in ("1", "1", "2"):
        (tmp_path / "c.ckpt").write_text(content)
        script.note_look(options, "c", 12, "abc")
    assert len(looks) == 2
    assert len({look.system for look, _ in looks}) == 2

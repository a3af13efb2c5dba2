from __future__ import annotations

import pytest

from avloc.errors import AvlocError


def test_missing_predictions_are_named(small_corpus):
    import fusion

    with pytest.raises(AvlocError, match=r"Missing: .*audio_alone seeds? .*Train with run.py first"):
        fusion.main(["--out", str(small_corpus), "--seeds", "4"])


def test_the_table_of_two_seeds_goes_to_a_page(small_corpus, predict_clips, tmp_path, monkeypatch, capsys):
    import corpus
    import fusion
    from comparing.experiment import Task
    from scoring import fusions

    records = corpus.read_records(small_corpus / "clips", "val")
    clips = predict_clips({record.file: [(0.5, 0.1, 0.4, 0.9, 0.1)] for record in records})
    for name in fusion.FUSED:
        for seed in (0, 2):
            clips.save(Task(name, seed, "short", small_corpus).predictions_file("val"))
    result = fusions.FusionResult(
        {name: {"ap@0.5": 0.25, "score": 0.5} for name in fusion.FUSED},
        {"ap@0.5": 0.375, "score": 0.75},
        dict.fromkeys(fusions.SHOWN, fusion.OURS),
        dict.fromkeys(fusions.SHOWN, fusions.Interval(0.125, 0.1, 0.15, 0.01)),
    )
    asked = []
    monkeypatch.setattr(fusion, "evaluate_folds", lambda systems, truth, progress: asked.append([*systems]))
    monkeypatch.setattr(fusion, "summarize", lambda folds, resamples: result)
    page = tmp_path / "page.md"
    page.write_text("<!-- table: val-short-fusion -->\n<!-- end -->\n")
    fusion.main(["--out", str(small_corpus), "--seeds", "0,2", "--page", str(page)])
    assert asked == [[*fusion.FUSED]] * 2
    assert "seed 2: fused" in capsys.readouterr().out
    assert "| seed 0: fused<br>gain over the best one | 37.5<br>+12.5 (+10.0…+15.0) |" in page.read_text()

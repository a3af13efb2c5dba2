from __future__ import annotations

import copy
import json

import pytest

from avloc.io.files import write_json
from avloc.models.packaged import FACTS, FOLDER

FIGURES = {
    "clips": 30, "forged_clips": 20, "segments": 31, "real_minutes": 0.9, "ap@0.5": 0.951, "ap@0.75": 0.8, "ap@0.9": 0.5,
    "ap@0.95": 0.123, "ar@10": 0.9, "clip_auc": 0.987, "forged_clips_flagged": 17, "real_clips_flagged": 1,
    "false_alarms_per_minute": 1.111,
}  # fmt: skip
EXAMPLES = {
    "real_clips": 4, "real_clips_flagged": 1, "forged_clips": 8, "forged_clips_flagged": 6, "segments": 9, "segments_found": 7,
}  # fmt: skip
INTERVAL = {"value": 0.5, "low": 0.25, "high": 0.75}
FOOTAGE = {
    "system": "both",
    "methods": ["kokoro", "codec2"],
    "sources": 11,
    "footage_minutes": 0.5,
    "real_minutes": 1.5,
    "real_flagged": 2,
    "setting": {"threshold": 0.62, "clips": 40, "minutes": 9.1, "alarms": 0},
    "false_alarms_per_minute": {"value": 1.3, "low": 0.0, "high": 2.6},
    "groups": {
        "all": {"forged": 22, "real": 33, "flagged": 9, "metrics": {"auc": INTERVAL, "ap@0.5": INTERVAL}},
    },
}


def flat(text):
    return text.replace("\n", " ")


@pytest.fixture
def script():
    import model_card

    return model_card


@pytest.fixture
def facts():
    """Those of the package."""
    return json.loads((FOLDER / FACTS).read_text(encoding="utf-8"))


def test_the_card_is_what_the_facts_say(script, facts):
    """Nobody edits the card by hand; `python benchmarks/localization/model_card.py` writes it again."""
    assert script.CARD.read_text(encoding="utf-8") == script.render(facts)


def test_figures_that_are_missing_are_said_to_be_missing(script, facts):
    facts = {**copy.deepcopy(facts), "footage": None}
    facts.pop("examples", None)
    for network in facts["networks"].values():
        network["figures"] = {"val": FIGURES}
    text = script.render(facts)
    assert "False alarms per minute, clip AUC and AP on real footage: not measured." in text
    assert text.count("| test | not measured |") == 3
    assert "The clips of `avloc.datasets.examples_folder()`: not measured." in text


def test_figures_are_those_of_the_files(script, facts):
    facts = copy.deepcopy(facts)
    facts["footage"], facts["examples"] = FOOTAGE, EXAMPLES
    for network in facts["networks"].values():
        network["figures"] = {"val": FIGURES, "test": {**FIGURES, "clip_auc": None, "false_alarms_per_minute": None}}
    text = script.render(facts)
    row = "| 20 forged, 10 real | 95.1 | 80.0 | 50.0 | 12.3 | 90.0 | 0.987 | 17 of 20 | 1 of 10 | 1.11 in 0.9 minutes |"
    assert text.count(row) == 3
    assert text.count("| not measured | 17 of 20 | 1 of 10 | not measured |") == 3
    assert "kokoro, codec2. Threshold 0.62." in text.replace("\n", " ")
    assert "2 were flagged; false alarms per minute: 1.30 (0.00–2.60)" in text.replace("\n", " ")
    assert "1 of 4 genuine clips are flagged, and 6 of 8 forged ones; 7 of 9 forged segments are found" in flat(text)
    blanks = " | ".join(["not measured"] * 4)
    assert f"| all | 22 + 33 | 0.50 (0.25–0.75) | 50.0 (25.0–75.0) | {blanks} | 9 of 22 |" in text


def test_the_command_scores_the_clips_if_asked(script, facts, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    monkeypatch.setattr(script, "CARD", tmp_path / "card.md")
    monkeypatch.setattr(script, "score_examples", lambda folder: EXAMPLES)
    write_json(tmp_path / FACTS, facts)
    script.main([])
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == script.render(facts)
    script.main(["--examples"])
    assert json.loads((tmp_path / FACTS).read_text())["examples"] == EXAMPLES
    assert "1 of 4 genuine clips are flagged" in flat((tmp_path / "card.md").read_text(encoding="utf-8"))

from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.cli.main import main


@pytest.fixture
def asvspoof_files(tmp_path):
    """Scores (higher = bona fide) and key of 40 clips; the scores are calibrated log-likelihood ratios, d' = 2."""
    rng = np.random.default_rng(4)
    is_fake = np.arange(40) < 17
    bona_fide_llr = np.where(is_fake, -2.0, 2.0) + 2 * rng.standard_normal(40)
    scores, key = tmp_path / "scores.tsv", tmp_path / "key.tsv"
    scores.write_text("filename\tcm-score\n" + "".join(f"c{k}\t{s:.6f}\n" for k, s in enumerate(bona_fide_llr)))
    key.write_text(
        "filename\tcm-label\n" + "".join(f"c{k}\t{'spoof' if f else 'bonafide'}\n" for k, f in enumerate(is_fake))
    )
    return scores, key, bona_fide_llr, is_fake


def evaluate(*words):
    return main(["evaluate", *map(str, words)])


def test_asvspoof_files_need_no_protocol(asvspoof_files, tmp_path, capsys):
    scores, key, bona_fide_llr, is_fake = asvspoof_files
    assert evaluate(scores, key, "--llr", "--bootstrap", 30, "--json", tmp_path / "d.json") == 0
    out = capsys.readouterr()
    assert "the sign was changed, so that higher means fake" in out.err
    document = json.loads((tmp_path / "d.json").read_text())
    # as ASVspoof 5's package computes it: positives are bona fide
    cllr = np.log2(1 + np.exp(-bona_fide_llr[~is_fake])).mean() + np.log2(1 + np.exp(bona_fide_llr[is_fake])).mean()
    assert document["evidence"]["cllr"] == pytest.approx(cllr / 2, abs=1e-5)
    accepts = bona_fide_llr >= -np.log(0.95 * 1 / (0.05 * 10))
    cost = 0.95 * 1 * np.mean(~accepts[~is_fake]) + 0.05 * 10 * np.mean(accepts[is_fake])
    assert document["evidence"]["act_dcf"] == pytest.approx(cost / 0.5)
    assert document["intervals"]["cllr"]["low"] < document["evidence"]["cllr"] < document["intervals"]["cllr"]["high"]
    assert (document["protocol"], document["videos"]) == ("", 40)
    for word in ("act DCF", "min Cllr", "95 % intervals by source video", "a missed fake costs 10"):
        assert word in out.out


def test_scores_that_are_no_ratios(asvspoof_files, tmp_path, capsys):
    scores, key, *_ = asvspoof_files
    assert evaluate(scores, key, "--fake-prior", 0.5, "--cost-missed", 1, "--csv", tmp_path / "d.csv") == 0
    out = capsys.readouterr().out
    assert "act DCF and Cllr need log-likelihood ratios" in out
    assert "evidence/costs/fake_prior,0.5" in (tmp_path / "d.csv").read_text()
    assert "evidence/cllr" not in (tmp_path / "d.csv").read_text()


def test_page_of_clip_scores(asvspoof_files, tmp_path):
    scores, key, *_ = asvspoof_files
    for options in (["--llr"], []):
        assert evaluate(scores, key, "--report", tmp_path / "r.html", *options) == 0
        text = (tmp_path / "r.html").read_text()
        assert text.count("<figcaption>") == (4 if options else 2)  # scores outside [0, 1] have no reliability
        assert "http" not in text
    assert "DET curve" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "dev"], "key.tsv: is an ASVspoof key, which has no splits and subsets; leave the option out"),
        (["--subset", "visual"], "has no splits and subsets"),
        (["--insight"], "--insight is for segments (json), this is a file of clip scores"),
        (["--fake-prior", "0"], "cost model: the prior of fakes must be above 0 and below 1, got 0"),
        (["--cost-missed", "-1"], "--cost-missed: want a number above 0, got '-1'"),
        (["--bootstrap", "1"], "--bootstrap wants at least 2 draws, got 1"),
    ],
)
def test_wrong_options_are_one_line(asvspoof_files, options, message, capsys):
    assert evaluate(*asvspoof_files[:2], *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_metadata_need_a_protocol(asvspoof_files, tmp_path, capsys):
    metadata = tmp_path / "m.json"
    metadata.write_text("[]")
    assert evaluate(asvspoof_files[0], metadata) == 2
    assert (
        "m.json: --protocol is missing; only an ASVspoof key (filename, cm-label) needs none" in capsys.readouterr().err
    )
    assert evaluate(tmp_path / "none.tsv", asvspoof_files[1]) == 2
    assert "none.tsv: no such prediction file" in capsys.readouterr().err

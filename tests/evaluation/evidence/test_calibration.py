from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm

from avloc.errors import AvlocError
from avloc.evaluation.evidence.calibration import (
    Calibration,
    cross_validated_llrs,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from avloc.evaluation.evidence.costs import score_evidence


def noisy_systems(count: int, systems: int, noise: float = 1.0, seed: int = 0):
    """Systems that see the same thing, each through its own noise."""
    rng = np.random.default_rng(seed)
    is_fake = rng.random(count) < 0.5
    return is_fake[:, None] + noise * rng.standard_normal((count, systems)), is_fake


def d_prime(llrs, is_fake):
    return (llrs[is_fake].mean() - llrs[~is_fake].mean()) / llrs[~is_fake].std()


def test_calibration_leaves_the_order_and_wins_the_costs():
    scores, is_fake = noisy_systems(20_000, 1)
    raw, llrs = 9 * scores + 4, fit_calibration(9 * scores + 4, is_fake).llrs(9 * scores + 4)
    before, after = score_evidence(raw[:, 0], is_fake), score_evidence(llrs, is_fake)
    for name in ("auc", "eer", "min_dcf", "min_cllr"):
        assert getattr(after, name) == pytest.approx(getattr(before, name))
    assert before.cllr > 1
    assert after.min_cllr <= after.cllr < after.min_cllr + 0.01
    assert after.min_dcf <= after.act_dcf < after.min_dcf + 0.03


def test_probabilities_go_through_the_logit():
    is_fake = np.arange(400) % 2 == 0
    rng = np.random.default_rng(1)
    log_odds = np.where(is_fake, 1.0, -1.0) + rng.standard_normal(400)
    probabilities = 1 / (1 + np.exp(-log_odds))
    calibration = fit_calibration(probabilities[:, None], is_fake)
    assert calibration.transforms == ("logit",)
    direct = fit_calibration(log_odds[:, None], is_fake)
    assert calibration.llrs(probabilities[:, None]) == pytest.approx(direct.llrs(log_odds[:, None]), abs=1e-6)
    assert np.isfinite(calibration.llrs([[0.0], [1.0]])).all()
    with pytest.raises(AvlocError, match=r"want scores in \[0, 1\], as those it was fitted on, got 0.5 to 3"):
        calibration.llrs([[0.5], [3.0]])


def test_probability_needs_a_prior():
    calibration = Calibration("segments", ("identity",), (1.0,), 0.0, fakes=1, reals=9)
    assert calibration.probabilities([[0.0], [np.log(9)]]).tolist() == pytest.approx([0.1, 0.5])
    assert calibration.probabilities([[0.0]], 0.25).tolist() == pytest.approx([0.25])


@pytest.mark.parametrize("systems", [2, 3, 5])
def test_copies_of_a_system_change_nothing(systems):
    scores, is_fake = noisy_systems(300, 1)
    alone = fit_calibration(scores, is_fake).llrs(scores)
    copies = np.repeat(scores, systems, axis=1)
    assert fit_calibration(copies, is_fake).llrs(copies) == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("systems", [2, 4, 9])
def test_independent_noise_is_averaged_away(systems):
    """Fusing k systems of independent noise raises d' by √k."""
    scores, is_fake = noisy_systems(60_000, systems, seed=systems)
    fusion = fit_calibration(scores[::2], is_fake[::2])
    llrs = fusion.llrs(scores[1::2])
    assert d_prime(llrs, is_fake[1::2]) == pytest.approx(np.sqrt(systems), rel=0.03)
    assert fusion.slopes == pytest.approx([1.0] * systems, abs=0.12)
    assert score_evidence(llrs, is_fake[1::2]).eer == pytest.approx(norm.cdf(-np.sqrt(systems) / 2), abs=0.01)


def test_a_useless_system_gets_no_weight():
    scores, is_fake = noisy_systems(20_000, 1)
    both = np.column_stack([scores, np.random.default_rng(8).standard_normal(20_000)])
    slopes = fit_calibration(both, is_fake).slopes
    assert slopes[0] == pytest.approx(1, abs=0.05)
    assert slopes[1] == pytest.approx(0, abs=0.05)


def test_scores_of_the_wrong_sign_are_refused():
    scores, is_fake = noisy_systems(200, 1)
    with pytest.raises(
        AvlocError, match="higher scores do not mean fake here, rather the opposite: is their sign turned"
    ):
        fit_calibration(-scores, is_fake)
    with pytest.raises(ValueError, match="must be finite"):
        fit_calibration([[np.nan], [1.0]], np.array([True, False]))


def test_cross_validation_does_not_see_its_own_sources():
    """Labels of a source decide nothing about its own ratios."""
    scores, is_fake = noisy_systems(120, 2)
    source = np.arange(120) // 4
    llrs = cross_validated_llrs(scores, is_fake, source)
    assert np.isfinite(llrs).all()
    fit = fit_calibration(scores, is_fake).llrs(scores)
    assert score_evidence(llrs, is_fake).cllr > score_evidence(fit, is_fake).cllr
    assert llrs == pytest.approx(fit, abs=1.5)


def test_noise_promises_nothing_about_other_sources():
    """Eight systems of noise fit their own labels, and no others."""
    labels = np.arange(60) % 2 == 0
    honest, fitted = [], []
    for seed in range(6):
        noise = np.random.default_rng(seed).standard_normal((60, 8))
        honest.append(score_evidence(cross_validated_llrs(noise, labels, np.arange(60)), labels).cllr)
        fitted.append(score_evidence(fit_calibration(noise, labels).llrs(noise), labels).cllr)
    assert np.mean(honest) > 1
    assert np.mean(fitted) < 0.95


def test_the_file_is_read_back(tmp_path):
    calibration = Calibration("clips", ("logit", "identity"), (1.5, 0.25), -0.75, 12, 34, {"made_by": "avloc"})
    write_calibration(tmp_path / "c.json", calibration)
    assert read_calibration(tmp_path / "c.json") == calibration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schema": "avloc.calibration/9"},
            "want a calibration of schema avloc.calibration/1, got 'avloc.calibration/9'",
        ),
        ({"slopes": []}, r"slopes is \[\]; fit it again"),
        ({"slopes": [1, 2]}, r"transforms is \['logit'\]"),
        ({"transforms": ["probit"]}, r"transforms is \['probit'\]"),
        ({"offset": None}, "offset is None"),
        ({"offset": float("nan")}, "offset is nan"),
        ({"kind": "frames"}, "kind is 'frames'"),
        ({"fakes": 0}, "fakes is 0"),
        ({"reals": True}, "reals is True"),
    ],
)
def test_malformed_files_are_named(tmp_path, change, message):
    document = Calibration("clips", ("logit",), (1.0,), 0.0, 1, 1).to_dict() | change
    (tmp_path / "c.json").write_text(json.dumps(document))
    with pytest.raises(AvlocError, match=message) as error:
        read_calibration(tmp_path / "c.json")
    assert "c.json" in str(error.value)


def test_files_that_are_no_calibration(tmp_path):
    (tmp_path / "c.json").write_text("[1]")
    with pytest.raises(AvlocError, match="got 'list'"):
        read_calibration(tmp_path / "c.json")
    with pytest.raises(AvlocError, match="no such calibration"):
        read_calibration(tmp_path / "none.json")


def test_the_number_of_systems_must_fit():
    with pytest.raises(AvlocError, match=r"want scores of 2 systems, got an array of \(1, 1\)"):
        Calibration("clips", ("identity",) * 2, (1.0, 1.0), 0.0, 1, 1).llrs([[0.5]])

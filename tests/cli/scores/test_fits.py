from __future__ import annotations

from pathlib import Path

import pytest

from avloc.cli.scores.fits import check_prior, check_ways, load_scores, naming, save_fit
from avloc.core.provenance import Provenance
from avloc.errors import AvlocError
from avloc.evaluation.evidence.calibration import Calibration, read_calibration

FILE = Path("f.json")


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ((None, None, None, None), "got neither"),
        ((FILE, FILE, None, FILE), "got both"),
        ((None, FILE, None, None), "--use wants --out"),
        ((None, FILE, FILE, FILE), "--use and --save exclude each other"),
        ((FILE, None, None, None), "labels want --save"),
        ((FILE, None, FILE, FILE), "--out is for --use"),
    ],
)
def test_one_way_must_be_whole(ways, message):
    with pytest.raises(AvlocError, match=message):
        check_ways(*ways)


def test_the_two_ways():
    check_ways(FILE, None, FILE, None)
    check_ways(None, FILE, None, FILE)


def test_priors_leave_both_classes_possible():
    check_prior(None, None)
    check_prior(0.5, FILE)
    for prior in (0.0, 1.0):
        with pytest.raises(AvlocError, match="--prior: want a probability above 0 and below 1"):
            check_prior(prior, FILE)
    with pytest.raises(AvlocError, match="--prior is for --use; a fit needs none"):
        check_prior(0.5, None)


def test_empty_files_of_scores_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("\n")
    (tmp_path / "b.tsv").write_text("filename\tcm-score\n")
    for name in ("a.txt", "b.tsv"):
        with pytest.raises(AvlocError, match=f"{name}: has no clips"):
            load_scores(tmp_path / name)


def test_errors_get_the_name_of_the_file():
    with pytest.raises(AvlocError, match=r"^a\.txt: wrong$"), naming(Path("a.txt")):
        raise AvlocError("wrong")


def test_a_fit_keeps_the_record_of_what_made_it(tmp_path, capsys):
    record = Provenance("0.1.0", "2026-11-26T09:30:00Z", "avloc calibrate p.txt m.json")
    save_fit(tmp_path / "c.json", Calibration("clips", ("logit",), (2.0,), 0.5, fakes=10, reals=20), record)
    assert Provenance.from_dict(read_calibration(tmp_path / "c.json").provenance) == record
    assert capsys.readouterr().out == f"{tmp_path / 'c.json'}: slope 2, offset 0.5\n"

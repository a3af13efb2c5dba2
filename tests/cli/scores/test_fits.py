from __future__ import annotations

from pathlib import Path

import pytest

from avloc.cli.scores.fits import check_prior, check_ways, describe_fit, load_scores, naming
from avloc.errors import AvlocError

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


def test_a_fit_knows_its_files_by_their_hash(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    facts = describe_fit([tmp_path / "a"], tmp_path / "b")
    assert facts["predictions"][0]["sha256"] == facts["labels"]["sha256"]
    assert facts["labels"]["file"] == "b"

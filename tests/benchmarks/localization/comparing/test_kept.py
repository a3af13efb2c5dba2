from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.io.files import read_json, write_json


@pytest.fixture
def make_folder(tmp_path):
    """A function that makes the folder of a benchmark with a corpus and some results."""

    def write(name, results, **corpus):
        folder = tmp_path / name
        write_json(folder / "clips" / "corpus.json", {"version": 3, "seed": 11, **corpus})
        for label in ("val_metadata.json", "truth/test_metadata.json"):
            write_json(folder / "clips" / label, [])
        write_json(folder / "clips" / "details.json", {"train/0.mp4": {}, "val/0.mp4": {}, "test/0.mp4": {}})
        for result, content in results.items():
            write_json(folder / result, content)
        return folder

    return write


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_both_get_what_the_other_has_and_nothing_is_replaced(make_folder, tmp_path):
    from comparing.kept import exchange

    kept = tmp_path / "kept"
    first = make_folder(
        "first", {"runs/short/a-0-k.json": 1, "runs/short/a-0-k.ckpt": 0, "predictions/val/short/a-0-k.npz": 2}
    )
    assert exchange(first, kept) == (0, 2)
    labels = ["clips/corpus.json", "clips/details.json", "clips/truth/test_metadata.json", "clips/val_metadata.json"]
    assert [*read_json(kept / "clips" / "details.json", "")] == ["val/0.mp4", "test/0.mp4"]
    assert files(kept) == [*labels, "predictions/val/short/a-0-k.npz", "runs/short/a-0-k.json"]
    second = make_folder("second", {"runs/short/a-0-k.json": 3, "runs/long/b-1-k.json": 4})
    assert exchange(second, kept) == (1, 1)
    assert read_json(second / "runs/short/a-0-k.json", "") == 3
    assert read_json(kept / "runs/short/a-0-k.json", "") == 1
    assert read_json(second / "predictions/val/short/a-0-k.npz", "") == 2
    assert exchange(second, kept) == (0, 0)


def test_results_of_another_corpus_are_refused(make_folder, tmp_path):
    from comparing.kept import exchange

    kept = tmp_path / "kept"
    exchange(make_folder("first", {}), kept)
    other = make_folder("other", {"runs/short/a-0-k.json": 1}, seed=12, sound=["lpc"])
    with pytest.raises(
        AvlocError, match=r"kept: want results of the corpus in .*other, got those of one with another seed, sound"
    ):
        exchange(other, kept)
    assert "runs/short/a-0-k.json" not in files(kept)

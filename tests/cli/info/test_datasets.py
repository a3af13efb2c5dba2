from __future__ import annotations

import pytest

from avloc.cli.info.datasets import MARKERS, candidate_layouts
from avloc.datasets import examples_folder
from avloc.datasets.readers.catalog import DATASETS
from avloc.errors import AvlocError

ENTRY = {"file": "a.mp4", "duration": 4.0, "split": "val", "modify_type": "audio_modified"}


def test_every_layout_has_its_files():
    assert set(MARKERS) == set(DATASETS)


def test_a_folder_of_lavdf(describe, tiny_set):
    description, facts = describe(tiny_set, "dataset")
    assert facts["Layout"] == "lavdf"
    assert facts["Split"] == "train 3, dev 3, test 3"
    assert description.values["clips"] == 9
    assert (
        f"avloc predict --dataset lavdf --root {tiny_set} --split test --out predictions.json" in description.commands
    )


def test_a_layout_that_cannot_read_a_folder_leaves_it_to_the_next(describe, write, tmp_path):
    """LAV-DF and the layout json have a file of the same name."""
    write("set/metadata.json", [{"file": "a.mp4", "start": 1.0, "end": 1.5, "modality": "audio"}])
    assert list(candidate_layouts(tmp_path / "set")) == ["lavdf", "json"]
    _, facts = describe(tmp_path / "set", "dataset")
    assert (facts["Layout"], facts["Segments"]) == ("json", "1 (audio 1, visual 0, both 0)")
    write("set/metadata.json", [{"file": 3}])
    with pytest.raises(AvlocError, match=r"metadata\.json"):
        describe(tmp_path / "set", "dataset")


def test_clips_with_labels_and_without(describe, write, tmp_path):
    _, facts = describe(examples_folder(), "dataset")
    assert (facts["Layout"], facts["Clips"]) == ("folder", "12")
    write("clips/deep/a.mp4", "four")
    description, facts = describe(tmp_path / "clips", "clips")
    assert (facts["Clips"], facts["Size"]) == ("1", "4 B")
    assert description.commands[0] == f"avloc localize {tmp_path / 'clips'} --out timelines"


@pytest.mark.parametrize(("field", "protocol"), [("fake_periods", "lavdf"), ("fake_segments", "avdeepfake1m")])
def test_metadata_of_a_dataset(describe, write, field, protocol):
    path = write("metadata.min.json", [{**ENTRY, field: [[1.0, 1.5]]}, {**ENTRY, "file": "b.mp4", field: []}])
    description, facts = describe(path, "metadata")
    assert (facts["Clips"], facts["Segments"]) == ("2, 0.00 h", "1")
    assert f" {path} --protocol {protocol} " in description.commands[0]


def test_metadata_without_a_known_field_are_named(describe, write):
    with pytest.raises(AvlocError, match=r"m\.json: entry 0 has no field 'fake_periods', it has: file, x"):
        describe(write("m.json", [{"file": "a", "x": 1}]), "metadata")


def test_tables_of_labels(describe, write):
    write("a.mp4", "")
    write("b.mp4", "")
    path = write("labels.csv", "file,start,end,modality\na.mp4,1,1.5,audio\n")
    description, facts = describe(path, "labels")
    assert (facts["Clips"], facts["Modality"]) == ("2", "audio 1, real 1")
    assert description.commands[1] == f"avloc data info --dataset folder --root {path.parent}"
    _, facts = describe(write("other.csv", "file,start,end\na.mp4,1,1.5\n"), "labels")
    assert facts["Clips"] == "1"
    _, facts = describe(write("t.rttm", "SPEAKER a 1 0.5 0.3 <NA> <NA> spoof <NA> <NA>\n"), "labels")
    assert (facts["Clips"], facts["Segments"]) == ("1", "1")
    path.unlink()
    labels = [{"file": "a.mp4", "start": 1.0, "end": 1.5, "modality": "visual"}]
    _, facts = describe(write("labels.json", labels), "metadata")
    assert facts["Modality"] == "visual 1, real 1"

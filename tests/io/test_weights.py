from __future__ import annotations

import errno
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from pytorch_lightning.utilities.parsing import AttributeDict

from avloc.errors import CheckpointError
from avloc.io.weights import damaged_part, load_file, save_file


def test_tensors_and_plain_values_come_back(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"weights": {"x": torch.arange(3)}, "name": "n", "steps": [1, None]}, path)
    for content in (load_file(path), load_file(str(path))):
        assert content["weights"]["x"].tolist() == [0, 1, 2]
        assert (content["name"], content["steps"]) == ("n", [1, None])


def test_dictionaries_of_lightning_become_plain_ones(tmp_path):
    torch.save({"hyper_parameters": AttributeDict(width=5)}, tmp_path / "a.ckpt")
    parameters = load_file(tmp_path / "a.ckpt")["hyper_parameters"]
    assert parameters == {"width": 5}
    assert type(parameters) is dict


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"x": Harmful(tmp_path / "touched")}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: not a checkpoint \(.* holds more than tensors"):
        load_file(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Harmful(tmp_path / "touched")))
    with pytest.raises(CheckpointError, match=r"b\.ckpt: not a checkpoint"):
        load_file(tmp_path / "b.ckpt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("part", [0.2, 0.7])
def test_a_file_that_was_cut_off(tmp_path, part):
    path = tmp_path / "x.ckpt"
    torch.save({"x": torch.ones(2000)}, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(CheckpointError, match=r"x\.ckpt: a damaged checkpoint, it was cut off"):
        load_file(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK"])
def test_files_of_another_format(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.ckpt: not a checkpoint"):
        load_file(tmp_path / "x.ckpt")


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            load_file(path)


def pickle_in_zip(path, content, method=zipfile.ZIP_STORED):
    """Replace the pickle within a file of torch."""
    torch.save({"x": torch.ones(2)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, content if name.endswith("data.pkl") else data)


def test_a_pickle_of_five_million_marks_is_refused_at_once(tmp_path):
    marks = b"\x80\x02" + b"(" * 5_000_000 + b"."
    pickle_in_zip(tmp_path / "a.ckpt", marks)
    (tmp_path / "old.ckpt").write_bytes(marks)
    with pytest.raises(
        CheckpointError, match=r"a\.ckpt: not a checkpoint \(its part .*data.pkl has 5000003 bytes, want"
    ):
        load_file(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"old\.ckpt: not a checkpoint \(its pickle has more than 1000000 instr"):
        load_file(tmp_path / "old.ckpt")


def test_a_compressed_bomb_is_refused(tmp_path):
    pickle_in_zip(tmp_path / "a.ckpt", bytes(1_000_000), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="claims to be larger than the file"):
        load_file(tmp_path / "a.ckpt")


def test_the_older_format_is_read(tmp_path):
    torch.save({"x": torch.arange(3)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert load_file(tmp_path / "a.pth")["x"].tolist() == [0, 1, 2]


def test_every_changed_byte_of_the_tensors_is_found(tmp_path):
    path = tmp_path / "a.ckpt"
    save_file({"x": torch.arange(5)}, path)
    assert damaged_part(path) is None
    content = path.read_bytes()
    first = content.index(torch.arange(5).numpy().tobytes())
    for at in range(first, first + 40):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert damaged_part(path) == "archive/data/0"
    (tmp_path / "text").write_text("no archive")
    assert damaged_part(tmp_path / "text") is None


def test_a_saved_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.ckpt"
    save_file({"x": 1}, path)
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OSError, match=r"no room on the disk: the file needs [\d.]+ kB, .* are free.*a\.ckpt"):
        save_file({"x": 2}, path)
    assert load_file(path) == {"x": 1}
    assert list(path.parent.iterdir()) == [path]

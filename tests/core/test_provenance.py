from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from avloc import __version__
from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance, current_provenance

CLIP = FileIdentity("folder/clip.mp4", "cd" * 32, 123_456, 4.12)
RECORD = Provenance(
    "0.1.0",
    "2026-11-26T09:30:00Z",
    "avloc localize 'my clip.mp4'",
    {"keep": 3, "end": None},
    CheckpointIdentity(FileIdentity("nets/best.ckpt", "ab" * 32, 2_345_678), "avloc-both 3", "drawn faces"),
    {"clip": CLIP},
)


@pytest.mark.parametrize(
    "record", [RECORD, Provenance("", ""), replace(RECORD, output=replace(CLIP, duration_s=None), checkpoint=None)]
)
def test_a_record_comes_back_from_json(record):
    assert Provenance.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_a_checkpoint_is_written_with_the_keys_of_its_file_first():
    assert list(RECORD.to_dict()["checkpoint"].items()) == [
        ("file", "nets/best.ckpt"),
        ("sha256", "ab" * 32),
        ("bytes", 2_345_678),
        ("name", "avloc-both 3"),
        ("trained_on", "drawn faces"),
    ]


def test_keys_of_later_releases_are_ignored():
    assert Provenance.from_dict({**RECORD.to_dict(), "later": 1}) == RECORD


def test_the_clip_is_the_input_of_that_role():
    assert RECORD.clip == CLIP
    assert replace(RECORD, inputs={"predictions": CLIP}).clip is None


def test_without_folders_nothing_names_a_folder():
    public = replace(RECORD, output=CLIP).without_folders()
    assert (public.checkpoint.file.file, public.clip.file, public.output.file) == ("best.ckpt", "clip.mp4", "clip.mp4")
    assert "/" not in json.dumps(public.to_dict())
    assert replace(RECORD, checkpoint=None).without_folders().checkpoint is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("avloc",), 3, "a record of provenance has avloc '3', want a text"),
        (("created",), "yesterday", "was created at 'yesterday', want a date such as 2026-11-26T09:30:00Z"),
        (("settings",), [1], "the settings is '[1]', want names with values"),
        (("inputs", "clip", "sha256"), "CD" * 32, "a file has sha256 'CDCD"),
        (("inputs", "clip", "bytes"), True, "a file has bytes 'True', want a number of bytes"),
        (("inputs", "clip", "duration"), "4", "a file's duration is '4'"),
        (("checkpoint", "bytes"), -1, "a checkpoint has bytes '-1'"),
        (("checkpoint",), "best.ckpt", "a checkpoint is 'best.ckpt', want names with values"),
    ],
)
def test_a_damaged_record_is_named(path, value, message):
    document = json.loads(json.dumps(RECORD.to_dict()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        Provenance.from_dict(document)


def test_the_current_record_has_this_version_and_the_date_in_utc():
    record = current_provenance("avloc localize a.mp4", {"keep": 3}, inputs={"clip": CLIP})
    assert (record.avloc, record.command, record.settings) == (__version__, "avloc localize a.mp4", {"keep": 3})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.created)
    assert Provenance.from_dict(record.to_dict()) == record

from __future__ import annotations

import hashlib
import json

import pytest

from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance
from avloc.errors import AvlocError
from avloc.io.files import HASHED_BLOCK_BYTES
from avloc.io.provenance import identify_file, provenance_facts, read_sidecar, sidecar_path, write_sidecar

RECORD = Provenance("0.1.0", "2026-11-26T09:30:00Z", "avloc predict", {"keep": 3, "end": None})


def test_a_file_is_hashed_block_by_block(tmp_path):
    path, pulses = tmp_path / "clip.bin", []
    content = b"\x01\x02\x03" * HASHED_BLOCK_BYTES
    path.write_bytes(content[:-1])
    identity = identify_file(path, duration_s=3.2, pulse=lambda: pulses.append(1))
    assert identity == FileIdentity(str(path), hashlib.sha256(content[:-1]).hexdigest(), len(content) - 1, 3.2)
    assert len(pulses) == 3


def test_a_known_hash_is_not_computed_again(tmp_path):
    path = tmp_path / "clip.bin"
    path.write_bytes(b"abc")
    assert identify_file(path, sha256="ab" * 32) == FileIdentity(str(path), "ab" * 32, 3)


def test_a_record_beside_a_file_is_bound_to_its_content(tmp_path):
    path = tmp_path / "predictions.json"
    assert read_sidecar(path) is None
    path.write_text("{}")
    assert write_sidecar(path, RECORD) == sidecar_path(path) == tmp_path / "predictions.json.provenance"
    record = read_sidecar(path)
    assert record.output == FileIdentity("predictions.json", hashlib.sha256(b"{}").hexdigest(), 2)
    assert (record.command, record.settings) == (RECORD.command, RECORD.settings)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "want a record of provenance of schema avloc.provenance/1, got 'list'"),
        ({"schema": "avloc.provenance/9"}, "got 'avloc.provenance/9'"),
        ({"avloc": "0.1.0", "created": ""}, "of schema avloc.provenance/1, got no schema"),
        ({"schema": "avloc.provenance/1", "avloc": 1}, "a damaged record of provenance, .* want a text"),
    ],
)
def test_a_damaged_record_is_named_with_its_file(tmp_path, document, message):
    sidecar_path(tmp_path / "a.csv").write_text(json.dumps(document))
    with pytest.raises(AvlocError, match=rf"a\.csv\.provenance: .*{message}; remove it, or make the result again$"):
        read_sidecar(tmp_path / "a.csv")


def test_facts_leave_out_what_is_unknown():
    clip = FileIdentity("a.mp4", "cd" * 32, 123_456, 4.123)
    checkpoint = CheckpointIdentity(FileIdentity("best.ckpt", "ab" * 32, 2_345_678), "BATFD")
    record = Provenance("0.1.0", "2026-11-26T09:30:00Z", checkpoint=checkpoint, inputs={"clip": clip, "store": clip})
    assert provenance_facts(record) == [
        ("Made by", "avloc 0.1.0"),
        ("Date", "2026-11-26 09:30:00 UTC"),
        ("Clip", f"a.mp4, 123.5 kB, 4.12 s, sha256 {'cd' * 32}"),
        ("store", f"a.mp4, 123.5 kB, 4.12 s, sha256 {'cd' * 32}"),
        ("Network", "BATFD"),
        ("Checkpoint", f"best.ckpt, 2.3 MB, sha256 {'ab' * 32}"),
    ]
    assert provenance_facts(Provenance("", "", settings={"end": None})) == []

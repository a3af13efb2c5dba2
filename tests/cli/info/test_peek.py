from __future__ import annotations

import pytest

from avloc.cli.info.peek import HEAD_BYTES, Peek


def test_only_the_beginning_of_a_file_is_read(tmp_path):
    (tmp_path / "a.JSON").write_bytes(b" [" + b"1," * HEAD_BYTES)
    peek = Peek.at(tmp_path / "a.JSON")
    assert (len(peek.head), peek.suffix, peek.is_list, peek.is_object) == (HEAD_BYTES, ".json", True, False)
    assert Peek.at(tmp_path).head == b""


@pytest.mark.parametrize(
    ("head", "schema", "member"),
    [
        (b'{\n "schema": "avloc.localization/7", "x": 1}', "avloc.localization/7", ("schema", '"')),
        (b'{"a.mp4": [[0.5, 1, 2]]}', "", ("a.mp4", "[")),
        (b'{"a \\" b": {}}', "", ('a \\" b', "{")),
        (b'[{"schema": "avloc.tuned/1"}]', "", ("", "")),
        (b"{}", "", ("", "")),
        (b"", "", ("", "")),
    ],
)
def test_the_beginning_of_json(tmp_path, head, schema, member):
    peek = Peek(tmp_path, head)
    assert (peek.schema, peek.first_member) == (schema, member)


def test_the_header_of_a_table(tmp_path):
    assert Peek(tmp_path, "\ufefffile,start\r\na.mp4,1".encode()).header == ["file", "start"]

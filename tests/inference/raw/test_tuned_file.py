from __future__ import annotations

import json

import pytest

from avloc.errors import AvlocError
from avloc.heads.candidates import PointDecoding
from avloc.inference.raw.tuned_file import TunedSettings, read_tuned, write_tuned

TUNED = TunedSettings(PointDecoding(sigma=0.2, before_nms=100), 50)


def test_settings_come_back(tmp_path):
    write_tuned(tmp_path / "t.json", TUNED, {"objective": "score"})
    assert read_tuned(tmp_path / "t.json") == TUNED
    assert json.loads((tmp_path / "t.json").read_text())["provenance"] == {"objective": "score"}
    assert TUNED.values()["keep"] == 50
    assert TUNED.values()["sigma"] == 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "avloc.fusion/1"}, "want tuned settings of schema avloc.tuned/1, got 'avloc.fusion/1'"),
        ({"decoding": None}, "decoding is None; tune again"),
        ({"decoding": {"sigma": 1}}, "boundary_power is None; tune again"),
        ({"keep": 1.5}, "keep is 1.5; tune again"),
        ({"keep": 0}, "want keep of at least 1, got 0; tune again"),
    ],
)
def test_malformed_files(tmp_path, change, message):
    write_tuned(tmp_path / "t.json", TUNED, {})
    (tmp_path / "t.json").write_text(json.dumps(json.loads((tmp_path / "t.json").read_text()) | change))
    with pytest.raises(AvlocError, match=f"t.json: {message}"):
        read_tuned(tmp_path / "t.json")


def test_no_object(tmp_path):
    (tmp_path / "t.json").write_text("[]")
    with pytest.raises(AvlocError, match="want tuned settings of schema avloc.tuned/1, got 'list'"):
        read_tuned(tmp_path / "t.json")

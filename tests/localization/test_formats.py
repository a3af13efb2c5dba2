from __future__ import annotations

import json

import pytest

from avloc.errors import AvlocError
from avloc.localization.formats import FORMATS, save
from avloc.localization.options import OutputOptions

FIRST_BYTES = {
    "json": b"{",
    "csv": b"file,start,end",
    "vtt": b"WEBVTT",
    "audacity": b"0.500000\t",
    "png": b"\x89PNG",
    "html": b"<!doctype html>",
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_chosen_by_suffix_or_by_name(localization, tmp_path, name):
    by_suffix, by_name = tmp_path / f"x{FORMATS[name].suffix}", tmp_path / "no suffix"
    save(localization, by_suffix)
    save(localization, by_name, format=name)
    assert by_suffix.read_bytes().startswith(FIRST_BYTES[name])
    assert by_name.read_bytes().startswith(FIRST_BYTES[name])


def test_an_unknown_suffix_or_name_is_refused(localization, tmp_path):
    with pytest.raises(AvlocError, match=r"x\.doc: want a format of json, csv, vtt, audacity, png, html"):
        save(localization, tmp_path / "x.doc")
    with pytest.raises(AvlocError, match="want a format of json"):
        save(localization, tmp_path / "x.json", format="pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "count"), [("csv", 2), ("vtt", 2), ("audacity", 2), ("json", 2)])
def test_the_threshold_applies_to_every_format(localization, tmp_path, name, count):
    path = tmp_path / f"x{FORMATS[name].suffix}"
    save(localization, path, OutputOptions(threshold=0.4))
    text = path.read_text()
    counts = {
        "csv": text.count("\n") - 1,
        "vtt": text.count("-->"),
        "audacity": text.count("\n"),
        "json": len(json.loads(text)["segments"]) if name == "json" else 0,
    }
    assert counts[name] == count

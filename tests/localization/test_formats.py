from __future__ import annotations

import json
from dataclasses import replace

import pytest

from avloc.errors import AvlocError
from avloc.io.provenance import read_sidecar
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


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_record_of_what_made_it(localization, empty_localization, tmp_path, name):
    path = tmp_path / f"x{FORMATS[name].suffix}"
    save(localization, path)
    assert [file for file in sorted(tmp_path.iterdir()) if file not in FORMATS[name].files(path)] == []
    if not FORMATS[name].holds_provenance:
        assert replace(read_sidecar(path), output=None) == localization.provenance
    elif name != "html":  # whose record is in words
        assert localization.provenance.clip.sha256.encode() in path.read_bytes()
    save(empty_localization, tmp_path / "none" / path.name)
    assert [file.name for file in (tmp_path / "none").iterdir()] == [path.name]  # nothing is known of it


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

"""Each format is read back by something that knows it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from importlib import resources

import jsonschema
import numpy as np
import pytest
import webvtt
from PIL import Image

from avloc.errors import AvlocError
from avloc.localization.formats import FORMATS, OutputOptions, save
from avloc.localization.picture import envelope
from avloc.localization.result import Localization
from avloc.localization.summary import save_summary

SCHEMA = json.loads(resources.files("avloc.localization").joinpath("localization.schema.json").read_text())


@pytest.mark.parametrize("which", ["found", "nothing"])
def test_json_keeps_its_schema_and_comes_back(which, request, tmp_path):
    given = request.getfixturevalue(which)
    save(given, tmp_path / "x.json")
    values = json.loads((tmp_path / "x.json").read_text())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(values, SCHEMA)
    back = Localization.from_dict(values)
    assert back.to_dict() == values
    np.testing.assert_allclose(back.fakeness, given.fakeness, atol=1e-4)
    with pytest.raises(AvlocError, match="want a localization of schema avloc.localization/3, got 'x/1'"):
        Localization.from_dict({**values, "schema": "x/1"})


def test_csv_by_time_with_a_threshold(found, tmp_path):
    save(found, tmp_path / "x.csv", OutputOptions(threshold=0.5))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert [(r["start"], r["end"], r["score"], r["modality"]) for r in rows] == [
        ("0.5", "0.8", "0.9", "visual"), ("2.0", "2.64", "0.7", "audio"),
    ]  # fmt: skip
    assert rows[0]["file"] == found.file


def test_subtitles(found, nothing, tmp_path):
    save(found, tmp_path / "x.vtt")
    cues = webvtt.read(tmp_path / "x.vtt")
    assert [(c.start, c.end, c.text) for c in cues] == [
        ("00:00:00.500", "00:00:00.800", "fake picture (90 %)"),
        ("00:00:02.000", "00:00:02.640", "fake sound (70 %)"),
        ("00:00:03.100", "00:00:03.300", "fake sound and picture (30 %)"),
    ]
    later = replace(found, proposals=found.proposals.shifted(2 * 3600 + 59.4996))
    save(later, tmp_path / "y.vtt")
    assert webvtt.read(tmp_path / "y.vtt")[0].start == "02:01:00.000"
    save(nothing, tmp_path / "z.vtt")
    assert len(webvtt.read(tmp_path / "z.vtt")) == 0


def test_audacity_labels(found, tmp_path):
    save(found, tmp_path / "x.labels.txt")
    rows = [line.split("\t") for line in (tmp_path / "x.labels.txt").read_text().splitlines()]
    assert [float(rows[0][0]), float(rows[0][1]), rows[0][2]] == [0.5, 0.8, "fake picture 0.90"]
    assert len(rows) == 3


@pytest.mark.parametrize("which", ["found", "nothing"])
def test_png(which, request, tmp_path):
    save(request.getfixturevalue(which), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (1080, 432)
    assert len(request.getfixturevalue(which).plot().axes) == 2


def test_a_format_is_known_by_its_ending(found, tmp_path):
    with pytest.raises(AvlocError, match=r"x\.doc: want a format of json, csv, vtt, audacity, png, html"):
        save(found, tmp_path / "x.doc")
    save(found, tmp_path / "odd.name", format="csv")
    assert (tmp_path / "odd.name").read_text().startswith("file,start,end")
    assert set(FORMATS) == {"json", "csv", "vtt", "audacity", "png", "html"}


def test_a_thinned_curve_keeps_its_peaks():
    assert envelope(np.array([0.1, 0.9, 0.2, np.nan, np.nan, np.nan, 0.3]), 4) == pytest.approx(
        [0.9, 0.2, np.nan, 0.3], nan_ok=True
    )
    assert len(envelope(np.zeros(0), 4)) == 0
    assert len(envelope(np.zeros(1001), 100)) <= 100


def test_summary_of_many(found, nothing, tmp_path):
    save_summary(
        tmp_path, [(tmp_path.relative_to(tmp_path) / "q", nothing), (tmp_path.relative_to(tmp_path) / "a b", found)],
        [(tmp_path / "bad.mp4", "bad.mp4: no media")], 0.5, ["html"],
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert [(r["file"], r["forged"], r["picture"], r["segments"], r["best_start"]) for r in rows[:2]] == [
        ("quiet.wav", "0.0", "", "0", ""), (found.file, "0.93", "0.9", "2", "0.5"),
    ]  # fmt: skip
    assert rows[2]["problems"] == "bad.mp4: no media"
    page = (tmp_path / "index.html").read_text()
    assert page.index("a%20b.html") < page.index("q.html")  # the most suspicious first
    assert "a &lt;b&gt; &amp; $c.mp4" in page

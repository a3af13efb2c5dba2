from __future__ import annotations

import base64
import html
import io
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avloc.core.descriptions import NetworkDescription
from avloc.core.proposals import Proposals
from avloc.feature_extraction.media.types import Clip
from avloc.io.provenance import date_text, provenance_facts
from avloc.localization.options import OutputOptions
from avloc.localization.pages.clip_page import (
    MAX_LISTED_SEGMENTS,
    as_iframe,
    clock_text,
    listed_segments,
    page,
    save_page,
)
from avloc.localization.preview import SIDE, Preview, Still


def test_all_tags_are_closed_and_nothing_is_loaded(localization, read_html):
    document = read_html(page(localization, "clip.mp4", 0.25))
    assert document.open == []
    assert document.find("video")[0]["src"] == "clip.mp4"
    assert all(image["src"].startswith("data:") for image in document.find("img"))


def test_the_table_has_the_segments_by_time(localization, read_html):
    rows = read_html(page(localization, None, 0.25)).find("tr")[1:]
    assert [(row["data-start"], row["data-end"], row["data-strength"]) for row in rows] == [
        ("0.5", "0.8", "0.9"),
        ("2.0", "2.64", "0.7"),
        ("3.1", "3.3", "0.3"),
    ]
    assert rows[2]["data-status"] == "Not clearly forged: audio and visual, from 3.10 to 3.30 seconds, probability 30 %"
    decided = replace(localization, network=NetworkDescription("net", threshold=0.5))
    rows = read_html(page(decided, None, 0.25)).find("tr")[1:]
    assert rows[1]["data-status"] == "Likely forged: audio, from 2.00 to 2.64 seconds, probability 70 %"
    assert rows[2]["data-status"] == "Not clearly forged: audio and visual, from 3.10 to 3.30 seconds, probability 30 %"


def test_the_verdict_states_probabilities(localization):
    text = page(localization, None, 0.25).replace("\xa0", " ")
    assert '<p class="answer">Likely forged: visual, 0.50–0.80 s; audio, 2.00–2.64 s</p>' in text
    assert (
        "Probability of forgery 90 % at a prior of 50 % (visual 91 %, audio 72 %); log-likelihood ratio +2.20." in text
    )
    assert "of which 50 % was forged. A segment counts from a probability of 50 % on." in text
    assert "decoded: visual 0.00–4.12 s, audio 0.00–3.60 s." in text
    assert "2 damaged packets were left out" in text


def test_file_names_are_escaped(localization):
    text = page(localization, None, 0.25)
    assert "a &lt;b&gt; &amp; $c.mp4" in text
    assert "<b> &" not in text


def test_an_uncalibrated_audio_file_without_segments(empty_localization, read_html):
    text = page(empty_localization, "quiet.wav", 0.2)
    document = read_html(text)
    assert document.open == []
    assert document.find("audio")[0]["src"] == "quiet.wav"
    assert ">not judged<" in text
    assert "Strongest score 0.00 (visual –, audio 0.00)" in text
    assert "is not calibrated" in text
    assert len(document.find("tr")) == 1


def test_one_fit_makes_probabilities(localization):
    alone = replace(localization, calibration={"visual": localization.calibration["visual"]})
    text = page(alone, None, 0.2)
    assert "Probabilities hold at the prior of" in text
    assert "is not calibrated" not in text


def test_a_stream_that_was_not_judged_has_its_reason_and_no_number(localization):
    reason = "the network judges the audio stream alone"
    alone = replace(
        localization,
        scores={"clip": 0.72, "audio": 0.72, "visual": None},
        unjudged={"visual": reason},
    )
    text = page(alone, None, 0.2).replace("\xa0", " ")
    assert "(visual –, audio 72 %)" in text
    assert f'<p class="problem">visual not judged: {reason}</p>' in text
    assert '<td>70 %</td><td class="wide">0.70</td><td class="wide">–</td><td class="wide">0.72</td>' in text


def test_a_page_without_probabilities_has_no_verdict(localization, read_html):
    assert read_html(page(replace(localization, scores={}), None, 0.2)).find("p", "answer") == []


def test_only_the_strongest_segments_are_listed(localization, read_html):
    count = MAX_LISTED_SEGMENTS + 300
    starts = np.arange(count) * 0.005
    proposals = Proposals(np.stack([starts, starts + 0.1], 1), np.linspace(0.9, 0.1, count), np.full((count, 2), 0.5))
    crowded = replace(localization, proposals=proposals)
    text = page(crowded, None, 0.2)
    assert len(read_html(text).find("tr")) == MAX_LISTED_SEGMENTS + 1
    assert f"The strongest {MAX_LISTED_SEGMENTS} of {count} segments" in text
    assert min(s.score for s in listed_segments(crowded)) >= crowded.segments(0)[MAX_LISTED_SEGMENTS].score


@pytest.mark.parametrize(
    ("embed", "size", "embedded"),
    [("auto", 10, True), ("auto", 13 << 20, False), ("never", 10, False), ("always", 13 << 20, True)],
)
def test_the_clip_is_embedded_or_linked_by_a_relative_path(localization, read_html, tmp_path, embed, size, embedded):
    clip = tmp_path / "clips #1" / "a b.mp4"
    clip.parent.mkdir()
    clip.write_bytes(b"x")
    os.truncate(clip, size)
    (tmp_path / "out").mkdir()
    save_page(replace(localization, file=str(clip)), tmp_path / "out" / "p.html", OutputOptions(embed=embed))
    url = read_html((tmp_path / "out" / "p.html").read_text()).find("video")[0]["src"]
    assert url.startswith("data:video/mp4;base64,eAAA") if embedded else url == "../clips%20%231/a%20b.mp4"


def test_a_page_without_the_clip_has_no_player(localization, tmp_path):
    save_page(localization, tmp_path / "p.html", OutputOptions())
    assert "<video" not in (tmp_path / "p.html").read_text()


def test_a_notebook_shows_the_page_in_a_sandboxed_iframe(localization, read_html):
    iframe = read_html(as_iframe(localization)).find("iframe")[0]
    assert iframe["sandbox"] == "allow-scripts allow-downloads allow-modals"
    assert iframe["srcdoc"] == page(localization, None, 0.5)
    assert localization._repr_html_() == as_iframe(localization)


def test_the_page_names_the_network_and_its_operating_point(localization, read_html):
    network = NetworkDescription("avloc-both", "<3>", "2026-11-26", "drawn faces", "ab" * 32, 0.75)
    text = page(replace(localization, network=network), None, 0.75).replace("\xa0", " ")
    assert (
        "Network: avloc-both &lt;3&gt; (2026-11-26, weights&#x27; sha256 abababababab), trained only on drawn faces."
        in text
    )
    assert "A segment counts from a probability of 75 % on." in text
    assert '"threshold": 0.75' in as_iframe(replace(localization, network=network)).replace("&quot;", '"')
    assert read_html(text).open == []


def test_a_page_of_an_unknown_network_names_none(localization):
    assert "Network:" not in page(localization, None, 0.2)


def test_downloads_are_what_localize_writes(localization, read_html, tmp_path):
    buttons = read_html(page(localization, None, 0.5)).find("button")
    files = {button["data-file"]: button["data-content"] for button in buttons if "data-file" in button}
    assert list(files) == ["a <b> & $c.json", "a <b> & $c.csv", "a <b> & $c.vtt"]
    for suffix in ("json", "csv", "vtt"):
        localization.save(tmp_path / f"x.{suffix}", OutputOptions(0.5))
        assert files[f"a <b> & $c.{suffix}"] == (tmp_path / f"x.{suffix}").read_text(encoding="utf-8")


def test_tables_say_their_unit_and_long_clips_have_a_clock(localization):
    text = page(localization, None, 0.2)
    assert "<th>start (s)</th><th>end (s)</th>" in text
    assert "<small" not in text
    long = replace(localization, duration_s=200.0)
    assert '2.00</button> <small class="faint">0:02.00</small></td>' in page(long, None, 0.2)
    assert [clock_text(time_s) for time_s in (0.0, 59.999, 83.5, 7384.05)] == [
        "0:00.00",
        "1:00.00",
        "1:23.50",
        "2:03:04.05",
    ]


def test_stills_stand_with_their_segments_by_time(localization, read_html):
    pictures = [[Still(t, np.zeros((18, 32, 3), np.uint8)) for t in times] for times in ((0.5, 0.7), (2.3,))]
    text = page(localization, None, 0.5, pictures)
    figures = read_html(text).find("figure", "still")
    assert [figure["data-segment"] for figure in figures] == ["0", "1"]
    assert text.count('alt="frame at ') == 3
    assert text.index("0.50–0.80 s: likely forged: visual") < text.index("frame at 2.30 seconds")
    assert "Stills of the segments" not in page(localization, None, 0.5, [[], []])


def test_the_icon_is_the_thumbnail_at_the_strongest_segment(localization):
    preview = Preview()
    images = np.zeros((100, SIDE, SIDE, 3), np.uint8)
    images[14:20] = 255  # at 0.6 s
    preview(Clip(Path("x"), 25, 16_000, frames={preview.format: images}))
    text = page(replace(localization, preview=preview), None, 0.5)
    icon = re.search(r'<link rel="icon" href="data:image/jpeg;base64,([^"]+)">', text)[1]
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(icon)))).mean() > 250
    assert '<link rel="icon" href="data:,">' in page(localization, None, 0.5)


def test_printed_sheets_name_the_clip_and_what_made_the_result(localization):
    text = page(localization, None, 0.5)
    record = localization.provenance
    assert f'"a \\3c b\\3e  \\26  \\24 c.mp4, sha256 {record.clip.sha256}"' in text
    assert f'"avloc {record.avloc}, {date_text(record)}; checkpoint sha256 {record.checkpoint.file.sha256}"' in text
    unknown = page(replace(localization, provenance=None), None, 0.5)
    assert r'@page { @bottom-left { content: "a \3c b\3e  \26  \24 c.mp4" "\A" "avloc localize"; } }' in unknown
    assert "Where this result comes from" not in unknown


def test_the_page_tells_where_its_result_comes_from(localization, read_html):
    text = page(localization, None, 0.5)
    assert read_html(text).open == []
    for label, fact in provenance_facts(localization.provenance):
        assert f"<dt>{html.escape(label)}</dt><dd>{html.escape(fact)}</dd>" in text
    assert localization.provenance.clip.sha256 in text

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from avloc.core.descriptions import NetworkDescription
from avloc.core.provenance import Provenance
from avloc.core.timeline import TimeGrid
from avloc.localization.summary import (
    FailedClip,
    SummaryEntry,
    SummaryRow,
    is_summary,
    read_summary,
    run_digest,
    save_summary,
)

EARLIER_TABLE = """file,seconds,forged,picture,sound,segments,best_start,best_end,best_score,problems
old.mp4,4.0,0.62,0.6,,2,0.5,0.8,0.9,no audio stream
broken.mkv,,,,,,,,,broken.mkv: no media
"""


def entries(*pairs):
    return [SummaryEntry(Path(name), SummaryRow.from_localization(localization, 0.5)) for name, localization in pairs]


def test_a_row_counts_segments_above_the_threshold(localization):
    row = SummaryRow.from_localization(replace(localization, grid=TimeGrid(1.0, 0.04, 78)), 0.5)
    assert row == SummaryRow(
        localization.file,
        3.12,
        0.9,
        0.91,
        0.72,
        2,
        0.5,
        0.8,
        0.9,
        "2 damaged packets were left out",
        "likely forged",
        prior=0.5,
        llr=2.197,
        answer="Likely forged: visual, 0.50–0.80 s; audio, 2.00–2.64 s",
    )


def test_a_row_without_segments_and_without_video(empty_localization):
    assert SummaryRow.from_localization(empty_localization, 0.5) == SummaryRow(
        "quiet.wav", 1.0, segments=0, problems="no video stream", prior=0.5, answer="Not calibrated, so no verdict"
    )


def test_the_table_lists_clips_then_failures(localization, empty_localization, tmp_path):
    failed = [FailedClip(tmp_path / "bad.mp4", "bad.mp4: no media")]
    save_summary(tmp_path, entries(("q", empty_localization), ("a b", localization)), failed, 0.5, index=True)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert [(row["file"], row["forged"], row["visual"], row["segments"], row["best_start"]) for row in rows] == [
        ("quiet.wav", "", "", "0", ""),
        (localization.file, "0.9", "0.91", "2", "0.5"),
        (str(tmp_path / "bad.mp4"), "", "", "", ""),
    ]
    assert rows[2]["problems"] == "bad.mp4: no media"


def test_the_index_starts_with_the_most_suspicious_clip(localization, empty_localization, tmp_path):
    save_summary(tmp_path, entries(("q", empty_localization), ("a b", localization)), [], 0.5, index=True)
    page = (tmp_path / "index.html").read_text()
    assert page.index("a%20b.html") < page.index("q.html")
    assert "a &lt;b&gt; &amp; $c.mp4" in page
    assert (
        '<td>72 %</td><td class="left">Likely forged: visual, 0.50–0.80 s; audio, 2.00–2.64 s</td><td class="wide">2</td>'
        in page
    )
    assert "<td>–</td><td>–</td><td>–</td>" in page
    assert "probabilities at a prior of 50 %" in page


def test_the_index_is_optional(localization, tmp_path):
    save_summary(tmp_path, entries(("a", localization)), [], 0.5, index=False)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]


def test_read_summary_returns_the_rows_by_file(localization, tmp_path):
    save_summary(tmp_path, entries(("a", localization)), [FailedClip(Path("b.mp4"), "broken")], 0.5, index=False)
    rows = read_summary(tmp_path)
    assert (rows[localization.file].forged, rows[localization.file].audio) == ("0.9", "0.72")
    assert rows["b.mp4"] == SummaryRow("b.mp4", problems="broken")


def test_read_summary_knows_the_earlier_column_names(tmp_path):
    (tmp_path / "summary.csv").write_text(EARLIER_TABLE)
    rows = read_summary(tmp_path)
    assert rows["old.mp4"] == SummaryRow(
        "old.mp4", "4.0", "0.62", "0.6", "", "2", "0.5", "0.8", "0.9", "no audio stream"
    )
    assert rows["broken.mkv"].forged == ""


def test_read_summary_reads_tables_without_verdicts(tmp_path):
    (tmp_path / "summary.csv").write_text(
        "file,seconds,forged,visual,audio,segments,best_start,best_end,best_score,problems\nold.mp4,4.0,0.62,0.6,,2,0.5,0.8,0.9,\n"
    )
    assert is_summary(tmp_path / "summary.csv")
    row = read_summary(tmp_path)["old.mp4"]
    assert (row.forged, row.verdict, row.run) == ("0.62", "", "")


def test_a_row_tells_the_network_and_the_options_that_made_it(localization, tmp_path):
    named = replace(
        localization,
        network=NetworkDescription("net", sha256="ab"),
        provenance=Provenance("", "", settings={"keep": 3}),
    )
    row = SummaryRow.from_localization(named, 0.5)
    assert row.run == run_digest("ab", {"keep": 3})
    others = (("ac", {"keep": 3}), ("ab", {"keep": 4}), ("ab", {}), ("ab", {"keep": 3, "end": None}))
    assert row.run not in {run_digest(sha256, options) for sha256, options in others}
    assert SummaryRow.from_localization(localization, 0.5).run == ""
    save_summary(tmp_path, [SummaryEntry(Path("a"), row)], [], 0.5, index=False)
    assert read_summary(tmp_path)[localization.file].run == row.run


def test_a_clip_without_any_score_is_the_least_suspicious(localization, tmp_path):
    nothing = replace(localization, file="none.mp4", scores=dict.fromkeys(("clip", "audio", "visual")))
    save_summary(tmp_path, entries(("none", nothing), ("a b", localization)), [], 0.5, index=True)
    page = (tmp_path / "index.html").read_text()
    assert page.index("a%20b.html") < page.index("none.html")


def test_a_foreign_table_is_no_summary(tmp_path):
    assert read_summary(tmp_path) == {}
    (tmp_path / "summary.csv").write_text("file,seconds\nx,1\n")
    assert not is_summary(tmp_path / "summary.csv")
    assert read_summary(tmp_path) == {}


def test_both_files_are_recognized_as_summaries(localization, tmp_path):
    save_summary(tmp_path, entries(("a", localization)), [], 0.5, index=True)
    assert is_summary(tmp_path / "summary.csv")
    assert is_summary(tmp_path / "index.html")


def test_names_like_formulas_are_quoted_and_read_back(localization, tmp_path):
    names = ("=1+1.mp4", "-x.mp4", "'=quoted.mp4", "a\nb.mp4", "undecodable\udcff.mp4")
    failed = [FailedClip(Path("@bad.mp4"), "=broken")]
    localized = [(f"{k}\udcff", replace(localization, file=name)) for k, name in enumerate(names)]
    save_summary(tmp_path, entries(*localized), failed, 0.5, index=True)
    cells = [row["file"] for row in csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text()))]
    assert cells == ["'=1+1.mp4", "'-x.mp4", "''=quoted.mp4", "a\nb.mp4", "undecodable\\udcff.mp4", "'@bad.mp4"]
    assert list(read_summary(tmp_path)) == [*names[:-1], "undecodable\\udcff.mp4", "@bad.mp4"]
    assert 'href="0%FF.html"' in (tmp_path / "index.html").read_text()


def test_the_index_counts_detections_if_no_threshold_was_asked_for(localization, tmp_path):
    save_summary(tmp_path, entries(("a", localization)), [], None, index=True)
    assert '<th class="wide">segments detected</th>' in (tmp_path / "index.html").read_text()

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from avloc.core.descriptions import NetworkDescription
from avloc.core.provenance import Provenance
from avloc.errors import AvlocError
from avloc.io.provenance import read_sidecar
from avloc.localization.options import OutputOptions
from avloc.localization.result_folder import ClipJob, ResultFolder
from avloc.localization.summary import FailedClip, SummaryEntry, SummaryRow, run_digest

JOB = ClipJob(Path("clips/deep/a.b.mp4"), Path("deep/a.b"))


@pytest.fixture
def results(tmp_path):
    return ResultFolder(tmp_path / "out", ("json", "csv"), OutputOptions(threshold=0.5))


def test_paths_keep_dots_in_names(results):
    assert [path.relative_to(results.folder).as_posix() for path in results.paths(JOB)] == [
        "deep/a.b.json",
        "deep/a.b.csv",
    ]


def test_a_clip_is_done_when_all_its_files_exist(results, localization):
    assert not results.is_done(JOB)
    results.write(JOB, localization)
    assert results.is_done(JOB)
    results.paths(JOB)[1].unlink()
    assert not results.is_done(JOB)


def test_files_beside_our_json_may_be_overwritten(results, localization):
    results.write(JOB, localization)
    results.check_paths([JOB], [])


def test_a_foreign_file_is_refused(results):
    path = results.paths(JOB)[1]
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(AvlocError, match=rf"{re.escape(str(path))}: exists and may not be avloc's; .* --overwrite"):
        results.check_paths([JOB], [])


def test_an_input_is_never_overwritten(results, localization):
    results.write(JOB, localization)
    with pytest.raises(AvlocError, match=r"a\.b\.csv: is one of the clips and would be overwritten"):
        results.check_paths([JOB], [results.paths(JOB)[1]])


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_summary_is_refused_unless_overwritten(results, overwrite):
    results.folder.mkdir()
    (results.folder / "index.html").write_text("<p>my own page</p>")
    if overwrite:
        results.check_summary([JOB], overwrite=True)
        return
    with pytest.raises(AvlocError, match=r"index\.html: exists and was not written by avloc localize"):
        results.check_summary([JOB], overwrite=False)


def test_a_clip_called_like_the_summary_is_refused(results):
    job = ClipJob(Path("summary.mp4"), Path("summary"))
    with pytest.raises(AvlocError, match=r"summary\.mp4: its output would be overwritten by the summary"):
        results.check_summary([job], overwrite=True)


def test_our_own_summary_may_be_overwritten(results, localization):
    entry = SummaryEntry(JOB.name, SummaryRow.from_localization(localization, 0.5))
    assert results.write_summary([entry], []) == results.folder / "summary.csv"
    assert not (results.folder / "index.html").exists()  # html is not among the formats
    results.check_summary([JOB], overwrite=False)


def test_earlier_entries_come_from_json_files(results, localization):
    results.write(JOB, replace(localization, file=str(JOB.clip)))
    (entry,) = results.earlier_entries([JOB])
    assert entry.name == JOB.name
    assert (entry.row.file, entry.row.forged, entry.row.segments) == (str(JOB.clip), 0.9, 2)


def test_earlier_entries_without_json_come_from_the_summary(results, localization):
    row = SummaryRow.from_localization(replace(localization, file=str(JOB.clip)), 0.5)
    results.write_summary([SummaryEntry(JOB.name, row)], [FailedClip(Path("broken.mkv"), "broken")])
    others = [ClipJob(Path("broken.mkv"), Path("broken")), ClipJob(Path("new.mp4"), Path("new"))]
    (entry,) = results.earlier_entries([JOB, *others])
    assert (entry.name, entry.row.forged) == (JOB.name, "0.9")


def test_formats_that_hold_no_record_have_one_beside_them(results, localization):
    results.write(JOB, localization)
    files = sorted(path.name for path in results.paths(JOB)[0].parent.iterdir())
    assert files == ["a.b.csv", "a.b.csv.provenance", "a.b.json"]
    table = results.write_summary([], [], localization.provenance)
    assert read_sidecar(table).command == localization.provenance.command
    record = results.paths(JOB)[1].with_name("a.b.csv.provenance")
    results.paths(JOB)[0].unlink()
    results.paths(JOB)[1].unlink()
    with pytest.raises(AvlocError, match=rf"{record.name}: exists and may not be avloc's"):
        results.check_paths([JOB], [])


def test_a_damaged_json_is_no_earlier_entry(results, localization):
    results.write(JOB, localization)
    results.paths(JOB)[0].write_text('{"schema": "avloc.localization/5"}')
    assert list(results.earlier_entries([JOB])) == []


def test_without_the_format_json_an_older_json_is_not_asked(results, localization):
    """The summary is of the run that wrote the other files."""
    clip = replace(localization, file=str(JOB.clip), provenance=None)
    results.write(JOB, replace(clip, provenance=Provenance("", "", settings={"keep": 1})))
    named = replace(clip, network=NetworkDescription("net", sha256="ab"))
    results.write_summary([SummaryEntry(JOB.name, SummaryRow.from_localization(named, 0.5))], [])
    tables = replace(results, formats=("csv",))
    assert [entry.row.run for entry in tables.earlier_entries([JOB])] == [run_digest("ab", {})]
    assert [entry.row.run for entry in results.earlier_entries([JOB])] == [""]

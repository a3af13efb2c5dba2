"""`avloc evaluate` in process; wrong input of any kind gives one line of error, never a traceback."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avloc.cli.evaluate import EvaluateOptions, parse
from avloc.cli.main import main
from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance

METADATA = [
    {
        "file": "a.mp4",
        "modify_type": "audio_modified",
        "fake_segments": [[1, 1.5]],
        "video_frames": 100,
        "original": "b.mp4",
    },
    {"file": "b.mp4", "modify_type": "real", "fake_segments": [], "video_frames": 100},
    {"file": "c.mp4", "modify_type": "visual_modified", "fake_segments": [[2, 2.5], [6, 7]], "video_frames": 225},
]
PREDICTIONS = {"a.mp4": [[0.9, 1, 1.5], [0.4, 3, 3.25]], "b.mp4": [[0.3, 0, 1]], "c.mp4": [[0.8, 6, 7], [0.7, 6, 7.1]]}


@pytest.fixture
def files(tmp_path):
    predictions, metadata = tmp_path / "p.json", tmp_path / "m.json"
    predictions.write_text(json.dumps(PREDICTIONS))
    metadata.write_text(json.dumps(METADATA))
    return predictions, metadata


def evaluate(files, *options, protocol="avdeepfake1m"):
    return main(["evaluate", str(files[0]), str(files[1]), "--protocol", protocol, *map(str, options)])


def test_options_are_parsed():
    options = parse(
        ["p.json", "m.json", "--protocol", "lavdf", "--ap-ious", "0.3,1", "--ar-counts", "7", "--bootstrap"]
    )
    assert isinstance(options, EvaluateOptions)
    assert (options.ap_ious, options.ar_counts, options.bootstrap) == ((0.3, 1.0), (7,), 1000)
    assert (options.mode, options.subset, options.unit, options.score) == ("both", "full", "seconds", None)
    assert not options.needs_insight
    assert parse(["p.json", "m.json", "--protocol", "lavdf", "--report", "t.html"]).needs_insight
    assert not parse(["p.json", "m.json", "--protocol", "lavdf", "--csv", "t.csv", "--json", "t.json"]).needs_insight


def test_malformed_lists_of_numbers_are_rejected(files, capsys):
    assert evaluate(files, "--ap-ious", "x") == 2
    assert "want a number, got 'x'" in capsys.readouterr().err


def test_output_files_hold_all_parts(files, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**PREDICTIONS, "a.mp4": []}))
    code = evaluate(
        files,
        "--json",
        tmp_path / "t.json",
        "--csv",
        tmp_path / "t.csv",
        "--report",
        tmp_path / "t.html",
        "--bootstrap",
        20,
        "--versus",
        other,
        "--frame-step",
        0.04,
        "--insight",
    )
    assert code == 0
    table = json.loads((tmp_path / "t.json").read_text())
    assert {"protocol", "videos", "segments", "official", "strict", "by_modality"} <= set(table)
    assert table["strict"]["ap"]["0.5"] == pytest.approx(2 / 3)
    assert table["intervals"]["ap@0.5"]["low"] <= 2 / 3
    assert table["versus"]["difference"]["ap@0.5"]["value"] == pytest.approx(1 / 3)
    assert table["frames"]["total"] == 100 + 100 + 225
    assert "strict/ap/0.5,0.66" in (tmp_path / "t.csv").read_text()
    out = capsys.readouterr()
    assert "Difference to other.json" in out.out
    assert "By fake length" in out.out
    assert out.err == f"warning: {other}: 1 clips have an empty list\n"


def test_another_system_of_the_same_name_is_named_by_its_folder(files, tmp_path, capsys):
    other = tmp_path / "joint" / files[0].name
    other.parent.mkdir()
    other.write_text(files[0].read_text())
    assert evaluate(files, "--versus", other, "--mode", "strict") == 0
    out = capsys.readouterr().out
    assert f"Difference to {other}" in out
    assert f"Scores of {other} in percent" in out


def test_modes_subsets_and_free_options(files, capsys):
    assert evaluate(files, "--mode", "strict", "--subset", "visual", "--ap-ious", "0.3", "--ar-counts", "7,1") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["clips", "mode", "score", "AP@0.3", "AR@7", "AR@1"]
    assert "all (2)" in out
    assert "official" not in out
    assert evaluate(files, "--no-score", "--segments-field", "fakes") == 2
    assert "m.json: entry 0 has no field 'fakes', it has: file, modify_type" in capsys.readouterr().err


def test_a_folder_with_labels_is_truth(tmp_path, capsys):
    clips, predictions, numbers = tmp_path / "clips", tmp_path / "p.json", tmp_path / "n.json"
    clips.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (clips / name).touch()
    (clips / "labels.csv").write_text(
        "file,start,end,modality\na.mp4,1,1.5,audio\nc.mp4,2,2.5,visual\nc.mp4,6,7,visual\n"
    )
    predictions.write_text(json.dumps(PREDICTIONS))
    documents = []
    for source in (["--dataset", "folder", "--root", str(clips)], [str(clips / "labels.csv")]):
        assert main(["evaluate", str(predictions), *source, "--protocol", "avdeepfake1m", "--json", str(numbers)]) == 0
        documents.append(json.loads(numbers.read_text()))
    records = [document.pop("provenance") for document in documents]
    assert documents[0] == documents[1]
    assert [set(record["inputs"]) for record in records] == [{"predictions"}, {"predictions", "metadata"}]
    assert records[0]["settings"] | {"dataset": "folder", "root": str(clips)} == records[0]["settings"]
    assert documents[0]["videos"] == 3  # b.mp4 has no row: it is real
    assert documents[0]["strict"]["ap"]["0.5"] == pytest.approx(2 / 3)
    assert set(documents[0]["by_modality"]) == {"audio", "visual"}
    capsys.readouterr()


@pytest.mark.parametrize(
    "words", [["--dataset", "folder"], ["--root", "."], ["m.json", "--dataset", "folder", "--root", "."]]
)
def test_truth_has_one_source(words, capsys):
    assert main(["evaluate", "p.json", *words, "--protocol", "lavdf"]) == 2
    assert "want the metadata file, or --dataset and --root (see avloc evaluate --help)" in capsys.readouterr().err


def test_a_missing_truth_is_named(capsys):
    assert main(["evaluate", "p.json", "--protocol", "lavdf"]) == 2
    assert "required: metadata (or --dataset and --root)" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [80, 100])
def test_tables_can_be_read_in_a_terminal(files, tmp_path, columns, run_in_terminal, capsys):
    options = [*files, "--protocol", "avdeepfake1m", "--insight"]
    run = run_in_terminal(["evaluate", *options], columns)
    assert run.code == 0
    assert "…" not in run.text
    assert max(map(len, run.text.splitlines())) <= columns
    assert evaluate(files, "--insight") == 0
    plain = capsys.readouterr().out.split()
    numbers = [word for word in plain if word.replace(".", "").isdigit()]
    assert "score" in run.text.splitlines()[1].split()[2]
    for number in set(numbers):
        assert run.text.split().count(number) >= plain.count(number), number


def test_missing_and_extra_clips_are_warnings(files, capsys):
    files[0].write_text(json.dumps({"a.mp4": [[0.9, 1, 1.5]], "x.mp4": []}))
    assert evaluate(files) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert warnings[0].endswith(
        "2 labelled clips are not in the predictions and count as not found; if they are of another split, name that of the "
        "predictions by --split"
    )
    assert warnings[1].endswith("1 predicted clips are not in the metadata and were left out")


CASES = Path(__file__).parents[1] / "data" / "cases" / "peer_results"


@pytest.mark.parametrize(
    ("name", "unit", "warning"),
    [
        ("frames.json", "seconds", "the times are likely frames (25 per second), want seconds; use the unit frames"),
        ("frames.json", "frames", None),
        ("startendscore.json", "seconds", "the columns are likely [start, end, score], want [score, start, end]"),
        ("endfirst.json", "seconds", "the columns are likely [score, end, start], want [score, start, end]"),
        (
            "basename.json",
            "seconds",
            "15 clips are matched by the end of their path, such as 000000.mp4",
        ),
        (
            "anet.json",
            "seconds",
            "15 clips are matched by the end of their path, 15 of them without the suffix, such as 000000,",
        ),
        ("eval_results.pkl", "seconds", "15 clips are matched by the end of their path, 15 of them without the suffix"),
    ],
)
def test_predictions_of_other_programs(name, unit, warning, capsys):
    files = CASES / name, CASES / "metadata.min.json"
    assert evaluate(files, "--split", "test", "--unit", unit, "--mode", "strict", protocol="lavdf") == 0
    captured = capsys.readouterr()
    if warning is None:
        assert captured.err == ""
    else:
        assert len(captured.err.splitlines()) == 1
        assert captured.err.startswith(f"warning: {CASES / name}: ")
        assert warning in captured.err
    expected = (
        "0.00" if unit == "seconds" and name in ("frames.json", "startendscore.json", "endfirst.json") else "3.31"
    )
    assert captured.out.splitlines()[1].split()[3] == expected


@pytest.mark.parametrize("option", ["--json", "--csv", "--report"])
def test_output_files_are_checked_before_anything_is_read(files, tmp_path, option, capsys):
    files[0].write_text("no JSON")
    for target, message in (
        (tmp_path, "is a folder, want the name of a file to write"),
        (files[1] / "t.html", f"cannot be written, {files[1]} is not a folder"),
    ):
        assert evaluate(files, option, target) == 2
        assert f"argument {option}: {target}: {message}" in capsys.readouterr().err


def test_clip_scores_with_shorter_names(files, tmp_path, capsys):
    scores = tmp_path / "prediction.txt"
    scores.write_text("a;0.9\nx/b.mp4;0.2\nc.wav;0.5\n")
    assert evaluate((scores, files[1])) == 0
    assert (
        "3 clips are matched by the end of their path, 2 of them without the suffix, such as a, which is a.mp4"
        in capsys.readouterr().err
    )


def test_clip_scores(files, tmp_path, capsys):
    scores = tmp_path / "prediction.txt"
    scores.write_text("a.mp4;0.9\nb.mp4;0.2\n")
    assert evaluate((scores, files[1]), "--json", tmp_path / "d.json") == 0
    out = capsys.readouterr()
    assert "AUC" in out.out
    assert "1 labelled clips are missing and count with the score 0" in out.err
    assert json.loads((tmp_path / "d.json").read_text())["detection"]["auc"] == 0.5
    assert evaluate((scores, files[1]), "--frame-step", 0.04) == 2
    assert "--frame-step is for segments (json), this is a file of clip scores" in capsys.readouterr().err


def test_frames_and_ranges(files, tmp_path, capsys):
    assert evaluate(files, "--resolutions", "--json", tmp_path / "d.json") == 0
    text = capsys.readouterr().out.partition("Frames in percent")[2]
    assert [line.split()[0] for line in text.splitlines()[2:9]] == [
        "20",
        "40",
        "80",
        "160",
        "320",
        "640",
        "range-based",
    ]
    ranges = json.loads((tmp_path / "d.json").read_text())["ranges"]
    assert (ranges["fake_s"], ranges["total_s"]) == (2.0, 17.0)
    assert ranges["frames"]["0.64"]["total"] == 7 + 7 + 15


def test_ratios_and_protocols_that_do_not_fit(files, capsys):
    assert evaluate(files, "--llr") == 2
    assert "p.json: --llr is for files of clip scores (.txt, .tsv), this one has segments" in capsys.readouterr().err
    assert main(["evaluate", str(files[0]), str(files[1])]) == 2
    assert (
        "--protocol is missing, one of lavdf, avdeepfake1m, avdeepfake1m++, speech; only clip scores"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bootstrap", 1), "--bootstrap wants at least 2 draws, got 1"),
        (("--frame-step", 0), "--frame-step: want a number above 0, got '0'"),
        (("--ap-ious", "2"), "must be above 0 and at most 1, got 2"),
        (("--ar-counts", "0"), "want a whole number of at least 1, got '0'"),
        (("--split", "test", "--json", "x.json"), "no clips of the split test; it has the splits val"),
        (("--versus", "none.json"), "none.json: no such prediction file"),
    ],
)
def test_wrong_options_are_one_line_and_code_2(files, options, message, capsys, tmp_path, monkeypatch):
    files[1].write_text(json.dumps([{**entry, "split": "val"} for entry in METADATA]))
    monkeypatch.chdir(tmp_path)
    assert evaluate(files, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "p.json"]


def check_no_traceback(files, capsys):
    """Run the verb: exit code 0, or 2 with one line after the warnings."""
    code = evaluate(files)
    error = capsys.readouterr().err
    assert code in (0, 2)
    if code == 2:
        assert error.splitlines()[-1].startswith("avloc evaluate: error: ")
        assert len([line for line in error.splitlines() if not line.startswith("warning: ")]) == 1


fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
value = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**30), 10**30) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@fuzz
@given(st.binary(max_size=60))
def test_random_bytes(files, capsys, data):
    files[0].write_bytes(data)
    check_no_traceback(files, capsys)
    files[0].write_text(json.dumps(PREDICTIONS))
    files[1].write_bytes(data)
    check_no_traceback(files, capsys)
    files[1].write_text(json.dumps(METADATA))


@fuzz
@given(st.dictionaries(st.sampled_from(["a.mp4", "b.mp4", "c.mp4", "d.mp4"]), st.lists(value, max_size=3) | value))
def test_wrong_types_in_predictions(files, capsys, data):
    files[0].write_text(json.dumps({"b.mp4": [], **data}))
    check_no_traceback(files, capsys)


@fuzz
@given(st.sampled_from(sorted(METADATA[0])), value)
def test_wrong_types_in_metadata(files, capsys, name, data):
    files[1].write_text(json.dumps([METADATA[1], {**METADATA[0], name: data}, METADATA[2]]))
    check_no_traceback(files, capsys)
    files[1].write_text(json.dumps(METADATA))


@fuzz
@given(st.floats(0, 1), st.integers(0, 255), st.booleans())
def test_truncated_and_damaged_files(files, capsys, share, byte, cut):
    for k, path in enumerate(files):
        text = json.dumps((PREDICTIONS, METADATA)[k]).encode()
        at = int(share * (len(text) - 1))
        path.write_bytes(text[:at] if cut else text[:at] + bytes([byte]) + text[at + 1 :])
        check_no_traceback(files, capsys)
        path.write_bytes(text)


def test_a_million_rows_for_one_clip(files, capsys):
    rows = ", ".join(["[0.5, 1, 1.5], [0.25, 3.1, 3.2]"] * 500_000)
    files[0].write_text(f'{{"a.mp4": [{rows}], "b.mp4": [], "c.mp4": [[1e400, 0, 1]]}}')
    assert evaluate(files) == 2
    assert "c.mp4: row 0: holds a value that is not finite" in capsys.readouterr().err
    files[0].write_text(f'{{"a.mp4": [{rows}], "b.mp4": []}}')
    assert evaluate(files) == 0


RESULTS = {
    file: [{"label": "Fake", "score": score, "segment": [start, end]} for score, start, end in rows]
    for file, rows in PREDICTIONS.items()
}
COLUMNS = {
    "video-id": [file for file, rows in PREDICTIONS.items() for _ in rows],
    **{
        name: np.array([row[k] for rows in PREDICTIONS.values() for row in rows])
        for k, name in enumerate(("score", "t-start", "t-end"))
    },
}


@pytest.mark.parametrize("content", [json.dumps({"version": 1, "results": RESULTS}).encode(), pickle.dumps(COLUMNS)])
def test_damaged_files_of_other_programs(files, capsys, content):
    files[0].write_bytes(content)
    assert evaluate(files) == 0
    table = capsys.readouterr().out
    files[0].write_text(json.dumps(PREDICTIONS))
    assert evaluate(files) == 0
    assert capsys.readouterr().out == table
    rng = np.random.default_rng(5)
    for at in rng.integers(len(content), size=120).tolist():
        files[0].write_bytes(content[:at])
        check_no_traceback(files, capsys)
        files[0].write_bytes(content[:at] + rng.bytes(1) + content[at + 1 :])
        check_no_traceback(files, capsys)


@fuzz
@given(
    st.dictionaries(st.sampled_from(["results", "video-id", "score", "t-start", "t-end", "a.mp4"]), value, max_size=5)
)
def test_wrong_types_in_files_of_other_programs(files, capsys, data):
    files[0].write_text(json.dumps({"version": 1, "results": {"b.mp4": [], **data}}))
    check_no_traceback(files, capsys)
    files[0].write_bytes(pickle.dumps(data))
    check_no_traceback(files, capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["p.json", "m.json", "--protocol", "lavdf"],
        ["p.json", "--protocol", "lavdf", "m.json"],
        ["--protocol", "lavdf", "p.json", "m.json"],
    ],
)
def test_options_may_stand_between_the_files(words):
    from avloc.cli.evaluate import parse

    options = parse(words)
    assert (str(options.predictions), str(options.metadata), options.protocol) == ("p.json", "m.json", "lavdf")


def test_a_list_of_a_metadata_file_is_refused_for_a_dataset(tmp_path, capsys):
    (tmp_path / "p.json").write_text("{}")
    words = [str(tmp_path / "p.json"), "--dataset", "folder", "--root", str(tmp_path), "--protocol", "lavdf"]
    assert main(["evaluate", *words, "--segments-field", "fakes"]) == 2
    assert "--segments-field names a list of a metadata json" in capsys.readouterr().err


def test_speech_by_its_protocol_and_by_a_key(tmp_path, capsys):
    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment
    from avloc.datasets.readers.partialspoof import protocol_path, write

    fake = VideoRecord("eval/con_wav/CON_E_1.wav", "eval", 4.0, audio_segments=(Segment(1.0, 2.0),))
    write(tmp_path, [fake, VideoRecord("eval/con_wav/LA_E_2.wav", "eval", 4.0)], {})
    (tmp_path / "p.rttm").write_text(
        "SPEAKER CON_E_1 1 1 1 <NA> <NA> spoof 0.75 <NA>\nSPEAKER LA_E_2 1 0 1 <NA> <NA> spoof 0.5 <NA>\n"
    )
    source = ["--dataset", "partialspoof", "--root", str(tmp_path), "--split", "test"]
    out = tmp_path / "m.json"
    assert main(["evaluate", str(tmp_path / "p.rttm"), *source, "--protocol", "speech", "--json", str(out)]) == 0
    numbers = json.loads(out.read_text())
    assert numbers["strict"]["ap"]["0.5"] == 1
    ranges = numbers["ranges"]
    assert (ranges["eer"], ranges["fake_s"], ranges["total_s"]) == (0, 1, 8)
    assert [*ranges["frames"]] == ["0.02", "0.04", "0.08", "0.16", "0.32", "0.64"]
    assert ranges["frames"]["0.02"]["total"] == 400
    assert "range-based" in capsys.readouterr().out
    (tmp_path / "p.txt").write_text("CON_E_1;0.75\nLA_E_2;0.5\n")
    assert main(["evaluate", str(tmp_path / "p.txt"), str(protocol_path(tmp_path, "eval"))]) == 0
    assert main(["evaluate", str(tmp_path / "p.txt"), *source, "--protocol", "speech", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["detection"]["auc"] == 1


def test_a_report_is_headed_by_system_set_and_split(tmp_path):
    words = [str(tmp_path / "a.json"), str(tmp_path / "LAV-DF" / "metadata.json"), "--protocol", "lavdf"]
    record = Provenance(
        "0.1.0", "", checkpoint=CheckpointIdentity(FileIdentity("c.ckpt", "ab" * 32, 9), "avloc-both 3")
    )
    (tmp_path / "LAV-DF").mkdir()
    for name in ("a.json", "LAV-DF/metadata.json"):
        (tmp_path / name).write_text("{}")
    assert parse(words).report_title(None) == "a.json on LAV-DF/metadata.json, all splits"
    options = parse([*words, "--split", "test"])
    assert options.report_title(record) == "avloc-both 3 (a.json) on LAV-DF/metadata.json, split test"
    named = parse([words[0], "--dataset", "lavdf", "--root", str(tmp_path / "LAV-DF"), "--system", "mine"])
    assert named.report_title(record) == "mine on lavdf (LAV-DF), all splits"

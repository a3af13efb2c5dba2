from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from avloc.cli.main import main
from avloc.cli.submit import SubmitOptions, parse, read_durations
from avloc.errors import AvlocError

ROWS = {"a.mp4": [[0.3, 1, 2], [0.9, 3, 50]], "b.mp4": [], "x.mp4": [[0.5, 0, 1]]}


@pytest.fixture
def files(tmp_path):
    predictions, names = tmp_path / "p.json", tmp_path / "test_files.txt"
    predictions.write_text(json.dumps(ROWS))
    names.write_text("a.mp4\nb.mp4\nc.mp4\n")
    return predictions, names


def submit(files, *options):
    return main(["submit", str(files[0]), "--files", str(files[1]), *map(str, options)])


def read(path, name="prediction.json"):
    with zipfile.ZipFile(path) as archive:
        text = archive.read(name).decode()
    return json.loads(text) if name.endswith("json") else text


def test_options_are_parsed():
    options = parse(["p.json", "--out", "s.zip"])
    assert isinstance(options, SubmitOptions)
    assert (options.max_rows, options.no_repair, options.detections_from_rows) == (1000, False, False)
    assert options.files is options.durations is options.problems is options.detections is None
    assert options.threads >= 1


def test_durations_from_json_match_names_with_and_without_the_split_folder(tmp_path, capsys):
    source = tmp_path / "durations.json"
    source.write_text('{"a.mp4": 4, "val/b.mp4": 2.5}')
    assert read_durations(source, ["a.mp4", "b.mp4", "c.mp4"], workers=1) == {"a.mp4": 4.0, "b.mp4": 2.5}
    assert "lacks the duration of 1 clips" in capsys.readouterr().err
    source.write_text('{"a.mp4": -1}')
    with pytest.raises(AvlocError, match='want {"file": seconds}'):
        read_durations(source, ["a.mp4"], workers=1)


def test_repairs_are_made_and_listed(files, tmp_path, capsys):
    durations = tmp_path / "durations.json"
    durations.write_text('{"test/a.mp4": 8}')
    out = tmp_path / "s.zip"
    code = submit(
        files, "--out", out, "--durations", durations, "--detections-from-rows", "--problems", tmp_path / "p.csv"
    )
    assert code == 0
    assert read(out) == {"a.mp4": [[0.9, 3, 8], [0.3, 1, 2]], "b.mp4": [[0, 0, 0]], "c.mp4": [[0, 0, 0]]}
    assert read(out, "prediction.txt") == "a.mp4;0.9\nb.mp4;0\nc.mp4;0\n"
    text = capsys.readouterr()
    for line in (
        "1 × missing: a clip of the list has no entry → filled with [[0, 0, 0]]",
        "1 × extra: a clip is not in the list → left out",
        "1 × outside: a segment reaches out of the clip → cut to the clip",
        "    a.mp4: row 1: [0.9, 3, 50]",
        "1 × unsorted",
        "lacks the duration of 2 clips",
    ):
        assert line in text.err
    assert text.out == f"{out}: prediction.json, prediction.txt; 3 clips, 2 rows\n"
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert [r["kind"] for r in rows] == ["missing", "extra", "empty", "outside", "unsorted"]
    assert rows[3]["row"] == "1"


def test_no_repair_refuses_a_file_with_problems(files, tmp_path, capsys):
    assert submit(files, "--out", tmp_path / "s.zip", "--no-repair") == 2
    assert not (tmp_path / "s.zip").exists()
    assert "4 problems, and --no-repair was given" in capsys.readouterr().err
    files[0].write_text('{"a.mp4": [[0.9, 1, 2]], "b.mp4": [[0, 0, 0]], "c.mp4": [[0.5, 0, 1]]}')
    assert submit(files, "--out", tmp_path / "s.zip", "--no-repair") == 0
    assert read(tmp_path / "s.zip")["a.mp4"] == [[0.9, 1, 2]]


def test_without_out_the_file_is_only_checked(files, capsys):
    assert submit(files) == 1
    assert "→" not in capsys.readouterr().err
    files[0].write_text('{"a.mp4": [[0.9, 1, 2]], "b.mp4": [[0, 0, 0]], "c.mp4": [[0.5, 0, 1]]}')
    assert submit(files) == 0
    assert "no problems found" in capsys.readouterr().out


def test_wrong_columns_cannot_be_repaired(files, tmp_path, capsys):
    files[0].write_text('{"a.mp4": [[1, 2]], "b.mp4": [], "c.mp4": []}')
    assert submit(files, "--out", tmp_path / "s.zip") == 2
    assert "cannot be repaired: a.mp4: row 0: want [score, start, end], got 2 values: [1, 2]" in capsys.readouterr().err


def test_clip_scores_follow_the_list(files, tmp_path, capsys):
    scores, out = tmp_path / "prediction.txt", tmp_path / "s.zip"
    scores.write_text("c.mp4;0.7\na.mp4;0.1\nx.mp4;1\n")
    assert submit(files, "--out", out, "--detections", scores) == 0
    assert read(out, "prediction.txt") == "a.mp4;0.1\nb.mp4;0\nc.mp4;0.7\n"
    assert "1 clips are missing, the first is b.mp4 → filled with the score 0" in capsys.readouterr().err
    assert submit((scores, files[1]), "--out", out) == 0
    assert read(out, "prediction.txt") == "a.mp4;0.1\nb.mp4;0\nc.mp4;0.7\n"
    assert submit((scores, files[1]), "--out", out, "--no-repair") == 2
    assert "--no-repair was given" in capsys.readouterr().err
    assert submit((scores, files[1])) == 1
    assert submit(files, "--detections", scores, "--detections-from-rows") == 2


def test_durations_from_a_store_and_from_clips(tiny_set, tiny_store, tmp_path, capsys):
    predictions = tmp_path / "p.json"
    names = sorted(p.name for p in (tiny_set / "test").glob("*.mp4"))
    predictions.write_text(json.dumps({name: [[0.5, 1, 1000]] for name in names}))
    ends = []
    for source in (tiny_set, tiny_store):
        assert main(["submit", str(predictions), "--durations", str(source), "--out", str(tmp_path / "s.zip")]) == 0
        ends.append({f: rows[0][2] for f, rows in read(tmp_path / "s.zip").items()})
        assert all(2 < end < 13 for end in ends[-1].values())
    for name in names:
        assert ends[0][name] == pytest.approx(ends[1][name], abs=0.1)
    capsys.readouterr()
    for source, message in (
        (tmp_path / "none", "no such store, dataset folder or json file"),
        (tmp_path, "has the duration of none of the 3 clips, such as"),
        (predictions, 'want {"file": seconds}'),
    ):
        assert main(["submit", str(predictions), "--durations", str(source)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["json", "txt"])
def test_a_submission_that_is_mostly_filled_is_loud_and_code_1(tmp_path, suffix, capsys):
    predictions, names, out = tmp_path / f"p.{suffix}", tmp_path / "test_files.txt", tmp_path / "s.zip"
    predictions.write_text('{"a.mp4": [[0.9, 1, 2]], "b.mp4": []}' if suffix == "json" else "a.mp4;0.5\nb.mp4;0\n")
    names.write_text("".join(f"{name}.mp4\n" for name in "abcd"))
    assert submit((predictions, names), "--out", out) == 0  # half of the clips
    assert "WARNING" not in capsys.readouterr().err
    names.write_text("".join(f"{name}.mp4\n" for name in "abcde"))
    assert submit((predictions, names), "--out", out) == 1
    assert out.exists()
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"WARNING: 3 of the 5 clips of {names} are missing in {predictions} and filled; this submission will score near 0. "
        "Is --files the list of the predicted split?"
    )


def test_clip_scores_that_are_mostly_filled_are_loud_and_code_1(files, tmp_path, capsys):
    scores = tmp_path / "detections.txt"
    scores.write_text("a.mp4;0.5\n")  # of three clips
    assert submit(files, "--detections", scores, "--out", tmp_path / "s.zip") == 1
    assert "WARNING: 2 of the 3 clips" in capsys.readouterr().err


def test_a_submission_without_any_row_is_loud_and_code_1(files, tmp_path, capsys):
    files[0].write_text('{"a.mp4": [], "b.mp4": [], "c.mp4": []}')
    assert submit(files, "--out", tmp_path / "s.zip") == 1
    assert f"WARNING: no clip of {files[0]} has a row: all 3 clips are filled" in capsys.readouterr().err


@pytest.mark.parametrize("content", ['{"a.mp4": []}', '["a.mp4"]', '[\n"a.mp4"\n]', '[{"file": "a.mp4"}]'])
def test_a_json_is_no_list_of_files(files, content, capsys):
    files[1].write_text(content)
    assert submit(files) == 2
    error = capsys.readouterr().err
    assert f"{files[1]}: is JSON, want a text file with the name of one clip per line" in error
    assert error.count("\n") == 1


CASES = Path(__file__).parents[1] / "data" / "cases" / "peer_results"


@pytest.mark.parametrize("name", ["basename.json", "anet.json", "eval_results.pkl"])
def test_predictions_of_other_programs_get_the_names_of_the_list(tmp_path, name, capsys):
    files = [f"test/{k:06d}.mp4" for k in range(15)]
    (tmp_path / "files.txt").write_text("\n".join(files))
    out = tmp_path / "s.zip"
    assert submit((CASES / name, tmp_path / "files.txt"), "--out", out) == 0
    rows = json.loads((CASES / "basename.json").read_text())
    assert read(out) == {f"test/{file}": clip for file, clip in rows.items()}
    error = capsys.readouterr().err
    assert "15 × renamed: a clip's name lacks folders or the suffix → named as in the list" in error
    assert submit((CASES / name, tmp_path / "files.txt"), "--out", tmp_path / "t.zip", "--no-repair") == 2
    assert not (tmp_path / "t.zip").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("frames.json", "the times are likely frames (25 per second), want seconds"),
        ("startendscore.json", "the columns are likely [start, end, score], want [score, start, end]"),
        ("endfirst.json", "the columns are likely [score, end, start], want [score, start, end]"),
    ],
)
def test_rows_that_mean_something_else_are_never_zipped(tmp_path, name, reason, capsys):
    durations = tmp_path / "durations.json"
    entries = json.loads((CASES / "metadata.min.json").read_text())
    durations.write_text(json.dumps({entry["file"]: entry["duration"] for entry in entries}))
    command = ["submit", str(CASES / name), "--durations", str(durations)]
    assert main([*command, "--out", str(tmp_path / "s.zip")]) == 2
    error = capsys.readouterr().err
    assert reason in error.splitlines()[-1]
    assert error.splitlines()[-1].endswith("nothing was written")
    assert error.count(reason) == 1
    assert not (tmp_path / "s.zip").exists()
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[0].startswith(f"warning: {CASES / name}: ")
    assert error.count(reason) == 1


def test_clips_that_match_nothing_are_an_error_with_both_names(files, tmp_path, capsys):
    files[0].write_text('{"x/1.mp4": [[0.9, 1, 2]], "x/2.mp4": []}')
    scores = tmp_path / "p.txt"
    scores.write_text("x/1.mp4;0.5\n")
    for predictions, count in ((files[0], 2), (scores, 1)):
        assert submit((predictions, files[1]), "--out", tmp_path / "s.zip") == 2
        assert capsys.readouterr().err.strip() == (
            f"avloc submit: error: {predictions}: none of its {count} clips is in the list: its names are such as x/1.mp4, "
            "want such as a.mp4"
        )
    assert not (tmp_path / "s.zip").exists()
    scores.write_text("")
    assert submit((scores, files[1])) == 2
    assert "p.txt: has no clips" in capsys.readouterr().err


def test_names_that_are_not_text_are_escaped(tmp_path, capsys):
    predictions, out, problems = tmp_path / "p.json", tmp_path / "s.zip", tmp_path / "problems.csv"
    name = "=a\udcff\x1b[2J\n.mp4"
    predictions.write_text(json.dumps({name: [[0.5, 1, 2], [0.9, 3, 2]]}))
    options = ["--out", str(out), "--problems", str(problems), "--detections-from-rows"]
    assert main(["submit", str(predictions), *options]) == 0
    assert read(out) == {name: [[0.5, 1, 2]]}
    assert "=a\\udcff" in read(out, "prediction.txt")
    assert "    =a\\udcff\\x1b[2J\\n.mp4: row 1: [0.9, 3, 2]\n" in capsys.readouterr().err
    assert {row["file"][:2] for row in csv.DictReader(problems.open(newline=""))} == {"'="}


def test_outputs_are_checked_before_anything_is_read(files, tmp_path, capsys):
    assert submit(files, "--out", tmp_path) == 2
    assert f"argument --out: {tmp_path}: is a folder, want the name of a file to write" in capsys.readouterr().err


def test_own_segments_lie_within_their_clips_on_one_clock(small_checkpoint, tmp_path, capsys):
    """Clips whose files start at other times than 0: predictions and durations agree, so nothing is cut."""
    root = tmp_path / "clips"
    root.mkdir()
    for name in ("plain.ts", "late_video.mp4", "cut_copy.mp4", "chan_change.mp3"):
        shutil.copy(CASES.parent / name, root / name)
    options = ["--checkpoint", str(small_checkpoint), "--dataset", "folder", "--root", str(root), "--split", "all"]
    assert main(["predict", *options, "--out", str(tmp_path / "p.json")]) == 0
    predictions = json.loads((tmp_path / "p.json").read_text())
    assert 7.9 < max(end for _, _, end in predictions["plain.ts"]) < 8.1
    assert main(["submit", str(tmp_path / "p.json"), "--durations", str(root)]) == 0
    assert "no problems found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-rows", 0), "argument --max-rows: want a whole number of at least 1"),
        (("--durations", "no"), "no such store"),
    ],
)
def test_wrong_options(files, options, message, capsys):
    assert submit(files, *options) == 2
    assert message in capsys.readouterr().err

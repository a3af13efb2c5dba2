"""`avloc localize` on one clip, on many, and on long ones, with a small network that was trained to find a tone."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.cli.localize import parse
from avloc.cli.main import main
from avloc.core.descriptions import TrainingContext
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets import examples_folder
from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.media.arrays import ClipArrays
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import Span
from avloc.inference.sources.base import read_whole
from avloc.inference.sources.feature import FeatureSource
from avloc.localization.options import OutputOptions
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import read_checkpoint, write_checkpoint
from avloc.models.packaged import packaged_description

TURN_S, TONE = 4.0, Segment(1.0, 1.6)
STEPS = 120  # of the training
EXTRACTORS = (("logmel", {}), ("residual_grid", {"size": 32, "cells": 4}))


def make_samples(seconds, tones, seed=0):
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    samples = np.random.default_rng(seed).normal(0, 0.01, len(time_s))
    for start, end in tones:
        samples += 0.3 * np.sin(2 * np.pi * 1000 * time_s) * ((time_s >= start) & (time_s < end))
    return samples.astype(np.float32)


def make_frames(seconds, seed=0):
    grain = np.random.default_rng(seed).integers(0, 40, (round(seconds * 25), 24, 32, 1))
    return (90 + grain.repeat(2, 1).repeat(2, 2).repeat(3, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network trained on four clips: three with tones and one without."""
    torch.manual_seed(0)
    extractors = [build_extractor(name, arguments) for name, arguments in EXTRACTORS]
    context = TrainingContext(
        0.04,
        tuple(extractor.describe() for extractor in extractors),
        calibration={"clip": (1.0, 0.0), "audio": (1.0, 0.0), "visual": (1.0, -3.0)},
    )
    source = FeatureSource(context.extractors, context.hop_s, native_rate=context.native_rate)
    model = BoundaryTransformer(
        audio_dim=extractors[0].dim,
        visual_dim=extractors[1].dim,
        width=16,
        heads=2,
        levels=2,
        first_steps=24.0,
        distance_bins=24,
        modality_dropout=0.3,
    )
    random = np.random.default_rng(0)
    tones = [
        [Segment(s, s + random.uniform(0.3, 0.9)) for s in np.arange(1, 18, 2.5) + random.uniform(0, 1, 7)]
        for _ in range(3)
    ]
    examples = []
    for k, segments in enumerate((*tones, [])):
        example = read_whole(source, ClipArrays(make_frames(20, k), make_samples(20, segments, k)))
        examples.append(replace(example, record=VideoRecord(str(k), "train", 20.0, tuple(segments), ())))
    from avloc.datasets.loading.features import collate

    batch = collate(examples, model.target_maker)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        loss = model.loss(model(**batch.inputs._asdict()), batch.targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    path = tmp_path_factory.mktemp("tone") / "tone.ckpt"
    write_checkpoint(path, model, context)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_mp4(folder / "tone.mp4", make_frames(TURN_S, 5), make_samples(TURN_S, [TONE], 5))
    write_mp4(folder / "deep" / "plain.mp4", make_frames(TURN_S, 6), make_samples(TURN_S, [], 6))
    write_mp4(folder / "deep" / "deaf.MP4", make_frames(TURN_S, 7), None)
    (folder / "deep" / "broken.mkv").write_text("no media")
    (folder / "notes.txt").write_text("no clip")
    return folder


def call(*words, expect=0, workers=0):
    assert main(["localize", *map(str, words), "--workers", str(workers)]) == expect


def test_one_clip(checkpoint, clips, tmp_path, capsys):
    call(
        clips / "tone.mp4",
        "--checkpoint",
        checkpoint,
        "--out",
        tmp_path,
        "--format",
        "json,csv,vtt,audacity,png,html",
        workers=1,
    )
    out = capsys.readouterr().out
    document = json.loads((tmp_path / "tone.json").read_text())
    best = [*document["segments"], *document["weaker_segments"]][0]
    # Its calibration is of before: without the clips of the split, and without a fit of segments.
    strongest = f"audio, {best['start']:.2f}–{best['end']:.2f} s, score {best['score']:.2f}"
    assert f"tone.mp4: Some evidence of forgery (strongest: {strongest})\n" in out
    llr = f"log-likelihood ratio {document['llr']['clip']:+.2f}"
    assert f"{llr}; the prior of its calibration is unknown, taken as 50 %\n" in out
    assert "  4.03 s, 1 segment of a score of 0.2 or more → " in out
    assert (best["start"], best["end"]) == (pytest.approx(TONE.start_s, abs=0.05), pytest.approx(TONE.end_s, abs=0.05))
    assert best["modality"] == "audio"
    assert document["threshold"] == {"unit": "score", "value": 0.2}
    assert document["score"]["clip"] == best["score"]
    assert document["probability"]["clip"] == pytest.approx(best["score"], abs=1e-3)  # its calibration changes nothing
    names = {p.name for p in tmp_path.iterdir()}
    plain = {f"tone.{e}" for e in ("csv", "vtt", "labels.txt")}
    assert names == {"tone.json", "tone.png", "tone.html"} | plain | {f"{name}.provenance" for name in plain}


def test_a_folder_with_a_broken_file(checkpoint, clips, tmp_path, capsys):
    arguments = [clips, "--checkpoint", checkpoint, "--out", tmp_path, "--format", "json,html"]
    call(*arguments, expect=1, workers=2)
    captured = capsys.readouterr()
    assert "broken.mkv: cannot be opened as media" in captured.err
    assert "3 clips localized, 1 failed" in captured.out
    rows = {
        r["file"].rpartition("/")[2]: r for r in csv.DictReader((tmp_path / "summary.csv").read_text().splitlines())
    }
    assert set(rows) == {"tone.mp4", "plain.mp4", "deaf.MP4", "broken.mkv"}
    assert float(rows["tone.mp4"]["forged"]) > float(rows["plain.mp4"]["forged"])
    assert rows["deaf.MP4"]["problems"] == "no audio stream"
    assert rows["deaf.MP4"]["audio"] == ""
    assert (tmp_path / "deep" / "deaf.html").is_file()
    assert 'href="deep/plain.html"' in (tmp_path / "index.html").read_text()
    before = (tmp_path / "tone.json").stat().st_mtime_ns
    (tmp_path / "summary.csv").unlink()  # as if the run had been interrupted
    call(*arguments, "--skip-done", expect=1)  # only the broken clip is pending
    assert (tmp_path / "tone.json").stat().st_mtime_ns == before
    again = {r["file"].rpartition("/")[2] for r in csv.DictReader((tmp_path / "summary.csv").read_text().splitlines())}
    assert again == set(rows)  # no clip is missing from the new summary
    assert 'href="deep/plain.html"' in (tmp_path / "index.html").read_text()
    call(*arguments, expect=1)  # avloc's own files may be overwritten
    assert (tmp_path / "tone.json").stat().st_mtime_ns > before


@pytest.fixture(scope="module")
def two_checkpoints(checkpoint, tmp_path_factory):
    """The network, and the same with one weight changed."""
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = dict(content["state_dict"])
    name = "model.step_heads.0.bias"
    content["state_dict"][name] = content["state_dict"][name] + 0.125
    content["avloc"].pop("weights_sha256")
    other = tmp_path_factory.mktemp("other") / "other.ckpt"
    torch.save(content, other)
    return checkpoint, other


@pytest.mark.parametrize("formats", ["json,csv", "csv"])
def test_results_of_another_network_or_other_options_are_made_again(two_checkpoints, clips, tmp_path, capsys, formats):
    """Without the format json, the summary tells what made a result."""
    first, other = two_checkpoints
    (tmp_path / "clips").mkdir()
    for name in ("tone.mp4", "plain.mp4"):
        source = clips / name if name == "tone.mp4" else clips / "deep" / name
        (tmp_path / "clips" / name).write_bytes(source.read_bytes())
    words = [tmp_path / "clips", "--out", tmp_path / "out", "--format", formats, "--overwrite", "--skip-done"]
    stamps = {}

    def made_again(*more):
        before = dict(stamps)
        call(*words, *more)
        stamps.update({path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.csv")})
        return sum(stamps[f"{name}.csv"] != before.get(f"{name}.csv") for name in ("tone", "plain"))

    assert made_again("--checkpoint", first) == 2
    capsys.readouterr()
    assert made_again("--checkpoint", first) == 0
    assert "2 of 2 clips were localized by an earlier run\n" in capsys.readouterr().out
    assert made_again("--checkpoint", other) == 2
    assert (
        "0 of 2 clips were localized by an earlier run; 2 with another network or other options, or without a record of them: "
        "localized again\n"
    ) in capsys.readouterr().out
    assert made_again("--checkpoint", other) == 0
    for option in (("--keep", 7), ("--end", 3), ("--threshold", 0.5)):
        assert made_again("--checkpoint", other, *option) == 2, option
        assert made_again("--checkpoint", other, *option) == 0, option
    rows = list(csv.DictReader((tmp_path / "out" / "summary.csv").read_text().splitlines()))
    assert len({row["run"] for row in rows}) == 1


def test_a_result_records_the_options_that_change_it(checkpoint, clips, tmp_path):
    call(clips / "tone.mp4", "--checkpoint", checkpoint, "--out", tmp_path, "--format", "json", "--keep", 5, "--end", 3)
    assert json.loads((tmp_path / "tone.json").read_text())["provenance"]["settings"] == {
        "streams": None,
        "precision": "32",
        "decoding": None,
        "keep": 5,
        "start": 0.0,
        "end": 3.0,
        "audio_track": None,
        "prior": 0.5,
        "threshold": None,
        "embed": "auto",
    }


def test_a_span_of_a_clip(checkpoint, clips, tmp_path):
    call(
        clips / "tone.mp4",
        "--checkpoint",
        checkpoint,
        "--out",
        tmp_path,
        "--start",
        0.5,
        "--end",
        2.5,
        "--format",
        "json",
    )
    document = json.loads((tmp_path / "tone.json").read_text())
    assert document["step"]["start"] == 0.5
    assert document["decoded"]["audio"] == [0.5, 2.5]
    assert [*document["segments"], *document["weaker_segments"]][0]["start"] == pytest.approx(TONE.start_s, abs=0.05)


def test_options_are_parsed(checkpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [
        "~/a.mp4",
        "b",
        "--checkpoint",
        str(checkpoint),
        "--out",
        "~/out",
        "--format",
        "csv,json,csv",
        "--end",
        "9",
    ]
    options = parse([*words, "--audio-track", "1", "--threshold", "0.5", "--embed", "never", "--skip-done"])
    assert options.clips == (tmp_path / "a.mp4", Path("b"))
    assert (options.out, options.formats, options.keep) == (tmp_path / "out", ("csv", "json"), 100)
    assert options.span == Span(0.0, 9.0, 1, longest_s=6 * 3600.0)
    assert options.output == OutputOptions(threshold=0.5, embed="never")
    assert (options.skip_done, options.overwrite) == (True, False)
    assert (options.workers, options.timeout) == (1, 300.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--start", "3", "--end", "2"], "want --start < --end, got 3 and 2"),
        (["--format", "pdf"], "want formats of json, csv, vtt, audacity, png, html, got pdf"),
        (["--threshold", "nan"], "--threshold: want a number within 0 and 1, got 'nan'"),
        (["--audio-track", "2"], "tone.mp4: has no audio track 2, it has 1"),
    ],
)
def test_wrong_options_give_one_line(checkpoint, clips, tmp_path, capsys, words, message):
    call(clips / "tone.mp4", "--checkpoint", checkpoint, "--out", tmp_path, *words, expect=2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_are_not_overwritten(checkpoint, clips, tmp_path, capsys):
    (tmp_path / "tone.csv").write_text("other")
    words = [clips / "tone.mp4", "--checkpoint", checkpoint, "--out", tmp_path, "--format", "csv"]
    call(*words, expect=2)
    assert "tone.csv: exists and may not be avloc's" in capsys.readouterr().err
    assert (tmp_path / "tone.csv").read_text() == "other"
    call(*words, "--overwrite")
    assert (tmp_path / "tone.csv").read_text().startswith("file,")
    (tmp_path / "index.html").write_text("<p>my own page</p>")
    call(clips, *words[1:], "--skip-done", expect=2)
    assert "index.html: exists and was not written by avloc localize" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    call(tmp_path / "empty", "--checkpoint", checkpoint, expect=2)
    assert "empty: a folder without media files" in capsys.readouterr().err


def test_an_output_folder_that_is_a_file_is_one_line(checkpoint, clips, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    for out in (tmp_path / "out", tmp_path / "out" / "deep"):
        call(clips / "tone.mp4", "--checkpoint", checkpoint, "--out", out, expect=2)
        error = capsys.readouterr().err
        assert f"{tmp_path / 'out'}: is a file, want a folder for the output files" in error
        assert error.count("\n") == 1


def test_an_output_folder_that_cannot_be_made_is_named(checkpoint, clips, tmp_path, capsys):
    """Not even root can make folders in /proc."""
    call(clips, "--checkpoint", checkpoint, "--out", "/proc/avloc/x", expect=2)
    error = capsys.readouterr().err
    assert error.startswith("avloc localize: error: /proc/avloc/x: cannot be written, /proc takes no files (")
    assert error.endswith("); choose another --out\n")
    assert error.count("\n") == 1
    call(clips / "tone.mp4", "--checkpoint", checkpoint, "--out", tmp_path / "new", "--start", "60", expect=2)
    assert list(tmp_path.iterdir()) == []  # the check leaves nothing


def test_a_start_behind_the_end_says_so(checkpoint, clips, tmp_path, capsys):
    call(clips / "tone.mp4", "--checkpoint", checkpoint, "--out", tmp_path, "--start", "60", expect=2)
    error = capsys.readouterr().err
    assert "tone.mp4: the start at 60 s is past the clip's end at 4.0" in error
    assert error.count("\n") == 1


def test_a_network_whose_output_is_not_finite_gives_no_score(checkpoint, clips, tmp_path, capsys):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {
        name: value * 1e30 for name, value in content["state_dict"].items()
    }  # finite, but overflows
    content["avloc"].pop("weights_sha256", None)
    torch.save(content, tmp_path / "nan.ckpt")
    call(clips, "--checkpoint", tmp_path / "nan.ckpt", "--out", tmp_path / "out", "--format", "json", expect=2)
    error = capsys.readouterr().err
    assert error.count("hold NaN or infinity") + error.count("holds NaN or infinity") == 3
    assert not list((tmp_path / "out").rglob("*.json"))


def _long(loop, clips, path, turns, tone_turn):
    order = [clips / "deep" / "plain.mp4"] * turns
    order[tone_turn] = clips / "tone.mp4"
    return loop(path, order)


def _peaks_mb(checkpoint, clips, out):
    """The most memory of a worker process after each clip; each has one of its own."""
    code = (
        "import resource, sys\nfrom avloc.cli.main import main\n"
        "for clip in sys.argv[3:]:\n"
        "    assert main(['localize', clip, '--checkpoint', sys.argv[1], '--out', sys.argv[2], '--format', 'json,html']) == 0\n"
        "    print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"  # the worker has the network
    )
    command = [sys.executable, "-c", code, *map(str, (checkpoint, out, *clips))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(line.split()[1]) / 1024 for line in done.stdout.splitlines() if line.startswith("PEAK")]


def _check(document, clip, tone_s):
    """The strongest segment lies at the tone, which the encoder's delay moves by some hundredths of a second per turn."""
    samples = decode(clip, [], span=Span(tone_s - 1, tone_s + 2)).samples
    loud = tone_s - 1 + np.flatnonzero(np.abs(samples) > 0.15) / 16_000
    assert (loud[0], loud[-1]) == (pytest.approx(tone_s, abs=0.07), pytest.approx(tone_s + 0.6, abs=0.07))
    best, *others = [*document["segments"], *document["weaker_segments"]]
    assert (best["start"], best["end"]) == (pytest.approx(loud[0], abs=0.04), pytest.approx(loud[-1], abs=0.04))
    assert best["score"] > 2 * others[0]["score"]


def test_seven_minutes_with_the_memory_of_one(checkpoint, clips, loop, tmp_path):
    tone_turns = {30: 11, 110: 96}
    paths = [tmp_path / f"{turns}.mp4" for turns in tone_turns]
    for path, (turns, tone_turn) in zip(paths, tone_turns.items(), strict=True):
        assert _long(loop, clips, path, turns, tone_turn) == TURN_S
    peaks = _peaks_mb(checkpoint, paths, tmp_path)
    for turns, tone_turn in tone_turns.items():
        document = json.loads((tmp_path / f"{turns}.json").read_text())
        assert document["duration"] == pytest.approx(turns * TURN_S, abs=0.2)
        _check(document, tmp_path / f"{turns}.mp4", tone_turn * TURN_S + TONE.start_s)
    assert peaks[1] < 1.15 * peaks[0]


@pytest.mark.slow
def test_two_hours_with_the_memory_of_minutes(checkpoint, clips, loop, tmp_path):
    """1800 turns of 4 s; the tone is at 1:37:05."""
    tone_turn = (3600 + 37 * 60 + 5 - 1) // 4
    paths = [tmp_path / "minutes.mp4", tmp_path / "hours.mp4"]
    _long(loop, clips, paths[0], 60, 40)
    _long(loop, clips, paths[1], 1800, tone_turn)
    short, long = _peaks_mb(checkpoint, paths, tmp_path)
    _check(json.loads((tmp_path / "hours.json").read_text()), tmp_path / "hours.mp4", 3600 + 37 * 60 + 5)
    assert long < 1.15 * short


def test_a_network_without_a_release_is_named_by_its_class_and_hash(checkpoint, clips, tmp_path, capsys):
    sha256 = read_checkpoint(checkpoint).description.sha256
    call(clips / "tone.mp4", "--checkpoint", checkpoint, "--out", tmp_path / "one", "--format", "json")
    line = f"network: BoundaryTransformer (weights' sha256 {sha256[:12]})"
    assert f"\n  {line}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "one" / "tone.json").read_text())["network"]["sha256"] == sha256
    call(clips / "deep", "--checkpoint", checkpoint, "--out", tmp_path / "all", "--format", "json", expect=1)
    assert capsys.readouterr().out.count(line) == 1  # once for all clips


def test_the_example_shows_a_planted_forgery_without_any_other_file(tmp_path, capsys):
    call("--example", "--out", tmp_path, workers=1)
    out = capsys.readouterr().out
    network = packaged_description("both")
    assert "both-2.mp4: Likely forged: audio and visual, 1.20–1.87 s" in out
    assert " at a prior of 50 % (visual " in out
    assert (
        f"  network: {network.name} {network.version} ({network.date}, weights' sha256 {network.sha256[:12]}), trained only on "
        in out
    )
    assert "  planted in this clip: audio 1.24 – 1.84 s" in out
    document = json.loads((tmp_path / "both-2.json").read_text())
    assert document["network"] == network.to_dict()
    assert {path.name for path in tmp_path.iterdir()} == {"both-2.json", "both-2.png", "both-2.html"}
    page = (tmp_path / "both-2.html").read_text()
    assert f"Network: {network.name}" in page
    threshold = document["threshold"]
    assert (threshold["unit"], threshold["value"]) == ("probability", pytest.approx(0.813, abs=0.001))
    assert f'"threshold": {threshold["value"]}' in page


def test_the_packages_networks_judge_clips_of_all_streams(tmp_path, capsys):
    clips = [examples_folder() / f"{name}.mp4" for name in ("real-sound-alone", "visual-picture-alone")]
    call(*clips, "--out", tmp_path, "--format", "csv")
    out = capsys.readouterr().out
    assert [line.split(" ")[1] for line in out.splitlines() if line.startswith("network: ")] == [
        packaged_description("audio").name,
        packaged_description("visual").name,
    ]
    assert "real-sound-alone.mp4: No evidence either way (strongest: audio, " in out


def test_streams_choose_a_network_of_the_package(tmp_path, capsys):
    call(examples_folder() / "both-1.mp4", "--streams", "visual", "--out", tmp_path, "--format", "json")
    assert f"network: {packaged_description('visual').name}" in capsys.readouterr().out
    assert json.loads((tmp_path / "both-1.json").read_text())["decoded"]["audio"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "want clips to localize, or --example alone"),
        (["x.mp4", "--example"], "want clips to localize, or --example alone"),
        (["--example", "--network", "my_net.MyNet"], "--network belongs to a checkpoint of your own"),
        (["--example", "--streams", "smell"], "want one of both, audio, visual, got 'smell'"),
    ],
)
def test_words_that_do_not_go_together_give_one_line(tmp_path, capsys, words, message):
    call(*words, "--out", tmp_path, expect=2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def result(checkpoint, clips, tmp_path_factory):
    """The json of a run, with its clip."""
    out = tmp_path_factory.mktemp("verified")
    call(clips / "tone.mp4", "--checkpoint", checkpoint, "--out", out, "--format", "json,csv", "--keep", 5, "--end", 3)
    return out / "tone.json"


def test_every_output_records_what_made_it(result, checkpoint, clips):
    record = json.loads(result.read_text())["provenance"]
    clip = clips / "tone.mp4"
    assert record["inputs"]["clip"]["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert record["inputs"]["clip"]["bytes"] == clip.stat().st_size
    assert record["checkpoint"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert record["checkpoint"]["file"] == str(checkpoint)
    assert record["command"].startswith(f"avloc localize {clip} --checkpoint {checkpoint} --out ")
    beside = json.loads((result.parent / "tone.csv.provenance").read_text())
    assert {key: beside[key] for key in record if key != "created"} == {
        key: record[key] for key in record if key != "created"
    }


def test_a_result_is_verified_by_making_it_again(result, clips, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "moved.mp4").write_bytes((clips / "tone.mp4").read_bytes())
    assert main(["localize", "--verify", str(result), str(tmp_path / "moved.mp4")]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"verified: {result} is what avloc ")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        [part, "same:"]
        for part in ("clip", "checkpoint", "version", "document", "scores", "segments", "fakeness", "details")
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "moved.mp4"]


def test_what_differs_is_named(result, two_checkpoints, clips, tmp_path, capsys, monkeypatch):
    """Another clip, another checkpoint and an edited verdict are found; another version alone is no difference."""
    monkeypatch.setenv("COLUMNS", "300")

    def verify(change, clip, *words):
        document = json.loads(result.read_text())
        change(document)
        (tmp_path / "r.json").write_text(json.dumps(document))
        code = main(["localize", "--verify", str(tmp_path / "r.json"), str(clip), *map(str, words)])
        head, *lines = capsys.readouterr().out.splitlines()
        assert head.startswith("verified" if code == 0 else "NOT verified")
        return code, head.rpartition("differs: ")[2].rstrip(")"), dict(line.split(None, 1) for line in lines)

    tone, other = clips / "tone.mp4", clips / "deep" / "plain.mp4"
    code, parts, lines = verify(lambda document: None, other)
    assert (code, parts.split(", ")[0]) == (1, "clip")
    assert lines["clip"].startswith("differs: recorded with sha256 ")
    code, parts, _ = verify(lambda document: None, tone, "--checkpoint", two_checkpoints[1])
    assert (code, parts.split(", ")[0]) == (1, "checkpoint")
    code, parts, lines = verify(lambda document: document.update(verdict="likely forged"), tone)
    assert (code, parts) == (1, "document")
    assert lines["document"] == "differs: changed, not what follows from its own scores: verdict"
    code, _, lines = verify(lambda document: document["provenance"].update(avloc="0.0.1"), tone)
    assert code == 0
    assert lines["version"].startswith("differs: made by avloc 0.0.1, this is avloc ")
    assert "document" not in lines  # its texts may be those of that version


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (
            {"schema": "avloc.localization/6"},
            (),
            "got 'avloc.localization/6'; earlier ones do not record what made them",
        ),
        ({"provenance": None}, (), "does not record its clip and its checkpoint"),
        ({"step": 3}, (), "a damaged result (TypeError: "),
        ({}, ("--keep", "3"), "--verify repeats what the result records, and writes nothing; leave out --keep"),
        ({}, ("x.mp4",), "--verify wants one clip"),
        ({"keep": "many"}, (), "its settings have keep 'many', so it cannot be repeated"),
        ({"prior": 1}, (), "its settings have prior 1, so it cannot be repeated"),
        ({"file": "gone.ckpt"}, (), "was made by gone.ckpt (sha256 "),
    ],
)
def test_results_that_cannot_be_verified_give_one_line(result, clips, tmp_path, capsys, change, words, message):
    document = json.loads(result.read_text())
    for key, value in change.items():
        record = document["provenance"]
        place = record["settings"] if key in ("keep", "prior") else record["checkpoint"] if key == "file" else document
        place[key] = value
    (tmp_path / "r.json").write_text(json.dumps(document))
    assert main(["localize", "--verify", str(tmp_path / "r.json"), str(clips / "tone.mp4"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_result_of_the_package_finds_its_network(clips, tmp_path, capsys, monkeypatch):
    """Its checkpoint is named without a folder."""
    monkeypatch.setenv("COLUMNS", "300")
    call(clips / "deep" / "deaf.MP4", "--out", tmp_path, "--format", "json")
    assert json.loads((tmp_path / "deaf.json").read_text())["provenance"]["checkpoint"]["file"] == "visual.ckpt"
    assert main(["localize", "--verify", str(tmp_path / "deaf.json"), str(clips / "deep" / "deaf.MP4")]) == 0
    assert "  checkpoint  same: visual.ckpt, " in capsys.readouterr().out

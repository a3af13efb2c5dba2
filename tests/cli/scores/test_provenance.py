from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from avloc.cli.evaluate import parse
from avloc.cli.main import main
from avloc.cli.scores import provenance as scores_provenance
from avloc.cli.scores.provenance import (
    FILES,
    identifying_inputs,
    prediction_roles,
    recorded_settings,
    scoring_provenance,
)
from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance
from avloc.io.provenance import read_sidecar, sidecar_path, write_sidecar

CHECKPOINT = CheckpointIdentity(FileIdentity("best.ckpt", "ab" * 32, 9), "BATFD", "the split train of lavdf")


@pytest.fixture
def files(tmp_path):
    """Predictions with the record of a checkpoint beside them, and metadata."""
    predictions, metadata = tmp_path / "p.json", tmp_path / "m.json"
    predictions.write_text(json.dumps({"a.mp4": [[0.9, 1.0, 1.5]]}))
    metadata.write_text(json.dumps([{"file": "a.mp4", "fake_periods": [[1.0, 1.5]], "duration": 4.0, "split": "test"}]))
    write_sidecar(predictions, Provenance("0.1.0", "2026-11-26T09:30:00Z", checkpoint=CHECKPOINT))
    return predictions, metadata


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_record_has_the_hashes_and_the_checkpoint_of_the_predictions(files):
    predictions, metadata = files
    roles = {"predictions": predictions, "metadata": metadata, "versus": predictions, "fit": None}
    record = scoring_provenance("avloc evaluate", {"seed": 0}, roles)
    assert {role: file.sha256 for role, file in record.inputs.items()} == {
        "predictions": sha256(predictions),
        "metadata": sha256(metadata),
        "versus": sha256(predictions),
    }
    assert (record.checkpoint, record.settings) == (CHECKPOINT, {"seed": 0})


def test_files_are_hashed_beside_a_block(files):
    roles = {"predictions": files[0], "metadata": files[1], "versus": None}
    with identifying_inputs(roles) as identities:
        inputs = identities()
    assert {role: file.sha256 for role, file in inputs.items()} == {
        "predictions": sha256(files[0]),
        "metadata": sha256(files[1]),
    }
    record = scoring_provenance("avloc evaluate", {}, roles, inputs)
    assert (record.inputs, record.checkpoint) == (inputs, CHECKPOINT)


def test_a_file_that_cannot_be_hashed_is_an_error_only_for_who_waits(tmp_path):
    with identifying_inputs({"predictions": tmp_path / "none"}):
        pass
    with pytest.raises(FileNotFoundError), identifying_inputs({"predictions": tmp_path / "none"}) as identities:
        identities()


def test_hashing_ends_with_its_block(tmp_path, monkeypatch):
    def hash_without_end(file, pulse):
        while True:
            pulse()

    monkeypatch.setattr(scores_provenance, "identify_file", hash_without_end)
    with pytest.raises(ValueError, match="the block's own"), identifying_inputs({"predictions": tmp_path}):
        raise ValueError("the block's own")


def test_several_systems_have_roles_of_their_own_and_no_checkpoint(files):
    roles = prediction_roles(files)
    assert roles == {"predictions 1": files[0], "predictions 2": files[1]}
    record = scoring_provenance("avloc fuse", {}, roles)
    assert (list(record.inputs), record.checkpoint) == (["predictions 1", "predictions 2"], None)


def test_settings_are_all_options_but_files(tmp_path):
    options = parse(
        ["p.json", "--dataset", "folder", "--root", str(tmp_path), "--protocol", "lavdf", "--json", "n.json"]
    )
    settings = recorded_settings(options)
    assert (settings["root"], settings["protocol"], settings["ap_ious"]) == (str(tmp_path), "lavdf", None)
    assert not {*FILES} & settings.keys()


@pytest.mark.parametrize("damage", ["other predictions", "record"])
def test_a_record_that_cannot_be_used_is_a_warning(files, capsys, damage):
    predictions, _ = files
    if damage == "record":
        sidecar_path(predictions).write_text("{}")
    else:
        predictions.write_text("{}")
    assert scoring_provenance("", {}, {"predictions": predictions}).checkpoint is None
    error = capsys.readouterr().err
    assert error.startswith(f"warning: {predictions}: the checkpoint is not recorded: ")
    assert error.count("\n") == 1


def test_predictions_of_others_have_no_record(files, capsys):
    predictions, _ = files
    sidecar_path(predictions).unlink()
    assert scoring_provenance("", {}, {"predictions": predictions}).checkpoint is None
    assert capsys.readouterr().err == ""


def test_every_output_of_evaluate_has_the_record(files, tmp_path, capsys):
    predictions, metadata = files
    outputs = ["--json", tmp_path / "n.json", "--csv", tmp_path / "n.csv"]
    words = ["evaluate", predictions, metadata, "--protocol", "lavdf", "--split", "test", *outputs]
    assert main([*map(str, words)]) == 0
    record = Provenance.from_dict(json.loads((tmp_path / "n.json").read_text())["provenance"])
    assert record.checkpoint == CHECKPOINT
    assert record.command == f"avloc evaluate {predictions} {metadata} --protocol lavdf --split test " + " ".join(
        map(str, outputs)
    )
    assert (record.settings["split"], record.settings["mode"]) == ("test", "both")
    assert not {"json", "csv", "report", "command"} & record.settings.keys()
    beside = read_sidecar(tmp_path / "n.csv")
    assert beside.output.sha256 == sha256(tmp_path / "n.csv")
    assert replace(beside, output=None) == record
    assert "provenance" not in (tmp_path / "n.csv").read_text()  # its lines are numbers alone
    capsys.readouterr()

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models import read_checkpoint
from avloc.models.packaged import FOLDER, STREAMS, packaged_checkpoint, packaged_description, scope_text
from avloc.models.whisper import network as whisper

MOST_BYTES = 6_000_000
MOST_BYTES_OF_ALL = 12_000_000  # with the weights of the features


def test_each_network_fits_into_six_megabytes_of_half_precision():
    for streams in STREAMS:
        assert packaged_checkpoint(streams).stat().st_size <= MOST_BYTES
        kinds = [weight.dtype for weight in read_checkpoint(packaged_checkpoint(streams)).weights.values()]
        assert kinds.count(torch.float16) > kinds.count(torch.float32)


@pytest.mark.parametrize("streams", STREAMS)
def test_descriptions_equal_those_in_the_checkpoints(streams):
    checkpoint = read_checkpoint(packaged_checkpoint(streams))
    assert packaged_description(streams) == checkpoint.description
    assert checkpoint.context.modality == (None if streams == "both" else streams)
    assert {"clip", *(["audio", "visual"] if streams == "both" else [streams])} <= set(checkpoint.context.calibration)


def test_every_network_says_what_it_knows_and_when_it_counts_as_a_detection():
    names = {packaged_description(streams).name for streams in STREAMS}
    assert len(names) == 3
    for streams in STREAMS:
        description = packaged_description(streams)
        assert description.scope
        assert description.version
        assert description.date
        assert 0 < description.threshold <= 1


def test_all_that_they_need_is_small():
    files = [whisper.WEIGHTS, *(packaged_checkpoint(streams) for streams in STREAMS)]
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES_OF_ALL


def test_they_need_no_weights_of_others():
    for streams in STREAMS:
        extractors = read_checkpoint(packaged_checkpoint(streams)).context.extractors
        assert [extractor.weights_sha256 for extractor in extractors] == [None] * len(extractors)


def test_an_unknown_network_is_refused():
    for function in (packaged_checkpoint, packaged_description):
        with pytest.raises(AvlocError, match="want a network of the package, both, audio, visual, got 'smell'"):
            function("smell")


def test_descriptions_cost_no_torch():
    code = "import sys; from avloc.models.packaged import packaged_description as d; d('audio'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_folder_holds_nothing_else():
    assert {path.name for path in FOLDER.iterdir()} == {"networks.json", *(f"{streams}.ckpt" for streams in STREAMS)}


@pytest.mark.parametrize("streams", STREAMS)
def test_the_scope_is_the_material_of_the_training(streams):
    data = json.loads((FOLDER / "networks.json").read_text())["data"]
    speakers = sum(split in ("all", "train") for _, _, split, _ in data["speech"])
    faces = sum(split == "train" for _, split, _, _ in data["films"])
    assert packaged_description(streams).scope == scope_text(streams, speakers, faces)


def test_what_is_said_of_the_networks_is_their_scope():
    root = Path(__file__).parents[2]
    assert packaged_description().scope in " ".join((root / "docs" / "model_card.md").read_text().split())
    for path in (root / "README.md", *(root / "docs").glob("*.md")):
        assert "re-voiced speech" not in " ".join(path.read_text().split()), path

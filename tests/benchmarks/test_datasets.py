from __future__ import annotations

import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.datasets.loading.samplers import SampleIndex
from avloc.datasets.readers.catalog import read_records
from avloc.feature_extraction.store.feature_store import FeatureStore


def test_metadata_are_read_as_avdeepfake1m(tmp_path):
    from datasets import write_metadata

    path = tmp_path / "train_metadata.json"
    write_metadata(path, 8)
    records = read_records("avdeepfake1m", tmp_path, "train")
    assert len(records) == 8
    assert [len(record.audio_segments) for record in records] == [0, 1, 0, 1] * 2
    assert [len(record.visual_segments) for record in records] == [0, 0, 1, 1] * 2
    path.write_text("kept")
    write_metadata(path, 8)
    assert path.read_text() == "kept"


def test_statements_run_in_a_process_of_their_own(tmp_path):
    from datasets import run_statement

    statement = "import os, time; time.sleep(0.2); assert os.environ['AVLOC_CACHE'].endswith('cache')"
    cost = run_statement(statement, tmp_path / "cache")
    assert 0.2 <= cost.seconds < 20
    assert 0.001 < cost.peak_gb < 1


def test_store_has_clips_of_different_lengths(tmp_path):
    from datasets import make_store

    description = ExtractorDescription("toy", "audio", hop_s=0.5, dim=3)
    files = make_store(tmp_path, 5, [description])
    store = FeatureStore(tmp_path)
    assert store.describe("toy") == description
    features = [store.read_at("toy", *place) for place in store.locate("toy", files).tolist()]
    assert [len(f.values) for f in features] == [round((9 + 3 * np.sin(k)) / 0.5) for k in range(5)]
    assert make_store(tmp_path, 5, [description]) == files


def test_loader_reports_waiting_padding_and_memory(tmp_path, capsys):
    from datasets import loader

    loader(tmp_path, clips=64, steps=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("loader: 1 training steps of 16 clips")
    assert [line.split()[0] for line in lines[2:]] == ["main", "worker", "worker"]


def test_waiting_share_by_hand():
    from datasets import StepTimes

    assert StepTimes(waits=[1.0, 0.0], works=[2.0, 1.0]).waiting_share == 0.25


def test_padding_share_by_hand():
    from datasets import padding_share

    batches = [[SampleIndex(0, 0), SampleIndex(1, 0)], [SampleIndex(2, 0)]]
    # 2 · 4 steps of which 3 are padding, and 5 of which none are, for 10 real steps.
    assert padding_share(batches, np.array([1, 4, 5])) == pytest.approx(0.3)


def test_options():
    from datasets import parse

    options = parse(["--part", "access"])
    assert (options.part, options.entries, options.clips, options.steps) == ("access", 746_000, 20_000, 150)

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError
from avloc.feature_extraction.job.run import extract
from avloc.feature_extraction.store.feature_store import FeatureStore


@pytest.fixture
def filmed_corpus(small_corpus, monkeypatch):
    """The small corpus with clips of noise, their features, and a network of a few channels that trains for one epoch."""
    import corpus
    import corruptions
    from comparing import budgets, experiment

    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for record in corpus.read_records(small_corpus / "clips", split):
            frames = random.integers(60, 200, (25, 48, 48, 3), dtype=np.uint8)
            write_mp4(small_corpus / "clips" / record.file, frames, random.normal(0, 0.1, 16000).astype(np.float32))
    shutil.rmtree(small_corpus / "features")
    for name in (corruptions.SYSTEM, corruptions.CONTINUED):
        system = experiment.SYSTEMS[name]
        small = replace(system, arguments={**system.arguments, "width": 8, "heads": 2, "levels": 1})
        monkeypatch.setitem(experiment.SYSTEMS, name, small)
    for budget in ("short", "long"):
        monkeypatch.setitem(experiment.BUDGETS, budget, replace(budgets.BUDGETS["short"], name=budget, epochs=1))

    def prepare(folder, out, clips, workers, log=None):
        is_quick = folder.name == "quick"  # which goes without methods that are unavailable
        assert log is (corruptions.say if is_quick else None)
        files = [r.file for split in ("train", "val") for r in corpus.read_records(folder / "clips", split)]
        extract(files, FeatureStore(folder / "features"), corruptions.extraction(replace(options, out=folder)))

    options = corruptions.parse(["--out", str(small_corpus)])
    options = replace(options, cores=0)
    monkeypatch.setattr(corruptions, "prepare", prepare)
    monkeypatch.setattr(corruptions, "QUICK_CORRUPTIONS", ("dark",))
    (small_corpus / "quick").symlink_to(small_corpus)
    threads = torch.get_num_threads()
    yield small_corpus
    torch.set_num_threads(threads)


def test_the_quick_form_trains_corrupts_and_draws_the_table(filmed_corpus, monkeypatch, capsys):
    import corruptions

    settings, corrupt = corruptions.extraction, corruptions.extract_corrupted
    monkeypatch.setattr(corruptions, "extraction", lambda options: replace(settings(options), workers=0))
    clean, levels = FeatureStore(filmed_corpus / "features"), []

    def extract_corrupted(options, files, corruption):
        """A corruption changes its own stream alone, and its features may be evaluated."""
        store, file = corrupt(options, files, corruption), files[0]
        assert store.describe("residual_grid") == clean.describe("residual_grid")
        assert (store.read("residual_grid", file).values != clean.read("residual_grid", file).values).mean() > 0.9
        np.testing.assert_array_equal(store.read("logspec", file).values, clean.read("logspec", file).values)
        levels.append(corruption.level)
        return store

    monkeypatch.setattr(corruptions, "extract_corrupted", extract_corrupted)
    (filmed_corpus / "r.yaml").write_text("audio: [{name: Gain}]\nvisual: [{name: Contrast, factor: [0.5, 1]}]")
    arguments = ["--out", str(filmed_corpus), "--quick", "--copies", "1", "--cores", "1"]
    arguments += ["--recipe", str(filmed_corpus / "r.yaml")]
    corruptions.main(arguments)
    text = (filmed_corpus / "tables" / "corruptions.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in lines] == ["| corruption", "|---|---|---|---|", "| dark", "| mean"]
    assert all(line.count("→") == 3 for line in lines[2:])
    assert "of 3 cases" in text
    assert levels == [1, 2, 3]
    assert len(list((filmed_corpus / "predictions").glob("val-*/*/*.npz"))) == 3 * 2
    trained = sorted(
        path.relative_to(filmed_corpus / "runs").as_posix() for path in filmed_corpus.glob("runs/*/*.ckpt")
    )
    assert [name.partition("-")[0] for name in trained] == [
        "long/boundary_transformer_ranges",
        "short/boundary_transformer_continued",
    ]
    assert not any((filmed_corpus / "corrupted").iterdir())  # features are removed, and the clean ones stay
    assert clean.files("residual_grid")
    capsys.readouterr()
    monkeypatch.setattr(corruptions, "extract_corrupted", lambda *_: pytest.fail("predictions are kept"))
    monkeypatch.setattr(corruptions, "run", lambda _: pytest.fail("networks are kept"))
    corruptions.main(arguments)
    assert (filmed_corpus / "tables" / "corruptions.md").read_text() == text


def test_the_table_names_losses_the_cost_and_what_halved():
    from corruptions import Corruption, Losses, losses_table

    cases = [Corruption("hum", level) for level in (1, 2, 3)]
    plain = Losses(0.8, dict(zip(cases, (0.1, 0.2, 0.6), strict=True)))
    augmented = Losses(0.79, dict(zip(cases, (0.05, 0.11, 0.1), strict=True)))
    table = losses_table(plain, augmented, "as trained.")
    assert table.rows[0] == (("hum",), [("10.0 → 5.0",), ("20.0 → 11.0",), ("60.0 → 10.0",)])
    assert table.notes[0].endswith("a cost of 1.0 points. The loss at least halves in 2 of 3 cases.")


def test_a_part_of_the_validation_clips(filmed_corpus):
    import corruptions
    from scoring.predictions import SplitPredictions

    from avloc.core.proposals import Proposals

    options = corruptions.parse(["--out", str(filmed_corpus), "--clips", "2"])
    every = corruptions.files_of(replace(options, clips=0), "val")
    chosen = corruptions.files_of(options, "val")
    assert len(chosen) == 2 < len(every)
    assert chosen == sorted(chosen) == corruptions.files_of(options, "val")
    assert corruptions.files_of(replace(options, clips=1000), "val") == every
    assert len(corruptions.files_of(options, "train")) > 2
    corruptions.prepare(filmed_corpus, filmed_corpus, 0, 0)
    task, corruption = options.tasks()[0][0], corruptions.Corruption("hum", 1)
    data = corruptions.PartialData(task, chosen)
    assert [record.file for record in data.split("val").records] == chosen
    assert not corruptions.has_predictions(task, corruption, chosen)
    SplitPredictions.from_clips((file, Proposals.empty()) for file in every).save(
        task.predictions_file(corruption.folder)
    )
    assert corruptions.has_predictions(task, corruption, chosen)
    assert not corruptions.has_predictions(task, corruption, [*chosen, "other.mp4"])


def test_options(tmp_path):
    from corruptions import effective_corruptions, parse

    assert not {"saturated", "grey"} & set(effective_corruptions())
    assert {"opus", "h264", "freeze"} <= set(effective_corruptions())
    options = parse(["--out", str(tmp_path), "--quick"])
    assert (options.seeds, options.folder) == ((0,), tmp_path / "quick")
    assert parse(["--out", str(tmp_path)]).seeds == (0, 1, 2)
    with pytest.raises(AvlocError, match="unknown or left-out corruptions grey; want white_noise, "):
        parse(["--out", str(tmp_path), "--corruptions", "hum,grey"])


def test_corruptions_without_a_codec_are_left_out_and_named_first(tmp_path, monkeypatch, capsys):
    """`telephone` needs the codec at its third level alone; without `opus`, the quick form has one corruption less."""
    import corruptions

    codecs = set(corruptions.available_codecs()) - {"amr_nb", "g723"}
    lookups = []
    monkeypatch.setattr(corruptions, "available_codecs", lambda: lookups.append("codecs") or codecs)
    assert corruptions.corruptions_without_codec() == ["amr_nb", "telephone"]
    lookups.clear()
    options = corruptions.parse(["--out", str(tmp_path)])
    assert len(lookups) == 1
    assert {"opus", "aac"} <= set(options.names)
    assert not {"amr_nb", "telephone"} & set(options.names)
    assert capsys.readouterr().out.endswith(
        " left out, as this build of PyAV lacks a codec of theirs: amr_nb, telephone\n"
    )
    with pytest.raises(AvlocError, match="unknown or left-out corruptions amr_nb; want white_noise, "):
        corruptions.parse(["--out", str(tmp_path), "--corruptions", "amr_nb,hum"])
    codecs.remove("opus")
    assert corruptions.parse(["--out", str(tmp_path), "--quick"]).names == ("pink_noise", "room", "h264", "dark")

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.examples.example import cut_example, make_example
from avloc.datasets.examples.mixing import MixingShares
from avloc.datasets.loading.batch import StreamInputs
from avloc.datasets.loading.features import FeatureDataset, collate
from avloc.datasets.loading.samplers import SampleIndex
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.clip_records import ClipRecordTable, read_clip_records
from avloc.errors import AvlocError, MediaError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.extractors.residual_grid import ResidualGrid
from avloc.feature_extraction.job.clip_features import ClipFeatures
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.heads.points import PointTargetMaker, Pyramid
from avloc.models.stems import Stem
from avloc.models.stream_clock import stream_clocks

EXTRACTORS = ["logspec", "residual_grid"]
ABSENT = [ResidualGrid().describe()]


class Unnormalized(nn.Module):
    """In place of a norm over the clip, in which every row has an effect on all."""

    def forward(self, x, mask):
        return x


def example(steps, **record):
    """A clip of zeros."""
    grid = TimeGrid(0.0, 0.04, steps)
    features = {m: [Features(np.zeros((steps, dim), np.float32), grid)] for m, dim in (("audio", 2), ("visual", 3))}
    return make_example(VideoRecord(f"{steps}", "t", **record), features, 0.04)


def test_padding_is_masked():
    batch = collate([example(7), example(19)], PointTargetMaker(Pyramid(levels=3)))
    assert batch.inputs.audio.shape == (2, 19, 2)
    assert batch.inputs.video.shape == (2, 19, 3)
    assert batch.inputs.audio_mask.sum(1).tolist() == [7, 19]
    assert batch.targets.distances.shape == (2, 19 + 10 + 5, 2)
    assert not batch.targets.positive.any()


def test_hidden_labels_give_no_targets():
    assert collate([example(3, labelled=False)], PointTargetMaker(Pyramid())).targets is None


def test_a_batch_of_an_empty_clip_has_a_step():
    batch = collate([example(0)])
    assert batch.inputs.audio.shape == (1, 1, 2)
    assert not batch.inputs.audio_mask.any()


def test_records_join_the_store(tiny_set, tiny_store):
    records = read_records("lavdf", tiny_set)
    store = FeatureStore(tiny_store)
    dataset = FeatureDataset(records, store, EXTRACTORS, hop_s=0.04)
    assert len(dataset) == 9
    example = dataset[4]
    assert example.record == records[4]
    assert abs(example.grid.length * 0.04 - records[4].duration_s) < 0.1
    assert [s.shape[1] for s in example.streams] == [513, 320]
    unknown = [*records, VideoRecord("test/none.mp4", "test")]
    with pytest.raises(StoreError, match=r"1 of 10 clips have no features of logspec, residual_grid .* test/none\.mp4"):
        FeatureDataset(unknown, store, EXTRACTORS, hop_s=0.04)
    allowed = FeatureDataset(unknown, store, ["logspec"], hop_s=0.04, allow_missing=True)
    assert (len(allowed), allowed.missing) == (9, ["test/none.mp4"])
    with pytest.raises(StoreError, match="none of the 1 clips"):
        FeatureDataset(unknown[-1:], store, ["logspec"], hop_s=0.04, allow_missing=True)


def test_plain_indices_are_random_in_training_only(tiny_set, tiny_store):
    records, store = read_records("lavdf", tiny_set), FeatureStore(tiny_store)
    options = {"hop_s": 0.04, "longest_s": 1.0}
    dataset = FeatureDataset(records, store, EXTRACTORS, **options)

    def starts(data, seed, workers=0):
        torch.manual_seed(seed)
        loader = DataLoader(data, batch_size=4, collate_fn=collate, num_workers=workers)
        return [[grid.start_s for batch in loader for grid in batch.grids] for _ in range(2)]

    for workers in (0, 1):
        first, second = starts(dataset, 3, workers)
        assert sum(a != b for a, b in zip(first, second, strict=True)) > 5
        assert starts(dataset, 3, workers) == [first, second]
    evaluated = FeatureDataset(records, store, EXTRACTORS, random_windows=False, **options)
    state = torch.get_rng_state()
    assert [evaluated[k].grid.start_s for k in range(9)] == [0.0] * 9
    assert (torch.get_rng_state() == state).all()


def test_segments_past_the_end_are_cut_and_counted(tiny_set, tiny_store):
    records = list(read_records("lavdf", tiny_set, "train"))
    end = records[0].duration_s
    odd = replace(records[0], audio_segments=(Segment(1, 1.4), Segment(end - 0.2, end + 9), Segment(end + 1, end + 2)))
    dataset = FeatureDataset([odd, *records[1:]], FeatureStore(tiny_store), ["logspec"], hop_s=0.04)
    assert dataset.clamped == 2
    kept = dataset.records[0].audio_segments
    assert kept[0] == Segment(1, 1.4)
    assert len(kept) == 2
    assert kept[1].end_s == pytest.approx(end, abs=0.03)


def test_long_clips_are_cut_from_their_beginning(tiny_set, tiny_store):
    records = read_records("lavdf", tiny_set)
    dataset = FeatureDataset(
        records, FeatureStore(tiny_store), EXTRACTORS, hop_s=0.04, longest_s=1.0, random_windows=False
    )
    assert dataset.lengths().tolist() == [25] * 9
    assert (dataset[2].grid.start_s, dataset[2].grid.length) == (0.0, 25)
    whole = FeatureDataset(records, FeatureStore(tiny_store), EXTRACTORS, hop_s=0.04)
    # `TimeGrid.covering` drops a rest under 1 % of a step.
    assert whole.lengths().tolist() == pytest.approx([whole[k].grid.length for k in range(9)], abs=1)


def test_real_clips_get_pseudo_forgeries(tiny_set, tiny_store):
    records = [replace(r, audio_segments=(), visual_segments=()) for r in read_records("lavdf", tiny_set)]
    store = FeatureStore(tiny_store)
    dataset = FeatureDataset(records, store, EXTRACTORS, hop_s=0.04, mixing=MixingShares(pseudo_forgeries=0.7))
    modalities = [dataset[SampleIndex(k, 10 * seed + k)].record.modality for k in range(9) for seed in range(5)]
    assert set(modalities) == {"real", "audio", "visual", "both"}
    assert 0.4 < np.mean([modality != "real" for modality in modalities]) < 0.95
    first, again = dataset[SampleIndex(3, 1)], dataset[SampleIndex(3, 1)]
    assert first.record == again.record  # the same for a seed
    np.testing.assert_array_equal(first.streams[0], again.streams[0])


def test_a_partner_that_does_not_fit_does_not_end_the_training(tiny_set, tiny_store, monkeypatch):
    records = [replace(r, audio_segments=(), visual_segments=()) for r in read_records("lavdf", tiny_set)]
    dataset = FeatureDataset(
        records, FeatureStore(tiny_store), EXTRACTORS, hop_s=0.04, mixing=MixingShares(pseudo_forgeries=1.0)
    )
    whole = dataset._read
    tried = []

    def read(clip, copy=0):
        tried.append(clip)
        return whole(clip) if clip in (0, 8) else cut_example(whole(clip), 0, 1)

    monkeypatch.setattr(dataset, "_read", read)
    modalities = [dataset[SampleIndex(0, seed)].record.modality for seed in range(30)]
    assert 5 < sum(modality != "real" for modality in modalities) < 30  # four partners of nine, of which two fit
    tried.clear()
    assert dataset[SampleIndex(3, 0)].record.modality == "real"  # of one frame itself
    assert len(tried) == 5


def test_batches_of_rows():
    def features(rows, hop_s, start_s, dim):
        return Features(np.ones((rows, dim), np.float32), TimeGrid(start_s, hop_s, rows))

    examples = [
        make_example(
            VideoRecord("x", "t"),
            {"audio": [features(100, 0.01, 0.013, 3)], "visual": [features(n, 1 / 29.97, 0.0, 2)]},
            0.04,
            native_rate=True,
        )
        for n in (45, 0)
    ]
    inputs = collate(examples).inputs
    assert isinstance(inputs, StreamInputs)
    steps = examples[0].grid.length
    assert (steps, examples[1].grid.length) == (38, 26)
    assert inputs.audio.shape == (2, 4 * steps, 3)
    assert inputs.video.shape == (2, 46, 2)
    assert inputs.audio_mask.sum(1).tolist() == [100, 100]
    assert inputs.video_mask.sum(1).tolist() == [45, 0]
    assert inputs.step_mask.sum(1).tolist() == [38, 26]
    assert inputs.audio_phase.tolist() == pytest.approx([0.3, 0.3])  # 13 ms are a row and 0.3 of one
    assert inputs.video_phase[0].item() == 0


def test_stored_rows_are_those_of_the_store(tiny_set, tiny_store):
    records, store = read_records("lavdf", tiny_set), FeatureStore(tiny_store)
    dataset = FeatureDataset(records, store, EXTRACTORS, hop_s=0.04, native_rate=True, longest_s=1.0)
    example = dataset[SampleIndex(2, 5)]
    assert example.grid.length == 25
    assert [s.shape for s in example.streams] == [(100, 513), (25, 320)]
    whole = store.read("logspec", records[2].file)
    first = round((example.rows[0].grid.start_s - whole.grid.start_s) / 0.01)
    np.testing.assert_array_equal(example.streams[0], whole.values[first : first + 100].astype(np.float32))


@pytest.mark.parametrize("hop_s", [0.01, 0.02, 0.04, 0.16, 1 / 29.97])
@pytest.mark.parametrize("begin", [0, 7])
def test_an_impulse_at_a_time_reaches_its_step(hop_s, begin):
    """From a stream that starts at any time, through a window and a batch, to the steps of a stem."""
    torch.manual_seed(0)
    start_s, rows = 0.0137, round(2.5 / hop_s)
    values = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    visual = Features(np.zeros((75, 2), np.float32), TimeGrid(0.0, 0.04, 75))
    stem = Stem(features=3, width=6, layers=0, dropout=0.0, input_dropout=0.0, rows_per_step=0.04 / hop_s).eval()
    stem.norm = Unnormalized()

    def steps_of(rows_of_audio):
        audio = Features(rows_of_audio, TimeGrid(start_s, hop_s, rows))
        features = {"audio": [audio], "visual": [visual]}
        example = make_example(VideoRecord("x", "t"), features, 0.04, native_rate=True).window(begin, begin + 50)
        inputs = collate([example]).inputs
        arguments = {"audio_rows_per_step": 0.04 / hop_s, "visual_rows_per_step": 1.0}
        audio_stream, video_stream = (inputs.audio, inputs.audio_phase), (inputs.video, inputs.video_phase)
        clock, _ = stream_clocks(arguments, audio_stream, video_stream, inputs.step_mask)
        with torch.no_grad():
            return stem(inputs.audio, inputs.audio_mask, clock)[0], example.grid

    expected, grid = steps_of(values)
    for row in range(round(0.5 / hop_s), round(1.9 / hop_s)):
        changed = values.copy()
        changed[row] += 5
        response = (steps_of(changed)[0] - expected).square().sum(-1).numpy()
        time_s = start_s + (row + 0.5) * hop_s
        assert response[int(grid.to_steps(time_s))] > 0
        times_s = grid.centers_s()[response > 0]
        assert np.abs(times_s - time_s).max() < 1.5 * max(hop_s, 0.04) + 0.04


def test_features_of_the_stream_that_is_left_out_need_not_be_complete(tiny_set, tiny_store):
    records = read_records("lavdf", tiny_set)
    places = FeatureStore.locate

    def locate(self, extractor, files):
        assert extractor == "logspec"
        return places(self, extractor, files)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureStore, "locate", locate)
        dataset = FeatureDataset(
            records, FeatureStore(tiny_store), ["logspec", "residual_grid"], hop_s=0.04, modality="audio"
        )
    assert dataset[0].streams[1].shape[1] == 320


def test_real_clips_get_pieces_of_other_clips(tiny_set, tiny_store):
    records = [replace(r, audio_segments=(), visual_segments=()) for r in read_records("lavdf", tiny_set)]
    records[4] = replace(records[4], audio_segments=(Segment(1.0, 1.3),))
    store = FeatureStore(tiny_store)

    def dataset(**shares):
        return FeatureDataset(records, store, EXTRACTORS, hop_s=0.04, native_rate=True, mixing=MixingShares(**shares))

    plain, cut, borrowed = dataset(), dataset(hard_negatives=1.0), dataset(borrowed_forgeries=0.6)
    draws = [SampleIndex(clip, 10 * seed + clip) for clip in (0, 1, 2, 3, 5) for seed in range(6)]
    for draw in draws:
        example = cut[draw]
        assert example.record.segments == ()
        assert (example.streams[0] != plain[draw.clip].streams[0]).any()
        np.testing.assert_array_equal(example.streams[0], cut[draw].streams[0])
    labels = [borrowed[draw].record.audio_segments for draw in draws]
    assert 0.3 < np.mean([len(segments) == 1 for segments in labels]) < 0.9
    assert all(s.duration_s == pytest.approx(0.3) for segments in labels for s in segments)
    assert borrowed[SampleIndex(4, 1)].record == plain[4].record  # fake clips stay
    both = dataset(pseudo_forgeries=0.5, hard_negatives=0.5)
    assert 0.2 < np.mean([both[draw].record.modality != "real" for draw in draws]) < 0.8
    records[4] = records[4].__class__(records[4].file, "train")
    with pytest.raises(AvlocError, match="borrowed_forgeries: none of the clips is fake"):
        dataset(borrowed_forgeries=0.1)


def test_words_of_real_and_fake_clips_are_revoiced(tiny_set, raw_store):
    records = read_records("lavdf", tiny_set, "train")
    store = FeatureStore(raw_store)

    def dataset(share, **options):
        extractors = options.pop("extractors", ["waveform", "mouth"])
        return FeatureDataset(
            records, store, extractors, hop_s=0.04, mixing=MixingShares(revoiced_clips=share), **options
        )

    plain, every = dataset(0.0, native_rate=True), dataset(1.0, native_rate=True)
    revoiced = []
    for draw in [SampleIndex(clip, 100 * seed + clip) for clip in range(len(records)) for seed in range(3)]:
        example, before = every[draw], plain[draw.clip]
        added = {*example.record.audio_segments} - {*before.record.audio_segments}
        revoiced.append((before.record.modality, len(added)))
        assert {*before.record.audio_segments} <= {*example.record.audio_segments}
        assert (example.streams[0] != before.streams[0]).any() == bool(added)
        np.testing.assert_array_equal(example.streams[0], every[draw].streams[0])
    assert {modality for modality, added in revoiced if added} >= {"real", "both"}
    some = dataset(0.4, native_rate=True)
    draws = [some[SampleIndex(k % len(records), k)].record for k in range(40)]
    changed = np.mean([record != plain[k % len(records)].record for k, record in enumerate(draws)])
    assert 0.15 < changed < 0.6
    alone = FeatureDataset(
        records[:1],
        store,
        ["waveform", "mouth"],
        hop_s=0.04,
        native_rate=True,
        mixing=MixingShares(revoiced_clips=1.0),
        longest_s=1.5,
    )
    for seed in range(10):  # without another clip, in windows
        example = alone[SampleIndex(0, seed)]
        inside = [s for s in example.record.audio_segments if s not in plain[0].record.audio_segments]
        assert all(example.grid.start_s - 0.04 < s.start_s < s.end_s < example.grid.end_s + 0.04 for s in inside)
    for share, options in ((0.4, {}), (0.4, {"native_rate": True, "extractors": ["mouth"], "modality": "visual"})):
        with pytest.raises(AvlocError, match="revoiced_clips: want samples at their own rate, as of the extractor wav"):
            dataset(share, **options)


def test_clips_without_a_store_that_cannot_be_decoded(tiny_set, tmp_path):
    shutil.copytree(tiny_set, tmp_path / "set")
    records = read_records("lavdf", tmp_path / "set", "dev")
    (tmp_path / "set" / records[1].file).write_text("no clip")
    clips = ClipFeatures(tmp_path / "set", EXTRACTORS)
    dataset = FeatureDataset(records, clips, EXTRACTORS, hop_s=0.04)
    with pytest.raises(MediaError, match=f"{records[1].file}: cannot be opened as media"):
        _ = dataset[1]
    allowed = FeatureDataset(records, clips, EXTRACTORS, hop_s=0.04, allow_missing=True)
    with pytest.warns(UserWarning, match=f"left out: .*{records[1].file}"):
        assert allowed[1].record == dataset[2].record
    with pytest.raises(AvlocError, match="copies are read from a store"):
        FeatureDataset(records, clips, EXTRACTORS, hop_s=0.04, copies=1)


def test_segments_of_clips_without_a_store_are_cut_when_they_are_read(tiny_set, tiny_store):
    records = list(read_records("lavdf", tiny_set, "train"))
    end = records[0].duration_s
    segments = (Segment(1, 1.4), Segment(end - 0.2, end + 9), Segment(end + 1, end + 2))
    records = [replace(records[0], audio_segments=segments, duration_s=None), *records[1:]]
    live = FeatureDataset(
        records, ClipFeatures(tiny_set, ["logspec"]), ["logspec"], hop_s=0.04, modality="audio", absent=ABSENT
    )
    stored = FeatureDataset(records, FeatureStore(tiny_store), ["logspec"], hop_s=0.04, modality="audio", absent=ABSENT)
    assert live.clamped == 0
    assert live.lengths()[0] == 0
    assert [live[k].record for k in range(3)] == [stored[k].record for k in range(3)]
    assert len(live[0].record.audio_segments) == 2
    labels = ClipRecordTable.from_records(records)
    options = {"hop_s": 0.04, "longest_s": 1.0, "modality": "audio", "absent": ABSENT}
    assert (
        len(FeatureDataset(labels, ClipFeatures(tiny_set, ["logspec"]), ["logspec"], **options)) == 1
    )  # of unknown length


def test_clips_without_segments_get_no_forgeries(tiny_set, tiny_store):
    records = read_clip_records("lavdf", tiny_set)
    with pytest.raises(AvlocError, match="hard_negatives: forgeries and cuts need or make segments"):
        FeatureDataset(
            records,
            FeatureStore(tiny_store),
            ["logspec", "residual_grid"],
            hop_s=0.04,
            mixing=MixingShares(hard_negatives=0.5),
        )

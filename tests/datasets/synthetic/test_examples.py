from __future__ import annotations

from collections import Counter

from avloc.datasets import read_records
from avloc.datasets.synthetic.examples import EXAMPLE_CLIP, example_record, examples_folder
from avloc.feature_extraction import probe

MOST_BYTES, MOST_BYTES_OF_ALL = 100_000, 1_000_000


def test_twelve_small_clips_of_all_kinds():
    records = read_records("folder", examples_folder())
    sizes = [(examples_folder() / record.file).stat().st_size for record in records]
    assert max(sizes) <= MOST_BYTES
    assert sum(sizes) <= MOST_BYTES_OF_ALL
    assert Counter(record.modality for record in records) == {"real": 4, "audio": 3, "visual": 3, "both": 2}
    assert all(record.labelled for record in records)


def test_names_say_which_stream_is_alone():
    for record in read_records("folder", examples_folder()):
        info = probe(examples_folder() / record.file)
        streams = (info.sample_rate is not None, info.width is not None)
        alone = {"sound-alone": (True, False), "picture-alone": (False, True)}
        assert streams == next((value for name, value in alone.items() if name in record.file), (True, True))


def test_labels_lie_within_the_clips():
    for record in read_records("folder", examples_folder()):
        duration_s = probe(examples_folder() / record.file).duration_s
        assert all(0 < segment.start_s < segment.end_s < duration_s for segment in record.segments)


def test_the_example_has_a_word_whose_sound_and_mouth_are_forged():
    record = example_record(examples_folder() / EXAMPLE_CLIP)
    assert record.audio_segments == record.visual_segments != ()


def test_credits_lie_beside_them():
    assert "CC-BY-SA 3.0" in (examples_folder() / "CREDITS.md").read_text(encoding="utf-8")

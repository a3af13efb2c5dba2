from __future__ import annotations

import h5py
import numpy as np


def test_all_ways_keep_the_same_samples(tmp_path):
    import soundfile
    from raw_store import FILTERS, make_clips, measure

    from avloc.feature_extraction.store.feature_store import FeatureStore

    costs = measure(tmp_path, 3)
    assert list(costs) == ["store", *FILTERS, "flac"]
    assert all(cost.size_bytes > 0 and cost.clips_per_second > 0 for cost in costs.values())
    clips = make_clips(3)
    assert all(600 <= len(rows) <= 1200 for rows in clips)
    store = FeatureStore(tmp_path / "store")
    for k, rows in enumerate(clips):
        np.testing.assert_array_equal(store.read("waveform", f"{k:06d}.mp4").values, rows)
        np.testing.assert_array_equal(
            soundfile.read(tmp_path / "flac" / f"{k:06d}.flac", dtype="int16")[0], rows.reshape(-1)
        )
    with h5py.File(tmp_path / "gzip6.h5") as file:
        np.testing.assert_array_equal(file["values"][()], np.concatenate(clips))
    assert sum(rows.nbytes for rows in clips) < costs["store"].size_bytes < sum(rows.nbytes for rows in clips) + 2e5

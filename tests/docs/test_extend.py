from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from avloc.feature_extraction.media.types import Clip


def test_the_extractor_of_the_page_works():
    page = (Path(__file__).parents[2] / "docs" / "extend.md").read_text()
    made = {}
    exec(re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1], made)
    time_s = np.arange(16_000 * 3) / 16_000
    tone = np.sin(2 * np.pi * 200 * time_s + 0.1).astype(np.float32)
    found = made["ZeroCrossings"]().extract(Clip(Path("x"), 25, 16_000, samples=tone))
    assert found.values.shape == (150, 1)
    assert found.grid.hop_s == 0.02
    np.testing.assert_allclose(found.values, 8 / 319, atol=0.004)  # 200 Hz cross zero 8 times in 20 ms

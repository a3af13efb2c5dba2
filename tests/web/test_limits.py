from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.web.limits import UploadLimits, UploadRefusedError


def test_units():
    limits = UploadLimits(max_megabytes=3, total_megabytes=7, max_duration_s=90.0)
    assert (limits.max_bytes, limits.total_bytes, limits.max_minutes) == (3_000_000, 7_000_000, 1.5)


def test_size_of_a_clip():
    limits = UploadLimits(max_megabytes=3)
    limits.check_size(3_000_000, "a.mp4")
    with pytest.raises(UploadRefusedError, match=r"a\.mp4: is larger than 3 MB") as caught:
        limits.check_size(3_000_001, "a.mp4")
    assert caught.value.status == 413


def test_duration_of_a_clip():
    limits = UploadLimits(max_duration_s=90.0)
    limits.check_duration(90.0, "a.mp4")
    with pytest.raises(AvlocError, match=r"a\.mp4: lasts 1\.6 minutes, the limit is 1\.5 minutes"):
        limits.check_duration(97.0, "a.mp4")

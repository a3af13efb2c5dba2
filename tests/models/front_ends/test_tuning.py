from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.models.front_ends.tuning import check_tuning


def test_a_wrong_tuning_is_named():
    for tuning in ("frozen", "lora", "top", "all"):
        check_tuning("speech", tuning)
    for tuning in ("some", None, ["all"]):
        with pytest.raises(AvlocError, match="front end speech: tuning must be one of frozen, lora, top, all, got "):
            check_tuning("speech", tuning)

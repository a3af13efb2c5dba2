from __future__ import annotations

import pytest

from avloc.errors import AvlocError, CheckpointError, MediaError, StoreError, one_line


@pytest.mark.parametrize("kind", [MediaError, CheckpointError, StoreError])
def test_every_error_is_an_avloc_error_and_a_value_error(kind):
    with pytest.raises(AvlocError, match="a.mp4: broken"):
        raise kind("a.mp4: broken")
    assert issubclass(kind, ValueError)


def test_one_line_folds_white_space_and_cuts():
    assert one_line(ValueError("a\n  b\tc")) == "a b c"
    assert one_line(ValueError("")) == ""
    assert one_line(ValueError("x" * 400)) == "x" * 300 + " …"
    assert one_line(ValueError("abcdef"), length=3) == "abc …"

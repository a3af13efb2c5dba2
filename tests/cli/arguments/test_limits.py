from __future__ import annotations

import pytest

from avloc.cli.arguments.limits import add_longest_option, default_workers
from avloc.cli.arguments.parser import parser
from avloc.errors import AvlocError


def test_default_workers_is_the_number_of_cores():
    assert 1 <= default_workers() <= 4096


@pytest.mark.parametrize("text", ["", "h", "0", "-1h", "inf", "infh", "nan", "6 hours", "1d", "1h30m"])
def test_wrong_durations(text):
    options = parser("extract", "avloc extract")
    add_longest_option(options)
    assert options.parse_args([]).longest == 21_600.0
    with pytest.raises(AvlocError, match="--longest: want a length of time above 0, as 90m, 6h, 1:30 or 45"):
        options.parse_args([f"--longest={text}"])

from __future__ import annotations

import pytest

from avloc.cli.arguments.parser import parser
from avloc.errors import AvlocError


def test_errors_are_one_line_with_the_way_to_the_help():
    with pytest.raises(AvlocError, match=r"unrecognized arguments: --odd \(see avloc synth --help\)"):
        parser("synth", "avloc synth clips").parse_args(["--odd"])

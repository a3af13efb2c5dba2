from __future__ import annotations

import pytest

from avloc.cli.arguments.dataset import add_dataset_options
from avloc.cli.arguments.parser import parser
from avloc.errors import AvlocError


def test_dataset_options_check_the_folder(tmp_path):
    options = parser("extract", "avloc extract")
    add_dataset_options(options)
    assert options.parse_args(["--dataset", "lavdf", "--root", str(tmp_path)]).root == tmp_path
    with pytest.raises(AvlocError, match="none: no such folder"):
        options.parse_args(["--dataset", "lavdf", "--root", "none"])

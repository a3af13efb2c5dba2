from __future__ import annotations

import json

import pytest

from avloc.errors import AvlocError
from avloc.evaluation.evidence.calibration import Calibration
from avloc.evaluation.fusion.fusion_file import read_fusion, write_fusion
from avloc.evaluation.fusion.segments import SegmentFusion

CALIBRATIONS = (
    Calibration("segments", ("logit",), (0.5,), -1.0, 3, 40, {}),
    Calibration("segments", ("identity",), (2.0,), 0.25, 5, 6, {}),
)
FUSION = SegmentFusion(CALIBRATIONS, (1.0, 4.0), merge_iou=0.7, absence=0.0, method="soft-nms", sigma=0.1, keep=50)


def test_the_file_is_read_back(tmp_path):
    write_fusion(tmp_path / "f.json", FUSION, {"made_by": "avloc"})
    assert read_fusion(tmp_path / "f.json") == FUSION
    assert json.loads((tmp_path / "f.json").read_text())["provenance"] == {"made_by": "avloc"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "avloc.calibration/1"}, "want a fusion of schema avloc.fusion/1, got 'avloc.calibration/1'"),
        ({"weights": "equal"}, "weights is 'equal'; fit it again with avloc fuse"),
        ({"weights": [1]}, "fusion: got 2 calibrations and 1 weights; fit it again"),
        ({"weights": [1, True]}, r"weights is \[1, True\]"),
        ({"calibrations": [1, 2]}, "calibration 0: want a calibration of schema avloc.calibration/1, got 'int'"),
        ({"calibrations": None}, "calibrations is None"),
        ({"keep": 1.5}, "keep is 1.5"),
        ({"method": ["boxes"]}, r"method is \['boxes'\]"),
        ({"method": "mean"}, "want a method of boxes, soft-nms, got 'mean'"),
        ({"merge_iou": "0.5"}, "merge_iou is '0.5'"),
        ({"absence": float("nan")}, r"want an absence in \[0, 1\], got nan"),
    ],
)
def test_malformed_files_are_named(tmp_path, change, message):
    write_fusion(tmp_path / "f.json", FUSION, {})
    (tmp_path / "f.json").write_text(json.dumps(json.loads((tmp_path / "f.json").read_text()) | change))
    with pytest.raises(AvlocError, match=message) as error:
        read_fusion(tmp_path / "f.json")
    assert "f.json" in str(error.value)


def test_missing_and_other_files(tmp_path):
    with pytest.raises(AvlocError, match="no such fusion"):
        read_fusion(tmp_path / "none.json")
    (tmp_path / "f.json").write_text("3")
    with pytest.raises(AvlocError, match="got 'int'"):
        read_fusion(tmp_path / "f.json")

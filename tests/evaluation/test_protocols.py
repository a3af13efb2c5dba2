from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.evaluation.protocols import PROTOCOLS, Protocol, get_protocol, replace_options


def test_presets_are_as_published():
    assert set(PROTOCOLS) == {"lavdf", "avdeepfake1m", "avdeepfake1m++", "speech"}
    assert [name for name, protocol in PROTOCOLS.items() if protocol.has_ranges] == ["speech"]
    assert PROTOCOLS["lavdf"].ap_ious == (0.5, 0.75, 0.95)
    assert PROTOCOLS["lavdf"].ar_counts == (100, 50, 20, 10)
    assert not PROTOCOLS["lavdf"].has_score
    assert PROTOCOLS["avdeepfake1m++"].ap_ious == (0.5, 0.75, 0.9, 0.95)
    assert PROTOCOLS["avdeepfake1m++"].ar_counts == (50, 30, 20, 10, 5)


def test_yaml_file_overrides_its_base(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: lavdf\nsegments_field: fakes\nap_ious: [0.3, 1]\n")
    protocol = get_protocol(str(path))
    assert protocol == Protocol("mine", "fakes", (0.3, 1.0), (100, 50, 20, 10), has_score=False)
    path.write_text("name: other")
    assert get_protocol(str(path)).name == "other"
    assert get_protocol(str(path)).ar_counts == PROTOCOLS["avdeepfake1m"].ar_counts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not a YAML file"),
        ("3", "not a mapping"),
        ("colour: red", "unknown colour; a protocol has base, name"),
        ("ap_ious: 0.5", "ap_ious must be a list, got 0.5"),
        ("ap_ious: [x]", "ap_ious must be floats"),
        ("ap_ious: [0]", "must be above 0 and at most 1, got 0"),
        ("ap_ious: []", "at least one threshold"),
        ("ar_counts: [0]", "must be at least 1, got 0"),
        ("base: odd", "unknown protocol 'odd'"),
    ],
)
def test_wrong_yaml_files_raise(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(AvlocError, match=message):
        get_protocol(str(path))


def test_missing_file_and_unknown_name_raise():
    with pytest.raises(AvlocError, match="no such protocol file"):
        get_protocol("none.yaml")
    with pytest.raises(AvlocError, match="unknown protocol 'x', want one of lavdf, avdeepfake1m, avdeepfake1m"):
        get_protocol("x")


def test_options_replace_attributes_and_none_keeps_them():
    protocol = replace_options(PROTOCOLS["lavdf"], ar_counts=[7], has_score=True, ap_ious=None)
    assert protocol.ar_counts == (7,)
    assert protocol.has_score
    assert protocol.ap_ious == PROTOCOLS["lavdf"].ap_ious
    with pytest.raises(AvlocError, match="ar_counts must be ints, got"):
        replace_options(PROTOCOLS["lavdf"], ar_counts=[1.5])

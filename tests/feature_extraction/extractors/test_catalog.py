"""The catalog, and the contract that every extractor in it keeps: timing, empty streams, errors."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors import names
from avloc.feature_extraction.extractors.base import Extractor
from avloc.feature_extraction.extractors.catalog import (
    accepts,
    build_extractor,
    extractor_class,
    parse_extractors,
    parse_specification,
    with_default_key,
)
from avloc.feature_extraction.extractors.names import EXTRACTORS, available_extractors, factory_name
from avloc.feature_extraction.extractors.spectrogram import LogSpec
from avloc.feature_extraction.media.types import Clip

PLUGIN = """
from avloc.feature_extraction.extractors.base import Extractor


class Peak(Extractor):
    name, modality, hop_s, dim, receptive_field_s = "avloc_test_peak", "audio", 0.01, 1, 0.01

    def __init__(self, *, level: int = 3) -> None:
        self.level = level

    def rows(self, streams):
        return [abs(samples).reshape(-1, 160).max(axis=1, keepdims=True) for samples in streams]
"""

# Without the package that carries its networks, `speech_embedding` has tests of its own alone.
BUILDABLE = [name for name in EXTRACTORS if name != "speech_embedding" or find_spec("onnxruntime")]
ALIKE = ("mc3_18", "r2plus1d_18", "mvit_v1_b", "whisper_small", "whisper_large_v3")
"""Networks with windows and code of others: r3d_18, mvit_v2_s and whisper_base."""


def expected_rows(extractor, duration_s):
    """A row per hop begun; for a network whose rows start late, only those that see nothing behind the clip."""
    if extractor.start_offset_s > 0:
        return int((duration_s - extractor.receptive_field_s) / extractor.hop_s + 1e-6) + 1
    return int(np.ceil(duration_s / extractor.hop_s - 1e-6))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in BUILDABLE],
)
def test_event_appears_in_the_step_of_the_declared_timing(name, arguments, make_clip):
    extractor = build_extractor(name, arguments.get(name))
    features = extractor.extract(make_clip(extractor))
    assert features.values.shape == (features.grid.length, extractor.dim)
    assert features.grid.start_s == pytest.approx(0.2 + extractor.start_offset_s)
    assert features.grid.hop_s == extractor.hop_s
    assert features.grid.length == expected_rows(extractor, 23 * 0.04)
    without = extractor.extract(make_clip(extractor, event=None))
    change = np.abs(features.values - without.values).mean(axis=1)
    changed_s = features.grid.centers_s()[change > 0.5 * change.max()]
    event = 0.2 + 11.5 * 0.04
    reach = extractor.receptive_field_s / 2 + extractor.hop_s
    assert changed_s.min() >= event - reach - 1e-6
    assert changed_s.max() <= event + reach + 1e-6
    assert changed_s.min() - extractor.hop_s <= event <= changed_s.max() + extractor.hop_s


@pytest.mark.parametrize("name", BUILDABLE)
def test_clip_without_the_stream_has_no_rows(name, arguments):
    extractor = build_extractor(name, arguments.get(name))
    features = extractor.extract(Clip(Path("x.mp4"), fps=25, sample_rate=16000))
    assert features.values.shape == (0, extractor.dim)


@pytest.mark.parametrize("name", BUILDABLE)
def test_description_builds_the_same_extractor_again(name, arguments):
    extractor = build_extractor(name, arguments.get(name))
    description = extractor.describe()
    assert (description.factory or description.name) == name
    weights = {key: value for key, value in arguments.get(name, {}).items() if key == "weights"}
    again = build_extractor(description.factory or description.name, dict(description.parameters) | weights)
    assert again.describe() == description


def test_specification_without_arguments():
    assert parse_specification("logspec") == ("logspec", {})
    assert parse_specification(" logspec : n_fft = 512 ,") == ("logspec", {"n_fft": "512"})


def test_only_the_first_argument_may_lack_a_key():
    assert build_extractor(*parse_specification("logspec:512")).dim == 257
    assert with_default_key("logspec", {"": "512"}) == {"n_fft": "512"}
    with pytest.raises(AvlocError, match="expected name:key=value,key=value, got '3'"):
        parse_specification("logspec:512,3")


def test_text_is_converted_to_the_constructors_types():
    assert build_extractor("logspec", {"n_fft": "512"}).dim == 257
    assert build_extractor("r3d_18", {"random": "TRUE"}).random is True
    with pytest.raises(AvlocError, match="n_fft must be a whole number, got 'many'"):
        build_extractor("logspec", {"n_fft": "many"})
    with pytest.raises(AvlocError, match="random must be true or false"):
        build_extractor("r3d_18", {"random": "maybe"})


def test_unknown_names_and_arguments():
    with pytest.raises(AvlocError, match="unknown extractor 'x', available: .*logmel, logspec"):
        build_extractor("x")
    with pytest.raises(AvlocError, match="logspec has no argument 'y', it has: n_fft"):
        build_extractor("logspec", {"y": "1"})
    assert accepts("r3d_18", "crop")
    assert not accepts("logspec", "crop")


@pytest.mark.parametrize(
    "specification",
    [
        "residual_grid:size=10",
        "residual_grid:cells=0",
        "residual_grid:size=0",
        "residual_grid:size=1000000",
        "logspec:n_fft=0",
        "logspec:n_fft=--5",
        "logmel:bands=0",
        "r3d_18:random=true,stride=0",
    ],
)
def test_impossible_settings_are_one_error(specification):
    with pytest.raises(AvlocError, match=specification.partition(":")[0] + "|stride"):
        build_extractor(*parse_specification(specification))


@pytest.fixture
def plugin_module(tmp_path, monkeypatch):
    """A module in the current folder with an extractor."""
    (tmp_path / "avloc_test_plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield "avloc_test_plugin"
    sys.modules.pop("avloc_test_plugin", None)


def install(monkeypatch, **targets):
    """Pretend that an installed package has these entry points."""
    points = [EntryPoint(name, target, names.ENTRY_POINT_GROUP) for name, target in targets.items()]
    monkeypatch.setattr(names, "entry_points", lambda group: points if group == "avloc.extractors" else [])


def test_class_of_the_current_folder_by_dotted_path(plugin_module):
    extractor = build_extractor("avloc_test_plugin.Peak", {"level": "5"})
    assert extractor.level == 5
    assert extractor.describe().factory == "avloc_test_plugin.Peak"
    assert factory_name(type(extractor)) == "avloc_test_plugin.Peak"


def test_dotted_path_to_something_else():
    with pytest.raises(AvlocError, match=r"no\.such\.Extractor: cannot be imported, expected a subclass of avloc"):
        build_extractor("no.such.Extractor")
    for path in ("collections.OrderedDict", "math.pi"):
        with pytest.raises(
            AvlocError, match=f"extractor '{path}' is not a subclass of avloc.feature_extraction.Extractor"
        ):
            build_extractor(path)


def test_plugin_is_built_listed_and_described_by_its_name(plugin_module, monkeypatch):
    install(monkeypatch, peak="avloc_test_plugin:Peak")
    assert "peak" in available_extractors()
    assert set(EXTRACTORS) < set(available_extractors())
    extractor = build_extractor("peak", {"level": "4"})
    assert isinstance(extractor, Extractor)
    assert extractor.level == 4
    assert extractor.describe().factory == "peak"
    install(monkeypatch, avloc_test_peak="avloc_test_plugin:Peak")
    assert build_extractor("avloc_test_peak").describe().factory is None
    with pytest.raises(AvlocError, match="available: avloc_test_peak, batfd_audio"):
        build_extractor("x")


def test_plugin_never_replaces_a_built_in_extractor(plugin_module, monkeypatch):
    install(monkeypatch, logspec="avloc_test_plugin:Peak", **{"a.b": "avloc_test_plugin:Peak"})
    assert type(build_extractor("logspec")) is LogSpec
    assert available_extractors() == sorted(EXTRACTORS)


def test_broken_plugin_is_one_error(plugin_module, monkeypatch):
    install(monkeypatch, peak="avloc_test_plugin:Nothing", other="avloc_test_no_module:Peak", text="os:sep")
    with pytest.raises(AvlocError, match=r"'peak': its plug-in avloc_test_plugin:Nothing cannot be imported \(Attr"):
        build_extractor("peak")
    with pytest.raises(AvlocError, match=r"avloc_test_no_module:Peak cannot be imported \(ModuleNotFoundError"):
        build_extractor("other")
    with pytest.raises(AvlocError, match="'text' is not a subclass of"):
        build_extractor("text")
    assert factory_name(LogSpec) == "logspec"
    assert build_extractor("avloc_test_plugin.Peak").describe().factory == "avloc_test_plugin.Peak"


def test_parse_extractors():
    specs = parse_extractors("logspec;r3d_18:random=true,crop=center;mc3_18:/data/mc3.pth")
    assert specs == [
        ("logspec", {}),
        ("r3d_18", {"random": "true", "crop": "center"}),
        ("mc3_18", {"": "/data/mc3.pth"}),
    ]


def test_parse_extractors_of_a_list():
    assert parse_extractors(["logspec", "r3d_18:/my file.pth"]) == [("logspec", {}), ("r3d_18", {"": "/my file.pth"})]
    assert parse_extractors([LogSpec, "logmel"]) == [("logspec", {}), ("logmel", {})]
    for wrong in (3, None, dict, object()):
        with pytest.raises(AvlocError, match="want names or classes of Extractor, got"):
            parse_extractors(["logmel", wrong])
    with pytest.raises(AvlocError, match="name each once, got logspec, logspec"):
        parse_extractors(["logspec", "logspec"])
    with pytest.raises(AvlocError, match="name at least one"):
        parse_extractors([])
    assert extractor_class("logspec") is LogSpec

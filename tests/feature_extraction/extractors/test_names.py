from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint

import pytest

from avloc.feature_extraction.extractors import names
from avloc.feature_extraction.extractors.base import Extractor
from avloc.feature_extraction.extractors.names import EXTRACTORS, available_extractors, factory_name, plugins
from avloc.feature_extraction.extractors.speech.encoders import WavLMLarge


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_names_lead_to_classes_and_back(name):
    module, _, attribute = EXTRACTORS[name].rpartition(".")
    extractor_class = getattr(import_module(module), attribute)
    assert issubclass(extractor_class, Extractor)
    assert factory_name(extractor_class) == name


def test_class_without_a_name_goes_by_its_dotted_path():
    class Own(Extractor):
        pass

    assert factory_name(Own) == f"{__name__}.{Own.__qualname__}"


def test_plugins_add_names_but_never_replace_one(monkeypatch):
    points = [EntryPoint(name, "x:Y", "avloc.extractors") for name in ("peak", "logspec", "a.b")]
    monkeypatch.setattr(names, "entry_points", lambda group: points if group == "avloc.extractors" else [])
    assert list(plugins()) == ["peak"]
    assert available_extractors() == sorted([*EXTRACTORS, "peak"])


def test_plugin_of_a_class_that_is_built_in_keeps_the_built_in_name(monkeypatch):
    point = EntryPoint("large", "avloc.feature_extraction.extractors.speech.encoders:WavLMLarge", "avloc.extractors")
    monkeypatch.setattr(names, "entry_points", lambda group: [point])
    assert factory_name(WavLMLarge) == "wavlm_large"

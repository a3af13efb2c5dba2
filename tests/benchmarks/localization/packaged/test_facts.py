from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from avloc.models.packaged import FACTS, FOLDER


def faults(value, kind, at="facts"):
    """Compare a value of json with a type: the places where they differ."""
    if is_typeddict(kind):
        if not isinstance(value, dict):
            return [at]
        hints = get_type_hints(kind, include_extras=True)
        required = {key for key, hint in hints.items() if get_origin(hint) is not NotRequired}
        wrong = [f"{at}.{key}" for key in required - value.keys() | value.keys() - hints.keys()]
        return wrong + [x for key in hints.keys() & value.keys() for x in faults(value[key], hints[key], f"{at}.{key}")]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is NotRequired:
        return faults(value, arguments[0], at)
    if origin in (UnionType, Union):
        return [] if any(not faults(value, each) for each in arguments) else [at]
    if origin is list:
        return [x for k, each in enumerate(value) for x in faults(each, arguments[0], f"{at}[{k}]")]
    if origin is dict:
        return [x for key, each in value.items() for x in faults(each, arguments[1], f"{at}.{key}")]
    if kind in (str, int, NoneType):
        return [] if type(value) is kind else [at]
    if kind is float:
        return [] if type(value) in (int, float) else [at]
    return []  # mappings whose values are of any type


@pytest.fixture
def facts():
    return json.loads((FOLDER / FACTS).read_text(encoding="utf-8"))


def test_the_facts_of_the_package_have_their_types(facts):
    from packaged.facts import Facts

    assert faults(facts, Facts) == []


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("bytes",), "many", "facts.bytes"),
        (("networks", "both", "training", "seed"), None, "facts.networks.both.training.seed"),
        (("networks", "both", "colour"), 3, "facts.networks.both.colour"),
        (("data", "speech", 0, 0), 7, "facts.data.speech[0][0]"),
    ],
)
def test_a_fact_of_another_type_is_a_fault(facts, place, value, fault):
    from packaged.facts import Facts

    inner = facts
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert faults(facts, Facts) == [fault]

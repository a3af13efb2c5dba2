from __future__ import annotations

import pytest

from avloc.datasets.readers.catalog import DATASETS
from avloc.datasets.readers.reader import DatasetReader, build_reader, check_reader
from avloc.datasets.readers.table import TableBuilder
from avloc.errors import AvlocError


class Complete:
    splits = ("train", "val")
    validation = "val"

    def records(self, root, split=None):
        return TableBuilder().build()

    def public_name(self, record):
        return record.file


@pytest.mark.parametrize("name", DATASETS)
def test_built_in_readers_fulfil_the_contract(name):
    reader = DATASETS[name]
    assert check_reader(reader, name) is reader
    assert not reader.splits or reader.validation in ("", *reader.splits)


@pytest.mark.parametrize("member", ["splits", "validation", "records", "public_name"])
def test_missing_member_is_named(member):
    body = {name: value for name, value in vars(Complete).items() if name != member and not name.startswith("__")}
    with pytest.raises(AvlocError, match=f"Partial: is no dataset reader, it lacks {member} "):
        check_reader(type("Partial", (), body)())


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("splits", "train", "splits must be a tuple of names, got 'train'"),
        ("splits", (1,), "splits must be a tuple of names"),
        ("validation", None, "validation must be a split's name, got None"),
        ("records", "metadata.json", "records must be a method, got 'metadata.json'"),
        ("public_name", None, "public_name must be a method, got None"),
    ],
)
def test_member_of_another_kind_is_named(member, value, message):
    reader = type("Wrong", (Complete,), {member: value})()
    with pytest.raises(AvlocError, match=f"mine: a dataset reader's {message}"):
        check_reader(reader, "mine")


def test_class_and_instance_are_built():
    assert isinstance(build_reader(Complete, "x"), Complete)
    reader = Complete()
    assert build_reader(reader, "x") is reader


def test_subclass_of_the_protocol_must_be_complete():
    class Partial(DatasetReader):
        splits = ()
        validation = "val"

    with pytest.raises(AvlocError, match=r"p\.Partial: is no dataset reader, it lacks records, public_name "):
        build_reader(Partial, "p.Partial")


def test_class_with_arguments_is_refused():
    class Configured(Complete):
        def __init__(self, year):
            self.year = year

    with pytest.raises(AvlocError, match=r"x: cannot be built without arguments \(TypeError: .*; name an instance"):
        build_reader(Configured, "x")
    assert build_reader(Configured(2025), "x").year == 2025

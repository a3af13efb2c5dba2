from __future__ import annotations

import json

import pytest

from avloc.errors import StoreError
from avloc.feature_extraction.store.plan_file import PlanFile, plan_digest, read_plan, write_plan


def test_round_trip(tmp_path):
    path = tmp_path / "plan-0.json"
    write_plan(path, PlanFile(["0.h5", "1.h5"], "5d41402a", 7, [(1, 3), (4, 5)]))
    assert read_plan(path) == PlanFile(["0.h5", "1.h5"], "5d41402a", 7, [[1, 3], [4, 5]])
    assert json.loads(path.read_text()) == {
        "shards": ["0.h5", "1.h5"],
        "list": "5d41402a",
        "clips_per_shard": 7,
        "skip": [[1, 3], [4, 5]],
    }


def test_a_plan_of_an_older_release_has_only_shards(tmp_path):
    (tmp_path / "plan-0.json").write_text('{"shards": ["0.h5"]}')
    assert read_plan(tmp_path / "plan-0.json") == PlanFile(["0.h5"], "", 0, [])


def test_digest_of_a_plan_without_one_is_of_its_shards():
    assert plan_digest(PlanFile([], "abc")) == "abc"
    assert plan_digest(PlanFile(["a"])) == plan_digest(PlanFile(["a"], size=3)) != plan_digest(PlanFile(["b"]))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "{",
        '{"shards": "a"}',
        '{"shards": [1]}',
        '{"shards": [], "skip": [[4, 2]]}',
        '{"shards": [], "skip": 4}',
        '{"shards": [], "clips_per_shard": "x"}',
    ],
)
def test_invalid_plan(tmp_path, text):
    (tmp_path / "plan-0.json").write_text(text)
    with pytest.raises(StoreError, match=r"plan-0.json: not a (plan; remove it|JSON file)"):
        read_plan(tmp_path / "plan-0.json")


def test_missing_plan(tmp_path):
    with pytest.raises(StoreError, match="no such plan"):
        read_plan(tmp_path / "plan-0.json")

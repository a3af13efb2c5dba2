from __future__ import annotations

from pathlib import Path

import pytest

from avloc.errors import AvlocError

ROOT = Path(__file__).parents[3]


def test_a_configuration_of_the_package(describe):
    path = ROOT / "configs" / "demo.yaml"
    description, facts = describe(path, "yaml")
    assert (facts["Network"], facts["Data"], facts["Epochs"]) == ("BoundaryTransformer", "FeatureData", "18")
    assert "extractors logspec,residual_grid" in facts["Options"]
    assert description.commands == [
        f"avloc train --config {path} --data.root FOLDER --data.store FOLDER --trainer.default_root_dir run"
    ]


def test_a_recipe_and_a_protocol(describe, write):
    _, facts = describe(ROOT / "avloc" / "augment" / "recipes" / "light.yaml", "yaml")
    assert facts["Visual"].startswith("Downscale, H264")
    path = write(
        "mine.yaml", "name: mine\nsegments_field: fakes\nap_ious: [0.3, 0.5]\nar_counts: [10]\nhas_score: false\n"
    )
    description, facts = describe(path, "yaml")
    assert (facts["AP"], facts["AR"], facts["Segments"]) == ("IoU 0.3, 0.5", "10 rows", "in the field fakes")
    assert description.commands[0].endswith(f" --protocol {path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("site_name: x\n", "got site_name"),
        ("- 1\n", "got list"),
        ("a: [", "not a YAML file"),
        ("model: 1\ndata: 2", "it has no data"),
    ],
)
def test_other_files_are_named(describe, write, text, message):
    with pytest.raises(AvlocError, match=rf"other\.yml: .*{message}"):
        describe(write("other.yml", text), "yaml")

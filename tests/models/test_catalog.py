from __future__ import annotations

import sys
from importlib import resources
from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch
import yaml

from avloc.core.timeline import TimeGrid, rows_in
from avloc.errors import AvlocError, CheckpointError
from avloc.models import catalog
from avloc.models.boundary_transformer.network import BoundaryTransformer
from avloc.models.catalog import MODELS, as_class, build_model, network_class

SMALL = {"audio_dim": 5, "visual_dim": 7, "width": 8, "heads": 2, "levels": 2}


@pytest.mark.parametrize("name", MODELS)
def test_networks_of_the_package_have_names(name):
    assert network_class(name).__name__ == name


def test_unknown_name_lists_the_choices():
    with pytest.raises(CheckpointError, match="unknown network 'X', want one of BoundaryTransformer, BATFD, BATFDPlus"):
        network_class("X")


def test_plugin_is_found_by_its_entry_point(monkeypatch, write_module):
    write_module(
        "plugin_of_test_catalog",
        "from avloc.models.boundary_transformer.network import BoundaryTransformer\n"
        "class Custom(BoundaryTransformer):\n    pass\n"
        "number = 3\n",
    )
    plugins = EntryPoints(
        [
            EntryPoint("Custom", "plugin_of_test_catalog:Custom", catalog.PLUGINS),
            EntryPoint("Broken", "plugin_of_test_catalog:number", catalog.PLUGINS),
            EntryPoint("BATFD", "plugin_of_test_catalog:Custom", catalog.PLUGINS),
        ]
    )
    monkeypatch.setattr(catalog, "entry_points", lambda group: plugins.select(group=group))
    assert type(build_model("Custom", SMALL)).__name__ == "Custom"
    assert network_class("BATFD").__module__ == "avloc.models.batfd.network"
    with pytest.raises(
        AvlocError, match="'plugin_of_test_catalog.number': want the class of a torch.nn.Module, got an instance of int"
    ):
        network_class("Broken")
    with pytest.raises(CheckpointError, match="want one of BoundaryTransformer, BATFD, BATFDPlus, Broken, Custom"):
        network_class("X")
    sys.modules.pop("plugin_of_test_catalog")


def test_class_is_given_as_such_or_by_its_dotted_name():
    assert as_class(BoundaryTransformer) is BoundaryTransformer
    assert as_class("avloc.models.boundary_transformer.network.BoundaryTransformer") is BoundaryTransformer
    with pytest.raises(AvlocError, match="want the class of a torch.nn.Module, got the class dict"):
        as_class(dict)
    with pytest.raises(AvlocError, match="'avloc.models.catalog.build_model': want the class of a torch.nn.Module"):
        as_class("avloc.models.catalog.build_model")


def test_build_model_rebuilds_a_network_from_its_arguments():
    network = build_model("BoundaryTransformer", SMALL)
    again = build_model("BoundaryTransformer", network.arguments, BoundaryTransformer)
    again.load_state_dict(network.state_dict())
    assert again.arguments == network.arguments


def test_build_model_refuses_wrong_arguments():
    with pytest.raises(CheckpointError, match=r"network BATFD cannot be made from \{'odd': 1\}"):
        build_model("BATFD", {"odd": 1})
    with pytest.raises(CheckpointError, match="heads must divide the width"):
        build_model("BoundaryTransformer", SMALL | {"heads": 3})
    with pytest.raises(CheckpointError, match=r"network BoundaryTransformer cannot be made from .*modulo by zero"):
        build_model("BoundaryTransformer", SMALL | {"heads": 0})
    with pytest.raises(CheckpointError, match="its argument first_steps is NaN, want a number"):
        build_model("BoundaryTransformer", SMALL | {"first_steps": float("nan")})
    with pytest.raises(AvlocError, match="want the class of a network 'BATFD', got avloc.models.boundary_transformer"):
        build_model("BATFD", SMALL, BoundaryTransformer)
    with pytest.raises(AvlocError, match="Linear is no network of avloc: it lacks `arguments`"):
        build_model("Linear", {"in_features": 2, "out_features": 1}, torch.nn.Linear)


RECIPES = ("boundary_transformer", "wavlm_finetune", "audio_only", "visual_only")
SMALL_WAVLM = {
    "model_type": "wavlm",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.mark.parametrize(
    "name", ["demo", "demo_whisper", *(f"{s}/{recipe}" for s in ("lavdf", "avdeepfake1m") for recipe in RECIPES)]
)
def test_networks_of_the_configurations_run(name):
    path = resources.files("avloc") / "configs" / f"{name}.yaml"
    settings = yaml.safe_load(path.read_text())["model"]["model"]
    options = settings["init_args"].get("audio_front_end_options", {})
    if options.pop("weights", None):  # a folder of the user's
        options["settings"] = SMALL_WAVLM
    network = build_model(settings["class_path"].rpartition(".")[2], settings["init_args"]).eval()
    length, arguments = 13, network.arguments
    inputs = {}
    for keyword, modality in (("audio", "audio"), ("video", "visual")):
        rate = arguments.get(f"{modality}_rows_per_step")
        rows = length if rate is None else rows_in(length, rate)
        inputs[keyword] = torch.randn(1, rows, arguments[f"{modality}_dim"])
        inputs[f"{keyword}_mask"] = torch.ones(1, rows, dtype=torch.bool)
        if rate is not None:
            inputs |= {f"{keyword}_phase": torch.zeros(1), "step_mask": torch.ones(1, length, dtype=torch.bool)}
    output = network(**inputs)
    assert len(network.decode(output, [TimeGrid(0, 0.02, length)])[0]) > 0

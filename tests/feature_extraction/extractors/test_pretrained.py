from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.pretrained import folder_sha256, model_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("weights")
    return tmp_path


def test_folder_is_used_as_it_is(folder):
    assert model_folder(str(folder), "wavlm_base") == folder


def test_name_in_the_cache_leads_to_its_snapshot(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--owner--small"
    (model / "snapshots" / "0123").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123")
    for name in ("config.json", "pytorch_model.bin"):
        (model / "snapshots" / "0123" / name).write_text("{}")
    assert model_folder("owner/small", "videomae") == model / "snapshots" / "0123"


@pytest.mark.parametrize("weights", ["owner/none", "a/b/c", "/no/such/folder"])
def test_missing_model_names_the_cure(weights, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        AvlocError, match=rf"{weights}: no such folder, and no model .*videomae needs .*hf download NAME"
    ):
        model_folder(weights, "videomae")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_incomplete_folder(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(AvlocError, match=r"videomae needs a folder with config\.json and model\.safetensors"):
        model_folder(str(folder), "videomae")


def test_hash_covers_settings_and_weights_only(folder):
    first = folder_sha256(folder)
    (folder / "README.md").write_text("words")
    assert folder_sha256(folder) == first
    (folder / "preprocessor_config.json").write_text("{}")
    second = folder_sha256(folder)
    (folder / "model.safetensors").write_text("other weights")
    assert len({first, second, folder_sha256(folder)}) == 3

from __future__ import annotations


def test_weights_are_fetched_for_the_networks_that_need_them(tmp_path, monkeypatch):
    from comparing import features

    fetched = []
    monkeypatch.setattr(features.whisper_weights, "fetch", lambda folder: fetched.append(folder) or folder)
    settings = features.extraction_settings(tmp_path / "clips", ["logspec", "residual_grid"], tmp_path / "cache", 3)
    assert (settings.folder, settings.workers) == (tmp_path / "clips", 3)
    assert settings.extractors == (("logspec", {}), ("residual_grid", {}))
    assert fetched == []
    settings = features.extraction_settings(tmp_path, ["whisper_base"], tmp_path / "cache", 0)
    folder = tmp_path / "cache" / "whisper-base"
    assert settings.extractors == (("whisper_base", {"weights": str(folder), "layers": "1-4"}),)
    assert fetched == [folder]


def test_mouth_crops_have_the_size_that_the_systems_read(tmp_path):
    from comparing import features
    from comparing.systems import SYSTEMS

    settings = features.extraction_settings(tmp_path, ["mouth"], tmp_path, 0)
    ((name, options),) = settings.extractors
    assert name == "mouth"
    assert SYSTEMS["lips"].arguments["visual_dim"] == options["side"] ** 2
    assert SYSTEMS["lips"].arguments["visual_front_end_options"]["side"] == options["side"]

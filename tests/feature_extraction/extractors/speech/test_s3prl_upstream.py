from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor, parse_specification

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")

CONVOLUTIONS = "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2"
SMALL = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "conv_feature_layers": CONVOLUTIONS,
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "final_dim": 8,
}


def streams():
    return [np.random.default_rng(k).normal(0.01, 0.1, n).astype(np.float32) for k, n in enumerate((3000, 4100, 3000))]


def save_wav2vec2(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

        torch.manual_seed(0)
        network = Wav2Vec2Model(Wav2Vec2Config(**SMALL, extractor_mode="layer_norm"))
    settings = {**SMALL, "extractor_mode": "layer_norm"}
    torch.save({"task_cfg": {"normalize": True}, "model_cfg": settings, "model_weight": network.state_dict()}, file)


def save_hubert(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

        torch.manual_seed(0)
        symbols = [["a", "b", "c"]]
        network = HubertModel(HubertConfig(**SMALL, label_rate=50), HubertPretrainingConfig(), symbols)
    torch.save(
        {
            "task_cfg": {"normalize": False},
            "model_cfg": {**SMALL, "label_rate": 50},
            "model_weight": network.state_dict(),
            "dictionaries_symbols": symbols,
        },
        file,
    )


def save_data2vec(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from s3prl.upstream.data2vec.data2vec_model import Data2VecAudioConfig, Data2VecAudioModel

        torch.manual_seed(0)
        network = Data2VecAudioModel(Data2VecAudioConfig(**SMALL))
        network.remove_pretraining_modules()
        weights = {**network.state_dict(), "_ema": 0}
    torch.save({"task_cfg": {"normalize": True}, "model_cfg": SMALL, "model_weight": weights}, file)


@pytest.fixture(scope="module")
def files(tmp_path_factory, save_speech, save_original_wavlm):
    root = tmp_path_factory.mktemp("s3prl")
    save_original_wavlm(root / "wavlm.pt")
    save_wav2vec2(root / "wav2vec2.pt")
    save_hubert(root / "hubert.pt")
    save_data2vec(root / "data2vec.pt")
    save_original_wavlm(root / "unispeech_sat.pt", relative_position_embedding=False, gru_rel_pos=False)
    for kind in ("wav2vec2", "hubert"):
        save_speech(root / f"hf_{kind}", kind, norm="layer", normalize=True)
    return {
        "wavlm_local": root / "wavlm.pt",
        "wav2vec2_local": root / "wav2vec2.pt",
        "hubert_local": root / "hubert.pt",
        "data2vec_local": root / "data2vec.pt",
        "unispeech_sat_local": root / "unispeech_sat.pt",
        "hf_wav2vec2_custom": root / "hf_wav2vec2",
        "hf_hubert_custom": root / "hf_hubert",
    }


def direct(entry, file, samples):
    """s3prl's own forward pass of one stream: every hidden state (T, C)."""
    from importlib import import_module

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hub = import_module(f"s3prl.upstream.{entry.rsplit('_', 1)[0]}.hubconf")
        expert = getattr(hub, entry)(str(file)).eval()
        with torch.no_grad():
            return [state[0].numpy() for state in expert([torch.from_numpy(samples)])["hidden_states"]]


ENTRIES = (
    "wavlm_local",
    "unispeech_sat_local",
    "wav2vec2_local",
    "hubert_local",
    "data2vec_local",
    "hf_wav2vec2_custom",
    "hf_hubert_custom",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_layers_equal_s3prls(entry, files):
    extractor = build_extractor(*parse_specification(f"s3prl:{entry},weights={files[entry]},layers=all"))
    extractor.load()
    batch = streams()
    together = extractor.rows(batch)
    layers = 4 if entry in ("wavlm_local", "unispeech_sat_local") else 3
    assert (extractor.layers, extractor.dim) == (layers, 16 * layers)
    for samples, got in zip(batch, together, strict=True):
        expected = direct(entry, files[entry], samples)
        assert got.dtype == np.float32
        assert len(got) == (len(samples) - 400) // 320 + 1
        np.testing.assert_allclose(got, np.concatenate(expected, axis=1), atol=1e-5)
    averaged = build_extractor(*parse_specification(f"s3prl:{entry},weights={files[entry]},layers=0-1,mean=true"))
    (mean,) = averaged.rows(batch[:1])
    np.testing.assert_allclose(mean, np.mean(direct(entry, files[entry], batch[0])[:2], axis=0), atol=1e-5)


def test_plain_name_uses_the_local_entry(files):
    named = build_extractor(*parse_specification(f"s3prl:wavlm_base_plus,weights={files['wavlm_local']}"))
    entry = build_extractor(*parse_specification(f"s3prl:wavlm_local,weights={files['wavlm_local']}"))
    batch = streams()
    for a, b in zip(named.rows(batch), entry.rows(batch), strict=True):
        np.testing.assert_array_equal(a, b)
    assert named.parameters() == {"upstream": "wavlm_base_plus", "layers": "last", "mean": False}
    assert len(named.weights_sha256()) == 64
    xlsr = build_extractor(*parse_specification(f"s3prl:xls_r_300m,weights={files['wav2vec2_local']}"))
    assert xlsr.rows(batch)[0].shape == (9, 16)
    custom = build_extractor(*parse_specification(f"s3prl:hf_hubert_custom,weights={files['hf_hubert_custom']}"))
    assert len(custom.weights_sha256()) == 64


def test_timing(files):
    extractor = build_extractor(*parse_specification(f"s3prl:hubert_local,weights={files['hubert_local']}"))
    assert (extractor.hop_s, extractor.receptive_field_s) == (0.02, 0.025)
    assert extractor.start_offset_s == pytest.approx(0.0025)
    assert extractor.rows([streams()[0][:7]])[0].shape == (1, 16)


def test_s3prl_and_transformers_read_the_same_network_from_a_file(files):
    rows = []
    for specification in ("s3prl:wavlm_local,weights={},layers=all", "wavlm_base:weights={},layers=all"):
        extractor = build_extractor(*parse_specification(specification.format(files["wavlm_local"])))
        rows += extractor.rows(streams()[:1])
    np.testing.assert_allclose(*rows, atol=1e-5)


def test_wrong_names_and_files(files, tmp_path):
    with pytest.raises(AvlocError, match=r"s3prl:wavlm_local needs a local weights file \(weights=PATH\)"):
        build_extractor(*parse_specification("s3prl:wavlm_local"))
    with pytest.raises(AvlocError, match="upstream must be one of wavlm, .* got 'vggish'"):
        build_extractor(*parse_specification("s3prl:vggish,weights=x"))
    with pytest.raises(AvlocError, match="none: no such weights file for s3prl:wavlm_local"):
        build_extractor(*parse_specification("s3prl:wavlm_local,weights=none"))
    with pytest.raises(AvlocError, match="s3prl has no upstream 'wavlm_huge', similar ones: .*wavlm_large"):
        build_extractor(*parse_specification(f"s3prl:wavlm_huge,weights={files['wavlm_local']}")).load()
    with pytest.raises(AvlocError, match=r"not weights of s3prl's hubert \(.*required key"):
        build_extractor(*parse_specification(f"s3prl:hubert_local,weights={files['wavlm_local']}")).load()
    with pytest.raises(AvlocError, match="layers must name some of 0 to 3"):
        build_extractor(*parse_specification(f"s3prl:wavlm_local,weights={files['wavlm_local']},layers=4")).load()
    shutil.copytree(files["hf_hubert_custom"], tmp_path / "folder")
    (tmp_path / "folder" / "preprocessor_config.json").unlink()
    with pytest.raises(AvlocError, match=r"this one lacks preprocessor_config\.json"):
        build_extractor(*parse_specification(f"s3prl:hf_hubert_custom,weights={tmp_path / 'folder'}"))
    (tmp_path / "text.pt").write_text("none")
    with pytest.raises(AvlocError, match=r"text\.pt: not a checkpoint"):
        build_extractor(*parse_specification(f"s3prl:wavlm_local,weights={tmp_path / 'text.pt'}")).load()


@pytest.mark.parametrize(
    ("place", "settings", "problem"),
    [
        ("cfg", {"conv_feature_layers": "print('run')"}, "conv_feature_layers must be like"),
        ("model_cfg", {"conv_feature_layers": "print('run')"}, "conv_feature_layers must be like"),
        ("model_cfg", {"xformers_att_config": "print('run')"}, "cannot run a network with xformers"),
        ("cfg", [("conv_feature_layers", "print('run')")], "not a file of s3prl's"),
    ],
)
def test_code_in_a_file_is_not_run(place, settings, problem, tmp_path, capsys):
    torch.save({place: settings, "model": {}}, tmp_path / "w.pt")
    with pytest.raises(AvlocError, match=problem):
        build_extractor(*parse_specification(f"s3prl:wavlm_local,weights={tmp_path / 'w.pt'}")).load()
    assert "run" not in capsys.readouterr().out


def test_several_upstreams_have_names_of_their_own(files):
    extractors = [
        build_extractor(*parse_specification(f"s3prl:{entry},weights={files[entry]}"))
        for entry in ("wavlm_local", "hubert_local")
    ]
    assert [extractor.name for extractor in extractors] == ["s3prl_wavlm_local", "s3prl_hubert_local"]
    assert {extractor.describe().factory for extractor in extractors} == {"s3prl"}

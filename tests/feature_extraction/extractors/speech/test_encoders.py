from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.media.types import Clip

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")

NAMES = {"wavlm": "wavlm_base", "wav2vec2": "wav2vec2_base", "hubert": "hubert_base"}
LENGTHS = (2000, 399, 3777, 2000, 3040, 400, 3776, 719, 720)


def sound(samples, seed=0, level=0.1):
    return np.random.default_rng(seed).normal(0.01, level, samples).astype(np.float32)


def streams(lengths=LENGTHS):
    return [sound(n, seed=k) for k, n in enumerate(lengths)]


@pytest.fixture(scope="module")
def networks(tmp_path_factory, save_speech):
    """Folders and their networks, by kind and norm; those with a group norm take streams without normalization."""
    root = tmp_path_factory.mktemp("speech")
    return {
        (kind, norm): (
            str(root / f"{kind}-{norm}"),
            save_speech(root / f"{kind}-{norm}", kind, norm=norm, normalize=norm == "layer"),
        )
        for kind in NAMES
        for norm in ("group", "layer")
    }


def reference(network, samples, normalize):
    """The forward pass of transformers on one stream: every hidden state (T, C)."""
    import transformers

    prepare = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize)
    values = prepare(samples, sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        output = network(values, output_hidden_states=True)
    return [state[0].numpy() for state in (*output.hidden_states[:-1], output.last_hidden_state)]


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", list(NAMES))
def test_layers_equal_transformers(kind, norm, networks):
    folder, network = networks[kind, norm]
    samples = sound(9999)
    states = reference(network, samples, norm == "layer")
    assert states[0].shape == (30, 16)
    for layers, numbers in {"all": [0, 1, 2], "last": [2], "0": [0], "1+0": [1, 0]}.items():
        side = np.concatenate([states[k] for k in numbers], axis=1)
        mean = np.mean([states[k] for k in numbers], axis=0)
        for averaged, expected in ((False, side), (True, mean)):
            extractor = build_extractor(NAMES[kind], {"weights": folder, "layers": layers, "mean": averaged})
            extractor.load()
            assert (extractor.layers, extractor.dim) == (1 if averaged else len(numbers), expected.shape[1])
            (got,) = extractor.rows([samples])
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", list(NAMES))
def test_batch_equals_one_by_one(kind, norm, networks):
    folder, _ = networks[kind, norm]
    extractor = build_extractor(NAMES[kind], {"weights": folder, "layers": "all"})
    batch = streams()
    alone = [extractor.rows([samples])[0] for samples in batch]
    assert [len(rows) for rows in alone] == [6, 1, 11, 6, 9, 1, 11, 1, 2]
    for order in (range(len(batch)), [4, 8, 1, 0, 7, 2, 3, 6, 5]):
        for k, rows in zip(order, extractor.rows([batch[k] for k in order]), strict=True):
            np.testing.assert_allclose(rows, alone[k], atol=1e-5)
    assert extractor.rows([]) == []


def test_group_norm_never_sees_padding_and_layer_norm_shares_passes(networks, monkeypatch):
    passes = []
    for norm in ("group", "layer"):
        extractor = build_extractor("hubert_base", {"weights": networks["hubert", norm][0]})
        whole = extractor.states
        monkeypatch.setattr(
            extractor, "states", lambda d, m, whole=whole: passes.append((tuple(d.shape), m)) or whole(d, m)
        )
        extractor.rows(streams())
    group, layer = passes[:7], passes[7:]
    assert sorted(shape for shape, _ in group) == sorted(
        [(2, 2000), (2, 400), (1, 3040), (1, 3777), (1, 3776), (1, 719), (1, 720)]
    )
    assert all(mask is None for _, mask in group)
    assert [shape for shape, _ in layer] == [(3, 3777), (2, 2000), (2, 720), (2, 400)]
    assert layer[0][1].sum(dim=1).tolist() == [3777, 3776, 3040]
    assert layer[1][1] is None


def test_short_streams_are_padded_after_their_normalization(networks):
    folder, network = networks["wav2vec2", "layer"]
    extractor = build_extractor("wav2vec2_base", {"weights": folder})
    samples = sound(150)
    scaled = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    expected = reference(network, np.pad(scaled, (0, 250)), normalize=False)[-1]
    np.testing.assert_allclose(extractor.rows([samples])[0], expected, atol=1e-5)
    assert extractor.rows([samples[:1]])[0].shape == (1, 16)


def test_timing_and_windows(networks):
    extractor = build_extractor("wavlm_base", {"weights": networks["wavlm", "layer"][0]})
    assert (extractor.hop_s, extractor.receptive_field_s) == (0.02, 0.025)
    assert extractor.start_offset_s == pytest.approx(0.0025)
    assert extractor.context_s == pytest.approx(2.0)
    clip = Clip(Path("x.mp4"), fps=25, sample_rate=16000, audio_start_s=0.1)
    clip.samples = sound(16000 * 31 + 123)
    features = extractor.extract(clip)
    assert features.grid.length == (len(clip.samples) - 400) // 320 + 1
    assert features.grid.start_s == pytest.approx(0.1025)
    first = extractor.rows([clip.samples[: 30 * 16000]])[0]
    np.testing.assert_allclose(features.values[:1400], first[:1400], atol=1e-5)
    second = extractor.rows([clip.samples[26 * 16000 :]])[0]
    np.testing.assert_allclose(features.values[1400:], second[100:], atol=1e-5)


@pytest.mark.parametrize("click", [1000, 3199, 4001])
def test_click_is_in_the_row_that_sees_its_sample(click, arguments):
    """A row of the convolutions, and one behind a transformer with norms per step."""
    for layers in ("0", "last"):
        extractor = build_extractor("wavlm_large", arguments["wavlm_large"] | {"layers": layers})
        samples = sound(6000, level=1e-4)
        other = samples.copy()
        other[click] += 0.8
        row = int(np.abs(extractor.rows([other])[0] - extractor.rows([samples])[0]).mean(axis=1).argmax())
        assert 320 * row <= click < 320 * row + 400
        middle_s = extractor.start_offset_s + (row + 0.5) * extractor.hop_s
        assert middle_s == pytest.approx((320 * row + 200) / 16000)


def test_other_convolutions_have_another_clock(tmp_path, save_speech):
    save_speech(
        tmp_path, "hubert", norm="layer", normalize=True, conv_dim=(8, 8), conv_kernel=(9, 4), conv_stride=(7, 3)
    )
    extractor = build_extractor("hubert_large", {"weights": str(tmp_path)})
    assert extractor.hop_s * 16000 == pytest.approx(21)
    assert extractor.receptive_field_s * 16000 == pytest.approx(9 + 3 * 7)
    assert len(extractor.rows([sound(1000)])[0]) == (1000 - 30) // 21 + 1


def test_normalization_follows_the_folder_else_the_class(tmp_path, save_speech):
    save_speech(tmp_path, "wav2vec2", norm="group", normalize=False)
    file = tmp_path / "preprocessor_config.json"

    def normalizes(name="wav2vec2_base"):
        return build_extractor(name, {"weights": str(tmp_path)}).settings[1]

    assert not normalizes()
    before = build_extractor("wav2vec2_base", {"weights": str(tmp_path)}).weights_sha256()
    file.write_text("{}")
    assert normalizes()
    assert build_extractor("wav2vec2_base", {"weights": str(tmp_path)}).weights_sha256() != before
    file.write_text(json.dumps({"sampling_rate": 8000}))
    with pytest.raises(AvlocError, match="expected the settings of a network for 16000 samples/s"):
        normalizes()
    file.unlink()
    assert normalizes()


def test_description(networks):
    folder, _ = networks["hubert", "group"]
    extractor = build_extractor("hubert_base", {"weights": folder, "layers": "1-2", "mean": "true", "batch_s": "7"})
    description = extractor.describe()
    assert description.parameters == {"layers": "1-2", "mean": True, "random": False}
    assert len(description.weights_sha256) == 64
    assert (description.dim, description.layers, description.modality) == (16, 1, "audio")
    again = build_extractor("hubert_base", description.parameters | {"weights": folder})
    assert again.describe() == description


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ("", "layers must be all, last, or numbers"),
        ("x", "got 'x'"),
        ("1,2", "got '1,2'"),
        ("-1", "got '-1'"),
        ("3", "hubert_base: layers must name some of 0 to 2, each once, got '3'"),
        ("1+1", "each once"),
        ("0-1+1", "each once"),
        ("2-1", "must name some"),
        ("999", "must name some"),
    ],
)
def test_wrong_layers(layers, problem, networks):
    with pytest.raises(AvlocError, match=problem.replace("+", r"\+")):
        build_extractor("hubert_base", {"weights": networks["hubert", "group"][0], "layers": layers}).load()


def test_missing_weights(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(AvlocError, match="microsoft/wavlm-base-plus: no such folder, and no model of this name"):
        build_extractor("wavlm_base_plus")
    with pytest.raises(AvlocError, match="hf download"):
        build_extractor("xls_r_300m", {"weights": "facebook/wav2vec2-xls-r-300m"})
    with pytest.raises(AvlocError, match="none/of/it: no such folder"):
        build_extractor("hubert_base", {"weights": "none/of/it"})
    (tmp_path / "x.pt").write_text("")
    with pytest.raises(AvlocError, match=r"x\.pt: no such folder"):
        build_extractor("hubert_base", {"weights": str(tmp_path / "x.pt")})
    with pytest.raises(AvlocError, match=r"needs a folder with config\.json"):
        build_extractor("hubert_base", {"weights": str(tmp_path)})
    with pytest.raises(AvlocError, match="give weights, or random=true"):
        build_extractor("hubert_base", {"weights": str(tmp_path), "random": "true"})
    with pytest.raises(AvlocError, match="batch_s must be at least 1, got 0"):
        build_extractor("hubert_base", {"random": "true", "batch_s": "0"})


def test_name_in_the_hugging_face_cache(tmp_path, networks, monkeypatch):
    from huggingface_hub import constants

    folder, network = networks["wavlm", "layer"]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("microsoft/wavlm-large", "someone/other"):
        model = tmp_path / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, model / "snapshots" / "abc")
        (model / "refs").mkdir()
        (model / "refs" / "main").write_text("abc")
    samples = sound(3000)
    expected = reference(network, samples, normalize=True)[-1]
    for arguments in ({}, {"weights": "someone/other"}):
        np.testing.assert_allclose(build_extractor("wavlm_large", arguments).rows([samples])[0], expected, atol=1e-5)


def test_wrong_files(tmp_path, networks):
    for name in ("other", "kind", "config", "lacking", "shape", "damaged"):
        shutil.copytree(networks["hubert", "layer"][0], tmp_path / name)

    def load(name, extractor="hubert_large"):
        build_extractor(extractor, {"weights": str(tmp_path / name)}).load()

    def change_settings(name, **changed):
        file = tmp_path / name / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))

    with pytest.raises(AvlocError, match=r"config\.json: wavlm_large needs a wavlm model, got hubert"):
        load("other", "wavlm_large")
    (tmp_path / "kind" / "config.json").write_text("[]")
    with pytest.raises(AvlocError, match="hubert_large needs a hubert model, got None"):
        load("kind")
    change_settings("config", conv_stride=[1, 2])
    with pytest.raises(AvlocError, match="not a configuration"):
        load("config")
    change_settings("lacking", num_hidden_layers=3)
    with pytest.raises(AvlocError, match=r"they lack encoder\.layers\.2\."):
        load("lacking")
    change_settings("shape", hidden_size=8)
    with pytest.raises(AvlocError, match="not weights of hubert_large"):
        load("shape")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"none")
    with pytest.raises(AvlocError, match="not weights of hubert_large"):
        load("damaged")


def test_heads_of_the_pretraining_are_left_out(tmp_path, networks):
    """Facebook published its networks together with these heads."""
    import transformers

    config = copy.deepcopy(networks["wav2vec2", "group"][1].config)
    config.codevector_dim = 8
    torch.manual_seed(0)
    whole = transformers.Wav2Vec2ForPreTraining(config).eval()
    whole.save_pretrained(tmp_path)
    samples = sound(3000)
    expected = reference(whole.wav2vec2, samples, normalize=True)[-1]
    (rows,) = build_extractor("wav2vec2_base", {"weights": str(tmp_path)}).rows([samples])
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_random_weights_have_a_fixed_seed(monkeypatch):
    from avloc.feature_extraction.extractors.speech import encoders

    small = encoders.NetworkSize(16, 2, 2, 24, "layer", True, True)
    monkeypatch.setattr(encoders.XLSR300M, "size", small)
    torch.manual_seed(7)
    one, two = (build_extractor("xls_r_300m", {"random": "true"}) for _ in range(2))
    samples = sound(2000)
    np.testing.assert_array_equal(one.rows([samples])[0], two.rows([samples])[0])
    assert one.weights_sha256() is None
    assert one.parameters()["random"] is True
    assert torch.initial_seed() == 7


def test_mixed_precision_gives_float32(networks):
    extractor = build_extractor("wavlm_large", {"weights": networks["wavlm", "layer"][0], "layers": "all"})
    samples = streams((3000, 2900))
    full = extractor.rows(samples)
    extractor.to("cpu", "bf16")
    for a, b in zip(extractor.rows(samples), full, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=0.1)

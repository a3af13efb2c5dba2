from __future__ import annotations

import json

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.front_ends.speech_encoder import (
    Timing,
    check_settings,
    conv_timing,
    hidden_states,
    random_encoder,
    read_encoder,
)


def test_timing_of_convolutions():
    assert conv_timing([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]) == Timing(320, 400)
    assert conv_timing([9, 4], [7, 3]) == Timing(21, 9 + 3 * 7)
    assert conv_timing([], []) == Timing(1, 1)


def test_rows_of_a_stream():
    timing = Timing(hop=320, reach=400)
    assert [timing.rows(n) for n in (0, 399, 400, 719, 720)] == [0, 0, 1, 1, 2]


@pytest.fixture
def folder(tmp_path, settings_of):
    """A small wav2vec 2.0 as transformers saves it."""
    random_encoder(settings_of("wav2vec2")).network.save_pretrained(tmp_path / "w")
    return tmp_path / "w"


def test_a_folder_and_its_settings_give_the_same_network(folder):
    encoder = read_encoder(folder)
    again = random_encoder(encoder.settings, encoder.normalize)
    again.network.load_state_dict(encoder.network.state_dict())
    samples = torch.randn(1, 1200)
    with torch.no_grad():
        states, same = (hidden_states(e.network.eval(), samples, None) for e in (encoder, again))
    assert len(states) == 4
    for a, b in zip(states, same, strict=True):
        torch.testing.assert_close(a, b)
    assert json.loads(json.dumps(encoder.settings)) == encoder.settings


def test_normalization_is_that_of_training(folder, settings_of):
    assert read_encoder(folder).normalize
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert not read_encoder(folder).normalize
    assert not random_encoder(settings_of("wavlm")).normalize
    assert random_encoder(settings_of("wavlm", large=True)).normalize


def test_nothing_is_masked_or_dropped_in_training(settings_of):
    network = random_encoder(settings_of("wavlm")).network
    config = network.config
    assert (config.layerdrop, config.mask_time_prob, config.apply_spec_augment) == (0.0, 0.0, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "whisper"}, "want model_type of wavlm, wav2vec2, hubert, got 'whisper'"),
        ({"hidden_size": 1 << 20}, "hidden_size cannot be 1048576"),
        ({"num_hidden_layers": 65}, "num_hidden_layers cannot be 65"),
        ({"hidden_size": "16"}, "hidden_size cannot be '16'"),
        ({"hidden_size": None}, "hidden_size cannot be None"),
        ({"hidden_dropout": float("nan")}, "hidden_dropout cannot be nan"),
        ({"hidden_size": True}, "hidden_size cannot be True"),
        ({"hidden_size": 16.0}, "hidden_size cannot be 16.0"),
        ({"conv_bias": 1}, "conv_bias cannot be 1"),
        ({"conv_dim": [8.5] * 7}, r"conv_dim cannot be \[8.5, "),
        ({"conv_stride": [0] * 7}, r"conv_stride cannot be \[0, "),
        ({"conv_kernel": ["a"] * 7}, r"conv_kernel cannot be \['a', "),
        ({"conv_kernel": [[3]] * 7}, r"conv_kernel cannot be \[\[3\], "),
        ({"conv_kernel": [3] * 6}, "not settings of a speech network"),
        ({"conv_dim": [8, -1]}, r"conv_dim cannot be \[8, -1\]"),
        ({"conv_dim": 8}, "conv_dim cannot be 8"),
        (
            {"hidden_size": 8192, "num_hidden_layers": 64},
            r"of these settings has 1\.7e\+10 weights, want at most 2\.5e\+09",
        ),
        ({"conv_dim": [8192] * 7, "conv_kernel": [99] * 7}, r"has 4\.0e\+10 weights"),
        ({"num_attention_heads": 7}, "not settings of a speech network"),
    ],
)
def test_wrong_settings(settings_of, change, message):
    with pytest.raises(AvlocError, match=message):
        random_encoder(settings_of("wav2vec2") | change)


def test_settings_that_change_nothing_are_left_out(settings_of):
    checked = check_settings(settings_of("hubert") | {"auto_map": {"AutoModel": "x.py"}, "vocab_size": 9}, "x")
    assert "auto_map" not in checked
    assert "vocab_size" not in checked


def test_reading_prints_nothing(folder, capfd):
    """No progress bars of transformers, which would lie among those of a training."""
    read_encoder(folder)
    assert capfd.readouterr() == ("", "")


def test_networks_of_other_sample_rates_are_refused(folder):
    for text in ('{"sampling_rate": 8000}', "[1]"):
        (folder / "preprocessor_config.json").write_text(text)
        with pytest.raises(AvlocError, match="expected the settings of a network for 16000 samples/s"):
            read_encoder(folder)


def test_missing_and_damaged_folders(folder, tmp_path):
    with pytest.raises(AvlocError, match="want a folder of a speech network"):
        read_encoder(tmp_path / "none")
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(AvlocError, match="not weights of a speech network"):
        read_encoder(folder)

from __future__ import annotations


def test_pretrained_features_replace_the_spectra_or_lie_beside_them():
    from comparing.pretrained_systems import PRETRAINED, WITH_SPECTRA
    from comparing.system import build_network

    names = ("boundary_transformer", "actionformer", "ummaformer", "tridet", "audio_alone")
    assert [*PRETRAINED] == [
        *("boundary_transformer_whisper", "audio_alone_whisper"),
        *(f"{name}_spectra_whisper" for name in names),
        *("boundary_transformer_spectra_packaged", "audio_alone_spectra_packaged"),
    ]
    replaced = {"audio_dim", "audio_rows_per_step", "audio_spectral_channels", "audio_spectral_differences"}
    for name, system in PRETRAINED.items():
        is_packaged, is_beside = name.endswith("_packaged"), "_spectra_" in name
        with_spectra = WITH_SPECTRA[name.rpartition("_")[0].removesuffix("_spectra")]
        assert system.extractors[-2] == ("whisper_packaged" if is_packaged else "whisper_base")
        changed = {key for key, value in system.arguments.items() if with_spectra.arguments.get(key) != value}
        assert changed == ({"audio_dim", "audio_spectral_bins"} if is_beside else replaced)
        assert (system.lr, system.hop_s, system.weights_of) == (with_spectra.lr, with_spectra.hop_s, "")
        stem = build_network(system).stems[0]
        assert (stem.beside if is_beside else stem).project.in_features == (3 if is_packaged else 4) * 512

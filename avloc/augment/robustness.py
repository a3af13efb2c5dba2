"""Single corruptions at three levels, for tests of robustness. Level 0 is the clean clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from avloc.augment.augmentation import Augmentation, PictureAugmentation, SoundAugmentation
from avloc.augment.picture.codecs import H264, Jpeg
from avloc.augment.picture.color import Brightness, Contrast, Grey, PixelNoise, Saturation
from avloc.augment.picture.geometry import Blur, Crop, Downscale
from avloc.augment.picture.timing import HeldFrames
from avloc.augment.recipe import A, Recipe, Step
from avloc.augment.sound.additive import Babble, Music, Noise
from avloc.augment.sound.amplitude import Clipping, Gain, TimeMask
from avloc.augment.sound.bandwidth import BandLimit, Resampling
from avloc.augment.sound.codecs import SoundCodec
from avloc.augment.sound.rawboost import ConvolutiveNoise, ImpulsiveNoise, StationaryNoise
from avloc.augment.sound.rooms import Room
from avloc.errors import AvlocError

LEVELS = (1, 2, 3)

_SOUND: dict[str, tuple[SoundAugmentation, ...]] = {
    "white_noise": tuple(Noise(snr_db=snr_db, color="white") for snr_db in (30, 20, 10)),
    "pink_noise": tuple(Noise(snr_db=snr_db, color="pink") for snr_db in (30, 20, 10)),
    "hum": tuple(Noise(snr_db=snr_db, color="hum") for snr_db in (20, 10, 0)),
    "babble": tuple(Babble(snr_db=snr_db) for snr_db in (20, 10, 5)),
    "music": tuple(Music(snr_db=snr_db) for snr_db in (20, 10, 5)),
    "room": (
        Room(reverberation_s=0.2, direct_db=12),
        Room(reverberation_s=0.5, direct_db=6),
        Room(reverberation_s=1.0, direct_db=0),
    ),
    "opus": tuple(SoundCodec(codec="opus", bit_rate=bit_rate) for bit_rate in (32_000, 16_000, 8_000)),
    "mp3": tuple(SoundCodec(codec="mp3", bit_rate=bit_rate) for bit_rate in (64_000, 32_000, 16_000)),
    "aac": tuple(SoundCodec(codec="aac", bit_rate=bit_rate) for bit_rate in (64_000, 32_000, 16_000)),
    "amr_nb": tuple(SoundCodec(codec="amr_nb", bit_rate=bit_rate) for bit_rate in (12_200, 7_950, 4_750)),
    "telephone": tuple(SoundCodec(codec=codec) for codec in ("g722", "alaw", "g723")),
    "band_limit": (
        BandLimit(low_hz=0, high_hz=7000),
        BandLimit(low_hz=100, high_hz=5000),
        BandLimit(low_hz=300, high_hz=3400),
    ),
    "resampling": tuple(Resampling(sample_rate=sample_rate) for sample_rate in (12_000, 8_000, 4_000)),
    "soft": tuple(Gain(gain_db=gain_db) for gain_db in (-10, -20, -30)),
    "clipping": tuple(Clipping(clip_db=clip_db) for clip_db in (6, 12, 20)),
    "time_mask": tuple(TimeMask(share=share, pieces=4) for share in (0.05, 0.1, 0.2)),
    "rawboost_convolutive": tuple(ConvolutiveNoise(level=level) for level in (0.33, 0.66, 1.0)),
    "rawboost_impulsive": tuple(ImpulsiveNoise(share=share) for share in (0.01, 0.05, 0.2)),
    "rawboost_stationary": tuple(StationaryNoise(snr_db=snr_db) for snr_db in (30, 20, 10)),
}

_PICTURE: dict[str, tuple[PictureAugmentation, ...]] = {
    "h264": tuple(H264(crf=crf) for crf in (28, 35, 42)),
    "jpeg": tuple(Jpeg(quantizer=quantizer) for quantizer in (5, 12, 24)),
    "downscale": tuple(Downscale(scale=scale) for scale in (0.7, 0.5, 0.25)),
    "blur": tuple(Blur(sigma=sigma) for sigma in (0.005, 0.01, 0.02)),
    "pixel_noise": tuple(PixelNoise(sigma=sigma) for sigma in (5, 12, 25)),
    "dark": tuple(Brightness(factor=factor) for factor in (0.8, 0.6, 0.4)),
    "bright": tuple(Brightness(factor=factor) for factor in (1.2, 1.4, 1.7)),
    "low_contrast": tuple(Contrast(factor=factor) for factor in (0.8, 0.6, 0.4)),
    "saturated": tuple(Saturation(factor=factor) for factor in (1.3, 1.7, 2.5)),
    "grey": tuple(Grey(level=level) for level in (0.33, 0.66, 1.0)),
    "held_frames": tuple(HeldFrames(share=share) for share in (0.05, 0.15, 0.3)),
    "freeze": tuple(HeldFrames(share=share, run=1000) for share in (0.05, 0.15, 0.3)),
    "crop": tuple(Crop(share=share) for share in (0.05, 0.1, 0.2)),
}


def corruptions() -> Mapping[str, tuple[Augmentation, ...]]:
    """Return by name the augmentations of levels 1, 2 and 3: first those of the sound, then those of the picture.

    >>> [augmentation.snr_db for augmentation in corruptions()["white_noise"]]
    [30, 20, 10]
    """
    return {**_SOUND, **_PICTURE}


def corruption_recipe(name: str, level: int) -> Recipe:
    """Make the recipe that applies one corruption to every clip.

    Args:
        name: a key of `corruptions()`.
        level: 0 (nothing) to 3.

    Raises:
        AvlocError: if the name or the level is unknown.

    >>> corruption_recipe("h264", 0) == Recipe()
    True
    """
    if name not in corruptions():
        raise AvlocError(f"unknown corruption {name!r}, want one of {', '.join(corruptions())}")
    if level not in (0, *LEVELS):
        raise AvlocError(f"corruption {name}: want level 0 to {LEVELS[-1]}, got {level!r}")
    if level == 0:
        return Recipe()
    if name in _SOUND:
        return Recipe(audio=(_always(_SOUND[name][level - 1]),))
    return Recipe(visual=(_always(_PICTURE[name][level - 1]),))


def _always(augmentation: A) -> Step[A]:
    """Make the step that applies an augmentation to every clip."""
    return Step(type(augmentation), 1.0, {f.name: getattr(augmentation, f.name) for f in fields(augmentation)})

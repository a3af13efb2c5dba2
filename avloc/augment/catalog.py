"""The augmentations that recipes name."""

from __future__ import annotations

from avloc.augment.augmentation import PictureAugmentation, SoundAugmentation
from avloc.augment.picture.codecs import H264, Jpeg
from avloc.augment.picture.color import Brightness, Contrast, Grey, PixelNoise, Saturation
from avloc.augment.picture.geometry import Blur, Crop, Downscale
from avloc.augment.picture.timing import HeldFrames
from avloc.augment.sound.additive import Babble, Music, Noise
from avloc.augment.sound.amplitude import Clipping, Gain, TimeMask
from avloc.augment.sound.bandwidth import BandLimit, Resampling
from avloc.augment.sound.codecs import SoundCodec
from avloc.augment.sound.rawboost import ConvolutiveNoise, ImpulsiveNoise, StationaryNoise
from avloc.augment.sound.rooms import Room

SOUND: dict[str, type[SoundAugmentation]] = {
    augmentation.__name__: augmentation
    for augmentation in (
        Noise,
        Music,
        Babble,
        Room,
        SoundCodec,
        ConvolutiveNoise,
        ImpulsiveNoise,
        StationaryNoise,
        BandLimit,
        Resampling,
        Gain,
        Clipping,
        TimeMask,
    )
}
"""By name."""

PICTURE: dict[str, type[PictureAugmentation]] = {
    augmentation.__name__: augmentation
    for augmentation in (
        H264,
        Jpeg,
        Downscale,
        Blur,
        Crop,
        PixelNoise,
        Brightness,
        Contrast,
        Saturation,
        Grey,
        HeldFrames,
    )
}
"""By name."""

"""Augmentation: a clip's sound and picture > changed ones, whose labels stay true; for training and for tests of robustness.

>>> import numpy as np
>>> from avloc.augment import clip_generator, read_recipe
>>> recipe = read_recipe("strong")
>>> rng = clip_generator(seed=1, clip="a.mp4", copy=0, modality="visual")
>>> recipe.picture(rng, np.zeros((3, 32, 32, 3), np.uint8)).shape
(3, 32, 32, 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.augment.augmentation import PictureAugmentation as PictureAugmentation
    from avloc.augment.augmentation import SoundAugmentation as SoundAugmentation
    from avloc.augment.picture.codecs import H264 as H264
    from avloc.augment.picture.codecs import Jpeg as Jpeg
    from avloc.augment.picture.color import Brightness as Brightness
    from avloc.augment.picture.color import Contrast as Contrast
    from avloc.augment.picture.color import Grey as Grey
    from avloc.augment.picture.color import PixelNoise as PixelNoise
    from avloc.augment.picture.color import Saturation as Saturation
    from avloc.augment.picture.geometry import Blur as Blur
    from avloc.augment.picture.geometry import Crop as Crop
    from avloc.augment.picture.geometry import Downscale as Downscale
    from avloc.augment.picture.timing import HeldFrames as HeldFrames
    from avloc.augment.recipe import Choice as Choice
    from avloc.augment.recipe import Range as Range
    from avloc.augment.recipe import Recipe as Recipe
    from avloc.augment.recipe import Step as Step
    from avloc.augment.recipe import clip_generator as clip_generator
    from avloc.augment.recipe_file import read_recipe as read_recipe
    from avloc.augment.robustness import corruption_recipe as corruption_recipe
    from avloc.augment.robustness import corruptions as corruptions
    from avloc.augment.sound.additive import Babble as Babble
    from avloc.augment.sound.additive import Music as Music
    from avloc.augment.sound.additive import Noise as Noise
    from avloc.augment.sound.amplitude import Clipping as Clipping
    from avloc.augment.sound.amplitude import Gain as Gain
    from avloc.augment.sound.amplitude import TimeMask as TimeMask
    from avloc.augment.sound.bandwidth import BandLimit as BandLimit
    from avloc.augment.sound.bandwidth import Resampling as Resampling
    from avloc.augment.sound.codecs import SoundCodec as SoundCodec
    from avloc.augment.sound.codecs import available_codecs as available_codecs
    from avloc.augment.sound.rawboost import ConvolutiveNoise as ConvolutiveNoise
    from avloc.augment.sound.rawboost import ImpulsiveNoise as ImpulsiveNoise
    from avloc.augment.sound.rawboost import StationaryNoise as StationaryNoise
    from avloc.augment.sound.rooms import Room as Room

__all__ = [
    "H264",
    "Babble",
    "BandLimit",
    "Blur",
    "Brightness",
    "Choice",
    "Clipping",
    "Contrast",
    "ConvolutiveNoise",
    "Crop",
    "Downscale",
    "Gain",
    "Grey",
    "HeldFrames",
    "ImpulsiveNoise",
    "Jpeg",
    "Music",
    "Noise",
    "PictureAugmentation",
    "PixelNoise",
    "Range",
    "Recipe",
    "Resampling",
    "Room",
    "Saturation",
    "SoundAugmentation",
    "SoundCodec",
    "StationaryNoise",
    "Step",
    "TimeMask",
    "available_codecs",
    "clip_generator",
    "corruption_recipe",
    "corruptions",
    "read_recipe",
]

_MODULES = {
    "H264": "avloc.augment.picture.codecs",
    "Babble": "avloc.augment.sound.additive",
    "BandLimit": "avloc.augment.sound.bandwidth",
    "Blur": "avloc.augment.picture.geometry",
    "Brightness": "avloc.augment.picture.color",
    "Choice": "avloc.augment.recipe",
    "Clipping": "avloc.augment.sound.amplitude",
    "Contrast": "avloc.augment.picture.color",
    "ConvolutiveNoise": "avloc.augment.sound.rawboost",
    "Crop": "avloc.augment.picture.geometry",
    "Downscale": "avloc.augment.picture.geometry",
    "Gain": "avloc.augment.sound.amplitude",
    "Grey": "avloc.augment.picture.color",
    "HeldFrames": "avloc.augment.picture.timing",
    "ImpulsiveNoise": "avloc.augment.sound.rawboost",
    "Jpeg": "avloc.augment.picture.codecs",
    "Music": "avloc.augment.sound.additive",
    "Noise": "avloc.augment.sound.additive",
    "PictureAugmentation": "avloc.augment.augmentation",
    "PixelNoise": "avloc.augment.picture.color",
    "Range": "avloc.augment.recipe",
    "Recipe": "avloc.augment.recipe",
    "Resampling": "avloc.augment.sound.bandwidth",
    "Room": "avloc.augment.sound.rooms",
    "Saturation": "avloc.augment.picture.color",
    "SoundAugmentation": "avloc.augment.augmentation",
    "SoundCodec": "avloc.augment.sound.codecs",
    "StationaryNoise": "avloc.augment.sound.rawboost",
    "Step": "avloc.augment.recipe",
    "TimeMask": "avloc.augment.sound.amplitude",
    "available_codecs": "avloc.augment.sound.codecs",
    "clip_generator": "avloc.augment.recipe",
    "corruption_recipe": "avloc.augment.robustness",
    "corruptions": "avloc.augment.robustness",
    "read_recipe": "avloc.augment.recipe_file",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__

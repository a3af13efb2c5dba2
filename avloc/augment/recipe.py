"""A recipe: steps with probabilities and ranges > drawn augmentations > a changed clip."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from avloc.augment.augmentation import (
    Augmentation,
    Frames,
    PictureAugmentation,
    Random,
    Samples,
    SoundAugmentation,
    annotation_name,
)
from avloc.errors import AvlocError

A = TypeVar("A", bound=Augmentation)
MODALITIES = ("audio", "visual")
MOST_COMBINATIONS = 4096
"""All values of choices and ends of ranges are tried with each other when a recipe is read."""


@dataclass(frozen=True, slots=True)
class Range:
    """A parameter that is drawn between two numbers, evenly.

    Attributes:
        low: smallest value.
        high: largest value.
        log: draw evenly on a logarithmic scale; both numbers are above 0.

    >>> 5 <= Range(5, 25).draw(np.random.default_rng(1), whole=True) <= 25
    True
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= self.high < math.inf:
            raise AvlocError(f"want two numbers, the smaller one first, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise AvlocError(f"want numbers above 0 on a logarithmic scale, got {self.low}")

    def draw(self, rng: Random, *, whole: bool) -> float:
        """Draw a value; the end of the range is included if it is a whole number."""
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            value = min(max(value, self.low), self.high)
            return round(value) if whole else value
        return (
            int(rng.integers(int(self.low), int(self.high), endpoint=True))
            if whole
            else rng.uniform(self.low, self.high)
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter that is drawn among values, all as likely.

    Attributes:
        values: at least one.

    >>> Choice(("white",)).draw(np.random.default_rng(1))
    'white'
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise AvlocError("want at least one value to choose from")

    def draw(self, rng: Random) -> Any:
        """Draw a value."""
        return self.values[rng.integers(len(self.values))]


@dataclass(frozen=True, slots=True)
class Step(Generic[A]):
    """One augmentation of a recipe.

    Attributes:
        augmentation: the class.
        probability: of being applied to a clip.
        parameters: by name, a value, a `Range` or a `Choice`; the others have their defaults.

    Raises:
        AvlocError: if a parameter is unknown, or a value that can be drawn is not allowed.

    >>> from avloc.augment import Noise
    >>> step = Step(Noise, 1.0, {"snr_db": Range(5, 25), "color": Choice(("pink",))})
    >>> step.draw(np.random.default_rng(1)).color
    'pink'
    """

    augmentation: type[A]
    probability: float = 1.0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.probability, bool) or not isinstance(self.probability, int | float):
            raise AvlocError(f"want a number as probability, got {self.probability!r}")
        if not 0 <= self.probability <= 1:
            raise AvlocError(f"want probability of 0 to 1, got {self.probability!r}")
        names = [f.name for f in dataclasses.fields(self.augmentation)]
        if unknown := [str(name) for name in self.parameters if name not in names]:
            raise AvlocError(f"unknown {', '.join(unknown)}; has {', '.join(names)}")
        ends = {name: self._ends(name, value) for name, value in self.parameters.items()}
        combinations = math.prod(map(len, ends.values()))
        if combinations > MOST_COMBINATIONS:
            raise AvlocError(f"want at most {MOST_COMBINATIONS} combinations of values, got {combinations}")
        for values in itertools.product(*ends.values()):
            self.augmentation(**dict(zip(ends, values, strict=True)))

    def values(self) -> tuple[Any, ...]:
        """Return what tells this step from others: the class, the probability, and all parameters by name."""
        defaults = {f.name: f.default for f in dataclasses.fields(self.augmentation)}
        path = f"{self.augmentation.__module__}.{self.augmentation.__qualname__}"
        return (path, float(self.probability), sorted((defaults | dict(self.parameters)).items()))

    def _ends(self, name: str, value: Any) -> tuple[Any, ...]:
        """Return the values of a parameter that are checked: the ends of a range, and all of a choice."""
        if isinstance(value, Range):
            if self._is_whole(name) and not (float(value.low).is_integer() and float(value.high).is_integer()):
                raise AvlocError(f"want whole numbers as {name}, got {value.low} to {value.high}")
            return (int(value.low), int(value.high)) if self._is_whole(name) else (value.low, value.high)
        return value.values if isinstance(value, Choice) else (value,)

    def _is_whole(self, name: str) -> bool:
        return any(f.name == name and annotation_name(f) == "int" for f in dataclasses.fields(self.augmentation))

    def draw(self, rng: Random) -> A | None:
        """Draw the augmentation of a clip, or None. The parameters are drawn in either case.

        So the draws of later steps do not change with the probability of this one.
        """
        applied = rng.random() < self.probability
        drawn = {name: self._draw_value(rng, name, value) for name, value in self.parameters.items()}
        return self.augmentation(**drawn) if applied else None

    def _draw_value(self, rng: Random, name: str, value: Any) -> Any:
        if isinstance(value, Range):
            return value.draw(rng, whole=self._is_whole(name))
        return value.draw(rng) if isinstance(value, Choice) else value


@dataclass(frozen=True, slots=True)
class Recipe:
    """Augmentations of both streams, in order of application.

    Attributes:
        audio: steps of the sound.
        visual: steps of the picture.

    >>> from avloc.augment import Gain
    >>> recipe = Recipe(audio=(Step(Gain, 1.0, {"gain_db": -20}),))
    >>> recipe.sound(clip_generator(1, "a.mp4", modality="audio"), np.ones(2, np.float32)).round(3).tolist()
    [0.10000000149011612, 0.10000000149011612]
    """

    audio: tuple[Step[SoundAugmentation], ...] = ()
    visual: tuple[Step[PictureAugmentation], ...] = ()

    def digest(self) -> str:
        """Hash the steps, their probabilities and all parameters, defaults too, to 16 hexadecimal digits."""
        text = repr([[step.values() for step in steps] for steps in (self.audio, self.visual)])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def grey_steps(self) -> tuple[Step[PictureAugmentation], ...]:
        """Return the steps of the picture that change grey frames: all but those of colours."""
        return tuple(step for step in self.visual if not step.augmentation.COLORS_ONLY)

    def draw_sound(self, rng: Random) -> tuple[SoundAugmentation, ...]:
        """Draw the augmentations of a clip's sound; they do not depend on the clip."""
        return tuple(drawn for step in self.audio if (drawn := step.draw(rng)) is not None)

    def draw_picture(self, rng: Random) -> tuple[PictureAugmentation, ...]:
        """Draw the augmentations of a clip's picture; they do not depend on the clip."""
        return tuple(drawn for step in self.visual if (drawn := step.draw(rng)) is not None)

    def sound(self, rng: Random, samples: Samples, pulse: Callable[[], object] | None = None) -> Samples:
        """Augment the sound of a clip: (N,) → (N,).

        Args:
            rng: of this clip, as `clip_generator` makes it.
            samples: (N,) float32 at 16 kHz.
            pulse: called after each augmentation, to show that this process is alive.
        """
        for augmentation, child in _with_generators(rng, self.draw_sound(rng)):
            samples = augmentation(child, samples)
            if pulse is not None:
                pulse()
        return samples

    def picture(self, rng: Random, frames: Frames, pulse: Callable[[], object] | None = None) -> Frames:
        """Augment the picture of a clip: (T, H, W, C) or (T, H, W) → the same shape.

        Args:
            rng: of this clip, as `clip_generator` makes it.
            frames: uint8; C is 1 or 3.
            pulse: called after each augmentation, to show that this process is alive.
        """
        for augmentation, child in _with_generators(rng, self.draw_picture(rng)):
            frames = augmentation(child, frames)
            if pulse is not None:
                pulse()
        return frames


def _with_generators(rng: Random, drawn: Sequence[A]) -> Iterator[tuple[A, Random]]:
    """Give each augmentation a generator of its own, so that none depends on how much an earlier one draws for a clip."""
    seeds = rng.integers(2**63, size=len(drawn))
    return ((augmentation, np.random.default_rng(seed)) for augmentation, seed in zip(drawn, seeds, strict=True))


def clip_generator(seed: int, clip: str, copy: int = 0, *, modality: Literal["audio", "visual"]) -> Random:
    """Make the generator of one copy of a clip's stream: the same in every process, in any order of the clips.

    Args:
        seed: of the run, not negative.
        clip: name of the clip.
        copy: number of the augmented copy, or of the epoch, not negative.
        modality: `audio` or `visual`, whose draws are independent.

    >>> first, other, again = (clip_generator(1, "a.mp4", copy, modality="audio").random() for copy in (0, 1, 0))
    >>> first == again, first == other
    (True, False)
    """
    if modality not in MODALITIES:
        raise ValueError(f"want modality audio or visual, got {modality!r}")
    digest = hashlib.blake2b(clip.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    words = np.frombuffer(digest, "<u4").tolist()
    return np.random.default_rng([seed, copy, MODALITIES.index(modality), *words])

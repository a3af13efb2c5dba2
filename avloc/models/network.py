"""The contract of a network: what training, inference and checkpoints need of it, and nothing more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from avloc.errors import AvlocError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from avloc.core.descriptions import TrainingContext
    from avloc.core.proposals import Proposals
    from avloc.core.timeline import TimeGrid
    from avloc.heads.candidates import ClipCandidates, PointDecoding


class Network(Protocol):
    """A network that avloc can train, run and save: an `nn.Module` with these members.

    A class may simply have them, or inherit `class MyNet(nn.Module, Network)` and thereby the defaults of the last three.

    `forward` takes keyword arguments. On cached features these are `audio` (B, T, audio_dim), `video` (B, T, visual_dim),
    `audio_mask` and `video_mask` (B, T) bool. A network with `audio_rows_per_step` and `visual_rows_per_step` among its
    arguments takes each stream at its own rate instead: those of `avloc.datasets.loading.batch.StreamInputs`. On clips they
    are those of `avloc.datasets.loading.batch.ClipInputs`. Its output must have `step_logits` (B, T, M): the fakeness of each
    step per modality (audio, visual), for the curves of a localization.

    Attributes:
        arguments: the constructor's keyword arguments as plain values, kept by checkpoints. On cached features
            `audio_dim` and `visual_dim` are among them.
        target_maker: turns a clip's labels into targets: called with `(record, grid, length)`, it returns the targets (a
            NamedTuple of arrays, padded to `length` steps) and the number of segments that the head cannot carry. Picklable.
        longest_steps: the most steps that fit in at once; None: any number. Longer clips run in windows.
        longest_segment_steps: the longest segment that the head can carry, in steps, so that windows overlap by as much;
            0: any.
        cached_features: whether the inputs are cached features, or a clip's own pixels and log-mels.

    >>> from avloc.models import BoundaryTransformer
    >>> network = check_network(BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2))
    >>> network.longest_steps, network.cached_features, network.arguments["audio_dim"]
    (None, True, 5)
    """

    arguments: Mapping[str, Any]
    target_maker: Any
    longest_steps: int | None = None
    longest_segment_steps: int = 0
    cached_features: bool = True

    def __call__(self, **inputs: Tensor) -> Any:
        """Run a padded batch."""

    def loss(self, output: Any, targets: Any) -> dict[str, Tensor]:
        """The terms of the loss, each a scalar, and their weighted sum under `loss`."""

    def decode(self, output: Any, grids: Sequence[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        """One `Proposals` per clip: at most `keep` rows, sorted by falling score."""


MEMBERS = {
    "arguments": "the constructor's keyword arguments, for checkpoints",
    "target_maker": "turns a clip's labels into targets",
    "longest_steps": "the most steps that fit in at once, or None",
    "longest_segment_steps": "the longest segment that the head can carry in steps, or 0",
    "cached_features": "True for inputs of cached features, False for pixels and log-mels",
    "forward": "runs a padded batch",
    "loss": "loss(output, targets) -> terms of the loss, their sum under 'loss'",
    "decode": "decode(output, grids, keep=...) -> one Proposals per clip",
}


def check_network(model: object) -> Network:
    """Return `model` as a `Network`.

    Raises:
        AvlocError: if it lacks members; the message names and describes each.

    >>> check_network(object())
    Traceback (most recent call last):
        ...
    avloc.errors.AvlocError: object is no network of avloc: want a torch.nn.Module
    """
    from torch import nn

    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise AvlocError(f"{name} is no network of avloc: want a torch.nn.Module")
    missing = [f"`{member}` ({text})" for member, text in MEMBERS.items() if not hasattr(model, member)]
    if type(model).forward is nn.Module.forward:
        missing.append(f"`forward` ({MEMBERS['forward']})")
    if missing:
        raise AvlocError(f"{name} is no network of avloc: it lacks {', '.join(missing)}; see avloc.models.Network")
    if not isinstance(model.arguments, Mapping):
        raise AvlocError(f"{name}.arguments must be a mapping of the constructor's arguments, got {model.arguments!r}")
    return cast(Network, model)


class CandidateNetwork(Network, Protocol):
    """A network whose output can be kept before suppression, and decoded again with other settings.

    Attributes:
        decoding: the settings that `decode` uses; may be replaced.
    """

    decoding: PointDecoding

    def candidates(self, output: Any, grids: Sequence[TimeGrid]) -> list[ClipCandidates]:
        """The candidates of each clip."""


def candidate_network(model: Network) -> CandidateNetwork:
    """Return a network as one that gives candidates.

    Raises:
        AvlocError: if it does not.
    """
    from avloc.heads.candidates import PointDecoding

    if not isinstance(getattr(model, "decoding", None), PointDecoding) or not hasattr(model, "candidates"):
        raise AvlocError(
            f"a {type(model).__name__} gives no candidates that could be decoded with other settings; want a "
            "BoundaryTransformer, or a network of your own with its members `candidates` and `decoding`"
        )
    return cast(CandidateNetwork, model)


RAW_DTYPES = {"audio": "int16", "visual": "uint8"}
"""Type of the rows of samples or pixels that a front end of each modality takes."""


def check_inputs(arguments: Mapping[str, Any], context: TrainingContext) -> None:
    """Check that a network on cached features takes its streams as the data give them: their rate and type of numbers.

    Args:
        arguments: the network's.
        context: of the data.

    Raises:
        AvlocError: with the rate or the extractor that the network needs.
    """
    for extractor in context.extractors:
        argument = f"{extractor.modality}_front_end"
        # A network of your own without this argument may take whatever it likes.
        if context.modality not in (None, extractor.modality) or argument not in arguments:
            continue
        is_raw, front_end = extractor.dtype == RAW_DTYPES[extractor.modality], arguments[argument]
        if front_end and not is_raw:
            raise AvlocError(
                f"the network's {argument} {front_end} takes rows of {RAW_DTYPES[extractor.modality]}, {extractor.name} gives "
                f"{extractor.dtype} features: name the extractor {'waveform' if extractor.modality == 'audio' else 'mouth'}"
            )
        if not front_end and extractor.dtype != "float16":
            raise AvlocError(
                f"{extractor.name} gives rows of {extractor.dtype}, which are no features: give the network an {argument}"
            )
    for modality, rate in context.rows_per_step().items():
        name = f"{modality}_rows_per_step"
        expected = arguments.get(name)
        if rate is None and expected is not None:
            raise AvlocError(
                f"the network takes {name} {expected!r}, and the data average all rows to steps: correct native_rate"
            )
        if rate is not None and not (isinstance(expected, int | float) and math.isclose(expected, rate, rel_tol=1e-6)):
            raise AvlocError(
                f"the data have {name} {rate:.9g}, the network takes {expected!r}: correct its argument {name}"
            )


def as_module(network: Network) -> nn.Module:
    """Return a network as the `nn.Module` that it is, for the type checker."""
    return cast("nn.Module", network)

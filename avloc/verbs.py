"""The verbs of the command line as functions: `avloc.localize`, `avloc.extract`, `avloc.predict`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.augment.recipe import Recipe
    from avloc.datasets.readers.reader import DatasetReader
    from avloc.feature_extraction.extractors.base import Extractor
    from avloc.feature_extraction.job.run import JobReport
    from avloc.feature_extraction.media.arrays import ClipArrays
    from avloc.inference.split.prediction import SplitPredictions
    from avloc.localization.result import Localization


def localize(
    clip: str | Path | ClipArrays,
    *,
    checkpoint: str | Path | None = None,
    streams: str | None = None,
    keep: int = 100,
    prior: float = 0.5,
    preview: bool = True,
    start_s: float = 0.0,
    end_s: float = math.inf,
    audio_track: int | None = None,
    longest_s: float = 6 * 3600.0,
    device: str = "cpu",
    precision: str = "32",
    decoding: str | None = None,
    weights: Mapping[str, str | Path] | None = None,
    network: type[Any] | str | None = None,
    own_extractors: Sequence[type[Extractor] | str] = (),
) -> Localization:
    """Find the fake segments of one clip.

    For many clips, load the network once: `avloc.inference.load_packaged` or `Localizer.from_checkpoint`.

    Args:
        clip: a file, or a clip in memory.
        checkpoint: a file that `avloc train` or `avloc convert` wrote; None: the networks that come with avloc, trained on
            drawn faces, films of three persons and recorded speech only (docs/model_card.md).
        streams: `both`, `audio` or `visual`: judge these streams by the package's network for them; None: those that the clip
            has.
        keep: at most this many segments per 40 s of the clip.
        prior: probability that the clip is forged, before the network is asked.
        preview: whether to keep thumbnails and the loudness, for the page.
        start_s: start of the part of the file to look at, in seconds.
        end_s: its end.
        audio_track: number of the audio track, from 0; None: the one marked as default, or else the first.
        longest_s: refuse a clip if the part to look at is longer, in seconds.
        device: device of the network.
        precision: `32`, or `bf16` or `16` to run the network under autocast.
        decoding: decoding of boundary maps, instead of the checkpoint's own (`avloc.heads.decode_map`).
        weights: by extractor, the file of its weights, for those that have any.
        network: the class of the checkpoint's network or its dotted name, if it is your own.
        own_extractors: the same for extractors of your own that it was trained on.

    Returns:
        The localization: `segments()`, `llrs`, `probabilities`, `fakeness`, `save("page.html")`.

    Raises:
        MediaError: if neither audio nor video can be decoded.
        CheckpointError: if the checkpoint cannot be used.

    >>> import avloc
    >>> avloc.localize("suspicious.mp4").segments()  # doctest: +SKIP
    """
    from avloc.core.calibration import is_prior
    from avloc.feature_extraction.media.types import Span
    from avloc.inference.settings import LocalizerSettings

    settings = LocalizerSettings(
        checkpoint, network, own_extractors, weights or {}, device, precision, decoding, streams
    )
    if not is_prior(prior):
        raise AvlocError(f"want a prior between 0 and 1, got {prior:g}")
    span = Span(start_s, end_s, audio_track, longest_s)
    localization = settings.load().localize(clip, keep=keep, span=span, preview=preview)
    assert localization.provenance is not None
    provenance = replace(localization.provenance, settings=settings.recorded(keep=keep, span=span, prior=prior))
    return replace(localization, prior=prior, provenance=provenance)


def extract(
    dataset: str | DatasetReader | type[DatasetReader],
    root: str | Path,
    *,
    store: str | Path,
    extractors: str | Sequence[str | type[Extractor]],
    split: str | None = None,
    device: str = "cpu",
    precision: str = "32",
    workers: int = 0,
    longest_s: float = 6 * 3600.0,
    augment: str | Path | Recipe | None = None,
    copies: int | None = None,
) -> JobReport:
    """Cache the features of a dataset's clips in a store. Call it again to continue after an interruption.

    Args:
        dataset: the dataset's layout, as `avloc.datasets.read_records` takes it.
        root: the dataset's folder.
        store: the store's folder; it is made if it does not exist.
        extractors: specifications, in a list or as on the command line: `logspec,residual_grid`,
            `r3d_18:/models/r3d_18.pth,stride=2`, `my_package.MyExtractor`; in a list also classes, which worker processes
            import by their name.
        split: only this split.
        device: device of the networks.
        precision: precision of the networks: `32`, `bf16` or `16`.
        workers: worker processes; 0: this process, and a clip that crashes a decoder ends the job.
        longest_s: refuse clips that are longer, in seconds.
        augment: also extract augmented copies of each clip, for training: `light`, `strong`, a file, or a recipe. None: none.
        copies: number of augmented copies; None: one with `augment`.

    Returns:
        The report: clips done and failed, with reasons; each augmented copy of a clip counts.

    Raises:
        AvlocError: if the dataset, an extractor or the store cannot be used.

    >>> import tempfile, avloc
    >>> from avloc.datasets import synthesize
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     records = synthesize(f"{folder}/clips", layout="lavdf", clips=9)
    ...     avloc.extract("lavdf", f"{folder}/clips", store=f"{folder}/features", extractors=["logspec"]).done
    9
    """
    from avloc.datasets.readers.catalog import read_records
    from avloc.feature_extraction.extractors.catalog import parse_extractors
    from avloc.feature_extraction.job.copies import plan_jobs
    from avloc.feature_extraction.job.run import JobReport, run_plan
    from avloc.feature_extraction.job.worker import ExtractionSettings
    from avloc.feature_extraction.store.feature_store import FeatureStore

    if copies is not None and augment is None:
        raise AvlocError(f"copies={copies} has no effect without augment; name a recipe, or leave copies out")
    root = Path(root).expanduser()
    settings = ExtractionSettings(
        root,
        parse_extractors(extractors),
        device=device,
        precision=precision,
        workers=workers,
        longest_s=longest_s,
    )
    files = read_records(dataset, root, split).files
    recipe = None if augment is None else _recipe(augment)
    report = JobReport()
    count = 1 if copies is None else copies
    for plan in plan_jobs(files, FeatureStore(store), settings, recipe=recipe, copies=count, warn=_warn):
        run_plan(plan, report=report)
    return report


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)  # the caller of the verb


def _recipe(augment: str | Path | Recipe) -> Recipe:
    from avloc.augment.recipe import Recipe
    from avloc.augment.recipe_file import read_recipe

    return augment if isinstance(augment, Recipe) else read_recipe(augment)


def predict(
    checkpoint: str | Path | None,
    dataset: str,
    root: str | Path,
    split: str = "test",
    *,
    store: str | Path | None = None,
    streams: str | None = None,
    keep: int | None = None,
    batch_size: int | None = None,
    workers: int = 0,
    allow_missing: bool = False,
    device: str = "cpu",
    precision: str = "32",
    decoding: str | None = None,
    weights: Mapping[str, str | Path] | None = None,
    network: type[Any] | str | None = None,
    own_extractors: Sequence[type[Extractor] | str] = (),
    tuned: str | Path | None = None,
) -> SplitPredictions:
    """Predict the fake segments of all clips of a split.

    Args:
        checkpoint: a file that `avloc train` or `avloc convert` wrote; None: the networks that come with avloc.
        dataset: the dataset's layout, as `avloc.datasets.read_records` takes it.
        root: the dataset's folder.
        split: the split.
        store: cached features; None: each clip is decoded.
        streams: of the networks that come with avloc, the one for `both`, `audio` or `visual`; None: for both.
        keep: at most this many rows per 40 s of a clip; None: 100, or the number in `tuned`.
        batch_size: clips per batch; None: 16 of features, 4 of pixels.
        workers: processes that decode clips, without a store.
        allow_missing: give a clip without features an empty list, instead of an error.
        device: device of the network.
        precision: precision of the network.
        decoding: see `localize`.
        weights: see `localize`.
        network: see `localize`.
        own_extractors: see `localize`.
        tuned: decode by settings that `avloc tune` wrote to this file; None: the checkpoint's own.

    Returns:
        By clip, rows (N, 3) of score, start and end in seconds: what `avloc.evaluate` takes; and `.failures`.

    Raises:
        AvlocError: if the dataset, the store or the checkpoint cannot be used.

    >>> import avloc
    >>> predictions = avloc.predict("best.ckpt", "lavdf", "LAV-DF", store="features")  # doctest: +SKIP
    >>> avloc.evaluate(predictions, "LAV-DF/metadata.min.json", protocol="lavdf", split="test")  # doctest: +SKIP
    """
    from avloc.inference.raw.tuned_file import read_tuned
    from avloc.inference.settings import LocalizerSettings
    from avloc.inference.split.prediction import predict as run_prediction

    settings = LocalizerSettings(
        checkpoint, network, own_extractors, weights or {}, device, precision, decoding, streams
    )
    localizer = settings.load()
    if tuned is not None:
        tuned_settings = read_tuned(tuned)
        localizer.set_decoding(tuned_settings.decoding)
        keep = tuned_settings.keep if keep is None else keep
    return run_prediction(
        localizer,
        dataset,
        root,
        split,
        store=store,
        keep=100 if keep is None else keep,
        batch_size=batch_size,
        workers=workers,
        allow_missing=allow_missing,
    )

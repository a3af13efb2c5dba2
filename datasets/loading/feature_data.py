"""A dataset's splits > batches of features for `avloc train`: cached, or extracted from the clips in the loader's workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.augment.recipe_file import read_recipe
from avloc.core.descriptions import ExtractorDescription, TrainingContext
from avloc.core.records import MODALITIES
from avloc.datasets.examples.augmentation import ExampleAugmenter, make_augmenter
from avloc.datasets.examples.example import FeatureExample
from avloc.datasets.examples.mixing import NO_MIXING, MixingShares
from avloc.datasets.loading.batch import Batch, TargetMaker
from avloc.datasets.loading.copies import check_copies
from avloc.datasets.loading.features import FeatureDataset, collate
from avloc.datasets.loading.split_data import SplitData
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.extractors.names import EXTRACTORS
from avloc.feature_extraction.job.clip_features import ClipFeatures
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.models.network import check_inputs

if TYPE_CHECKING:
    from avloc.models.network import Network


class FeatureData(SplitData):
    """Batches of cached features, or of those that are extracted from the clips in the loader's workers.

    Args:
        dataset: a dataset as `avloc.datasets.readers.catalog.get_reader` takes it.
        root: the dataset's folder; `~` is expanded.
        store: the feature store's folder; `~` is expanded. Null: with `from_clips`.
        from_clips: decode a clip whenever it is drawn, and extract its features, instead of reading a store. For extractors that
            run no network; the values are those of a store. Lengths for batches are those of the metadata.
        extractors: names in the store, at least one per modality. With `modality`, the store need not have those of the other one
            that need no weights, such as `logspec` and `residual_grid`. With `from_clips`, specifications, as `mouth:side=64`.
        hop_s: seconds per step of the model.
        longest_s: cut longer training clips to a random window of this length; null: no limit. Validation clips stay whole,
            and need memory for their length; `avloc predict` runs those over 40 s in windows. A network with a limit of its own
            (`longest_steps`) cuts validation clips too, from their beginning.
        pseudo_forgeries: share of the real training clips that get a pseudo-forgery, drawn again in each epoch.
        borrowed_forgeries: share of the real training clips that get a forgery of a fake one, with its label.
        hard_negatives: share of the real training clips that get a piece of another real one, and stay real. The three shares
            are at most 1 together.
        revoiced_clips: share of the training clips, real and fake, of which one to three words are re-voiced by vocoders or
            codecs, or replaced by another voice's, and labelled. For streams of samples, as `waveform`.
        native_rate: give the network the rows of each stream instead of averaging them to its steps; its arguments
            `audio_rows_per_step` and `visual_rows_per_step` must then be `hop_s` divided by the shortest hop of the
            modality's extractors. Null: if the network has these arguments, and False without a network.
        modality: train a network for `audio` or for `visual` alone: the other stream is left out, and its segments do not
            count. Null: both.
        augment: augment the samples of `waveform` and the crops of `mouth` in training, otherwise in each epoch, by a recipe
            of `avloc.augment`: `light`, `strong`, or a YAML file. Null: nothing.
        copies: number of augmented copies of each clip in the store (`avloc extract --augment RECIPE --copies 3`). Each draw of a
            training clip is one of them, or the clip itself.
        clip_labels_only: train from the labels of whole clips, by records that have no segments (`ClipRecordTable`); for a
            network with `clip_pooling`. Such clips are never cut: those longer than `longest_s` are left out of the training.
            Validation has clip labels only, too, and the best checkpoint is the one of the highest AUC.
        report_segments: with `clip_labels_only`, read the segments of the validation split, to report AP and AR in training.
            They choose nothing; but whoever reads them is no longer without segments.
        kwargs: options of `SplitData`.

    Raises:
        AvlocError: if an option has no valid value, or the dataset is unknown.

    >>> data = FeatureData(dataset="lavdf", root="clips", store="features", extractors=["logspec", "residual_grid"])
    >>> data.val_split
    'dev'
    """

    def __init__(
        self,
        *,
        dataset: str,
        root: str | Path,
        store: str | Path | None = None,
        from_clips: bool = False,
        extractors: list[str],
        hop_s: float = 0.04,
        longest_s: float | None = 40.0,
        pseudo_forgeries: float = 0.0,
        borrowed_forgeries: float = 0.0,
        hard_negatives: float = 0.0,
        revoiced_clips: float = 0.0,
        native_rate: bool | None = None,
        modality: str | None = None,
        augment: str | Path | None = None,
        copies: int = 0,
        clip_labels_only: bool = False,
        report_segments: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset=dataset, root=root, **kwargs)
        if not hop_s > 0 or not (longest_s is None or longest_s > 0):
            raise AvlocError(f"want hop_s > 0 and longest_s > 0, got {hop_s:g} and {longest_s}")
        self.mixing = MixingShares(pseudo_forgeries, borrowed_forgeries, hard_negatives, revoiced_clips)
        _check_clip_labels(clip_labels_only, report_segments, self.mixing)
        self.clip_labels_only, self.report_segments = clip_labels_only, report_segments
        if modality not in (None, *MODALITIES):
            raise AvlocError(f"want modality of {', '.join(MODALITIES)}, or none for both, got {modality!r}")
        self.from_clips, self.store = from_clips, self._open(store, extractors, from_clips=from_clips)
        check_copies(self.store, copies)
        self.extractors = self.store.extractors() if from_clips else list(extractors)
        self.hop_s, self.longest_s, self.modality = hop_s, longest_s, modality
        self.native_rate = native_rate
        self.recipe, self.copies = None if augment is None else read_recipe(augment), copies

    def _open(
        self, store: str | Path | None, extractors: list[str], *, from_clips: bool
    ) -> FeatureStore | ClipFeatures:
        if from_clips and store is not None:
            raise AvlocError(
                f"from_clips decodes the clips, so the store {store} would not be read: set --data.store null"
            )
        if from_clips:
            return ClipFeatures(self.root, extractors)
        if store is None:
            raise AvlocError("want a store of features (--data.store FOLDER), or --data.from_clips true")
        return FeatureStore(store)

    def context(self) -> TrainingContext:
        extractors = tuple(map(self._describe, self.extractors))
        native_rate = self._keeps_rows(self._network())
        return TrainingContext(self.hop_s, extractors, native_rate=native_rate, modality=self.modality)

    def _describe(self, name: str) -> ExtractorDescription:
        """Describe an extractor of these data, or one of the stream that the network is not given."""
        return build_extractor(name).describe() if self._is_absent(name) else self.store.describe(name)

    def _is_absent(self, name: str) -> bool:
        """Tell whether the store lacks an extractor without weights, of the stream that the network is not given."""
        if self.modality is None or name not in EXTRACTORS or name in self.store.extractors():
            return False
        with contextlib.suppress(AvlocError):  # it needs weights
            return build_extractor(name).modality != self.modality
        return False

    def _keeps_rows(self, network: Network | None) -> bool:
        """Tell whether a network gets the rows of each stream."""
        if self.native_rate is not None or network is None:
            return bool(self.native_rate)
        return any(network.arguments.get(f"{modality}_rows_per_step") is not None for modality in MODALITIES)

    def dims(self) -> dict[str, int]:
        """Return the feature width of each modality: the sum over its extractors."""
        dims = dict.fromkeys(MODALITIES, 0)
        for description in map(self._describe, self.extractors):
            dims[description.modality] += description.dim
        return dims

    def check_network(self, network: Network) -> None:
        if not network.cached_features:
            raise AvlocError("the network takes pixels and log-mels; train it with avloc.datasets.ClipData")
        needs_segments = getattr(getattr(network, "target_maker", None), "needs_segments", True)
        if needs_segments and self.clip_labels_only:
            raise AvlocError(
                "clip_labels_only: the network learns from segments; give BoundaryTransformer a clip_pooling, or leave it out"
            )
        if not needs_segments and not self.clip_labels_only:
            raise AvlocError("the network learns from clip labels (clip_pooling): set --data.clip_labels_only true")
        source = "clips'" if self.from_clips else "store's"
        for modality, dim in self.dims().items():
            expected = network.arguments[f"{modality}_dim"]
            if expected != dim:
                raise AvlocError(f"the network wants {modality} features of width {expected}, the {source} have {dim}")
        check_inputs(network.arguments, replace(self.context(), native_rate=self._keeps_rows(network)))
        self.augmenter()

    def augmenter(self) -> ExampleAugmenter | None:
        """Return what augments training examples; None without `augment`.

        Raises:
            AvlocError: if no stream that the network is given holds samples or pixels, or the recipe does not fit to them.
        """
        if self.recipe is None:
            return None
        used = [d for d in map(self._describe, self.extractors) if self.modality in (None, d.modality)]
        return make_augmenter(self.recipe, used, seed=self.seed)

    def _records(self, split: str, *, training: bool) -> RecordTable | ClipRecordTable:
        records = super()._records(split, training=training)
        if not self.clip_labels_only or isinstance(records, ClipRecordTable):
            return records
        return records if self.report_segments and not training else ClipRecordTable.from_records(records)

    def split(self, split: str, *, training: bool = False) -> FeatureDataset:
        """Return the clips of a split that have features."""
        network = self._network()
        steps = None if network is None else network.longest_steps
        limits = [self.longest_s if training else None, None if steps is None else steps * self.hop_s]
        longest_s = min((s for s in limits if s is not None), default=None)
        dataset = FeatureDataset(
            self._records(split, training=training),
            self.store,
            [name for name in self.extractors if not self._is_absent(name)],
            hop_s=self.hop_s,
            longest_s=longest_s,
            random_windows=training,
            mixing=self.mixing if training else NO_MIXING,
            allow_missing=self.allow_missing,
            native_rate=self._keeps_rows(network),
            modality=self.modality,
            absent=[self._describe(name) for name in self.extractors if self._is_absent(name)],
            copies=self.copies if training else 0,
            augmenter=self.augmenter() if training else None,
        )
        self._warn(split, self._counts(dataset))
        if self.clip_labels_only:
            _check_both_kinds(split, dataset)
        return dataset

    def _counts(self, dataset: FeatureDataset) -> dict[str, int]:
        """Count by text the faults and losses of a split's clips."""
        counts = {
            "clips have no features and are left out": len(dataset.missing),
            "clips are longer than longest_s and are left out: a window may lack the forgery": dataset.longer,
            "segments reached past the end of what was decoded and were cut": dataset.clamped,
        }
        if not dataset.random_windows and dataset.longest_s is not None and dataset.has_segments:
            longer = int((dataset.ends_s > dataset.longest_s + self.hop_s).sum())
            counts["clips are longer than the network takes at once, and are validated on their beginning"] = longer
        for name, steps in ({} if dataset.augmenter is None else dataset.augmenter.idle_steps).items():
            counts[f"steps of the recipe do nothing on {name}: it holds features, or grey frames without colours"] = (
                steps
            )
        if dataset.copies is not None:
            counts["augmented copies are missing and are left out"] = dataset.copies.missing
            names = ", ".join(dataset.copies.unchanged)
            counts[f"streams have no augmented copies and stay as they are ({names})"] = len(dataset.copies.unchanged)
        return counts

    def lengths(self, dataset: FeatureDataset) -> npt.NDArray[np.int64]:
        return dataset.lengths()

    def collate_fn(self, maker: TargetMaker | None) -> Callable[[Sequence[FeatureExample]], Batch]:
        return partial(collate, maker=maker)


def _check_clip_labels(clip_labels_only: bool, report_segments: bool, mixing: MixingShares) -> None:
    if report_segments and not clip_labels_only:
        raise AvlocError("report_segments has no effect without clip_labels_only; leave it out")
    if clip_labels_only and mixing.chosen:
        raise AvlocError(f"clip_labels_only: {', '.join(mixing.chosen)} need or make segments; leave them out")


def _check_both_kinds(split: str, dataset: FeatureDataset) -> None:
    """Check that there are real and fake clips: without either, clip labels tell nothing, and no AUC chooses a checkpoint."""
    clips, fakes = len(dataset), int((dataset.records.modality().codes > 0).sum())
    if fakes in (0, clips):
        kind = "fake" if fakes else "real"
        raise AvlocError(f"clip_labels_only: all {clips} clips of {split} are {kind}, want real and fake ones")

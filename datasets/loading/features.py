"""Cached features + records > batches on one clock.

Each stream keeps its own rate, with its time on the model's clock (`native_rate`), or is averaged or interpolated to that
clock's steps (`TimeGrid.resample`); the mask of a missing stream is false.

Legend: B batch, T steps, R rows, D feature width, V clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avloc.core.columns import StringArray
from avloc.core.descriptions import ExtractorDescription
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import rows_in
from avloc.datasets.examples.example import FeatureExample, cut_example, make_example, random_window, read_decodable
from avloc.datasets.examples.mixing import NO_MIXING, MixingShares, borrow_forgery, splice_real_piece
from avloc.datasets.examples.raw_rows import holds_samples
from avloc.datasets.loading.batch import Batch, FeatureInputs, StreamInputs, TargetMaker, stack_targets
from avloc.datasets.loading.copies import AugmentedCopies, check_copies
from avloc.datasets.loading.samplers import SampleIndex
from avloc.datasets.loading.split_features import SplitFeatures, find_features
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import RecordTable, as_table
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features, no_features
from avloc.feature_extraction.job.clip_features import ClipFeatures
from avloc.feature_extraction.store.feature_store import FeatureStore

if TYPE_CHECKING:
    from avloc.datasets.examples.augmentation import ExampleAugmenter

PARTNERS = 4
"""Clips that are tried for a mixture; a real clip that fits to none of them stays as it is."""


def collate(examples: Sequence[FeatureExample], maker: TargetMaker | None = None) -> Batch:
    """Pad examples to the longest one and stack them.

    Args:
        examples: B clips.
        maker: makes the targets; None: no targets. There are none either if any labels are hidden.
    """
    length = max(1, *(e.grid.length for e in examples))
    inputs = _stream_inputs(examples, length) if examples[0].rows else _feature_inputs(examples, length)
    records, grids = [e.record for e in examples], [e.grid for e in examples]
    return Batch(inputs, grids, records, *stack_targets(records, grids, length, maker))


def _feature_inputs(examples: Sequence[FeatureExample], length: int) -> FeatureInputs:
    streams = [_padded([e.streams[k] for e in examples], length) for k in range(len(MODALITIES))]
    masks = [_padded([e.masks[k] for e in examples], length) for k in range(len(MODALITIES))]
    return FeatureInputs(*streams, *masks)


def _stream_inputs(examples: Sequence[FeatureExample], length: int) -> StreamInputs:
    streams, masks, phases = [], [], []
    for k in range(len(MODALITIES)):
        grids = [e.rows[k].grid for e in examples]
        count = rows_in(length, examples[0].grid.hop_s / grids[0].hop_s)
        streams.append(_padded([e.streams[k] for e in examples], count))
        masks.append(_padded([e.rows[k].present for e in examples], count))
        starts = [(g.start_s - e.grid.start_s) / g.hop_s for g, e in zip(grids, examples, strict=True)]
        phases.append(torch.tensor(starts, dtype=torch.float32))
    steps = _padded([np.ones(e.grid.length, dtype=bool) for e in examples], length)
    return StreamInputs(*[*streams, *masks, *phases, steps])


def _padded(arrays: Sequence[npt.NDArray[Any]], length: int) -> Tensor:
    """Stack arrays (≤ length, …) with zeros after each: (B, length, …)."""
    padded = np.zeros((len(arrays), length, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for b, array in enumerate(arrays):
        padded[b, : len(array)] = array
    return torch.from_numpy(padded)


class FeatureDataset(Dataset[FeatureExample]):
    """Records joined with a feature store by file.

    Shards are opened lazily, so that each worker process has its own handles. Segments are cut to the decoded length, and
    counted: metadata may claim more than a file holds.

    With a plain index, random draws (windows, forgeries, cuts, copies, augmentation) come from torch's generator: a `DataLoader`
    has others in each epoch, and `torch.manual_seed` repeats them. Without any of these, an example is always the same.

    Args:
        records: the clips; a `ClipRecordTable` for training from clip labels only. Such clips are never cut to a window, which
            might lose the forgery: those that are longer than `longest_s` are left out.
        store: their features; or `avloc.feature_extraction.job.clip_features.ClipFeatures`, which extracts them from the clips.
        extractors: names in the store.
        hop_s: seconds per step of the model.
        longest_s: cut longer clips to a window of this length; None: no limit.
        random_windows: cut such windows at random, between segments where possible; otherwise from the clip's beginning.
        mixing: shares of the clips that other clips or made forgeries change.
        allow_missing: leave out clips without features. Without a store, replace a clip that cannot be decoded by the next one,
            with a warning.
        native_rate: keep the rows of each stream instead of averaging them to steps.
        modality: give the network this stream alone, and only the segments of this modality; None: both.
        absent: extractors of a stream that the network is not given, whose features the store need not have.
        copies: number of augmented copies of each clip in the store; each draw is one of them, or the clip itself.
        augmenter: augments each example by its clip and epoch, after the cutting and the pseudo-forgery; None: nothing.

    Attributes:
        records: the clips that have features, with their segments cut.
        missing: files of the others.
        clamped: number of segments that reached past the decoded length.
        longer: number of clips that were left out because they are longer than `longest_s`.
        ends_s: (V,) decoded length of each clip in seconds; without a store, the length by the metadata, NaN if unknown.

    Raises:
        AvlocError: if forgeries are to be borrowed, and no clip is fake; if forgeries or cuts are to be made in clips whose
            records have no segments; or if words are to be re-voiced, and no stream holds samples.
        StoreError: if an extractor is not in the store, or a clip's features are missing or failed and `allow_missing`
            is not set; the message counts both and names the first.
        MediaError: on use, if a clip cannot be decoded and `allow_missing` is not set.

    >>> from avloc.datasets import read_records
    >>> records = read_records("lavdf", "LAV-DF", "dev")  # doctest: +SKIP
    >>> dataset = FeatureDataset(records, FeatureStore("features"), ["logspec"], hop_s=0.04)  # doctest: +SKIP
    >>> dataset[0].streams[0].shape  # doctest: +SKIP
    (215, 513)
    """

    def __init__(
        self,
        records: Sequence[VideoRecord] | ClipRecordTable,
        store: FeatureStore | ClipFeatures,
        extractors: Sequence[str],
        *,
        hop_s: float,
        longest_s: float | None = None,
        random_windows: bool = True,
        mixing: MixingShares = NO_MIXING,
        allow_missing: bool = False,
        native_rate: bool = False,
        modality: str | None = None,
        absent: Sequence[ExtractorDescription] = (),
        copies: int = 0,
        augmenter: ExampleAugmenter | None = None,
    ) -> None:
        self.store, self.extractors, self.hop_s, self.absent = store, tuple(extractors), hop_s, tuple(absent)
        self.allow_missing = allow_missing
        self.native_rate, self.modality, self.augmenter = native_rate, modality, augmenter
        self.longest_s = longest_s
        self.random_windows, self.mixing = random_windows, mixing
        self.modalities = {name: store.describe(name).modality for name in extractors}
        table: RecordTable | ClipRecordTable = records if isinstance(records, ClipRecordTable) else as_table(records)
        table = table if modality is None else table.restricted_to(modality)
        self.has_segments = isinstance(table, RecordTable)
        self._used = [name for name in extractors if modality in (None, self.modalities[name])]
        features = find_features(store, self._used, table, allow_missing=allow_missing)
        self.missing = list(features.missing)
        self._features = self._leave_out_long(features)
        self.longer, kept = len(features.rows) - len(self._features.rows), self._features.rows
        self.ends_s = self._features.ends_s
        self.copies = self._find_copies(self._used, table.files.take(kept), copies)
        records = table if len(kept) == len(table) else table.take(kept)
        self.records: RecordTable | ClipRecordTable
        # Without a store, the ends are not known before a clip is read.
        ends_s = self.ends_s if self._features.knows_ends else np.full(len(kept), np.inf)
        self.records, self.clamped = records.clamped(ends_s)
        is_fake = self.records.modality().codes > 0
        self._fake_clips = np.flatnonzero(is_fake)
        self._labelled_clips = np.flatnonzero(self.records.labelled)
        self._real_clips = np.flatnonzero(~is_fake & self.records.labelled)
        if mixing.borrowed_forgeries and not len(self._fake_clips):
            raise AvlocError("borrowed_forgeries: none of the clips is fake; leave the option out")
        if not self.has_segments and mixing.chosen:
            raise AvlocError(
                f"{', '.join(mixing.chosen)}: forgeries and cuts need or make segments, and these clips have clip labels only; "
                "leave it out"
            )
        if mixing.revoiced_clips and not (
            native_rate and any(holds_samples(store.describe(name)) for name in self._used)
        ):
            raise AvlocError(
                f"revoiced_clips: want samples at their own rate, as of the extractor waveform and a network with a front end, "
                f"got {', '.join(self._used)}"
            )

    def _leave_out_long(self, features: SplitFeatures) -> SplitFeatures:
        """The clips that are given as a whole, of clips without segments; all others, which may be cut."""
        if self.has_segments or self.longest_s is None:
            return features
        kept = np.flatnonzero(~(features.ends_s > self.longest_s))  # those of unknown length too
        if not len(kept):
            raise AvlocError(
                f"longest_s: all {len(features.rows)} clips are longer than {self.longest_s:g} s, and a clip with a clip label "
                "only is never cut"
            )
        return features.take(kept)

    def _find_copies(self, extractors: list[str], files: StringArray, count: int) -> AugmentedCopies | None:
        check_copies(self.store, count)
        if not isinstance(self.store, FeatureStore):
            return None
        for name in extractors:
            if self.store.describe(name).augmentation is not None:
                raise StoreError(
                    f"{self.store.root}: holds augmented copies, which are for training beside the clips themselves; name the "
                    "store that they lie in"
                )
        if not count:
            return None
        return AugmentedCopies(self.store, extractors, files, count, allow_missing=self.allow_missing)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def _is_random(self) -> bool:
        """Tell whether draws of a clip differ: by windows, forgeries, cuts, copies, or augmentation."""
        cuts = self.random_windows and self.longest_s is not None and self.has_segments
        return cuts or bool(self.mixing.chosen) or self.copies is not None or self.augmenter is not None

    def __getitem__(self, index: SampleIndex | int) -> FeatureExample:
        clip, seed, epoch, repeat = index if isinstance(index, tuple) else self._random_index(index)
        random = np.random.default_rng(seed)
        example = self._draw_copy(clip, random)
        if self.longest_s is not None and self.has_segments:
            size = max(1, round(self.longest_s / self.hop_s))
            if self.random_windows:
                example = random_window(example, self.longest_s, random)
            elif example.grid.length > size:
                example = cut_example(example, 0, size)
        example = self._forge(example, random)
        example = self._revoice(clip, example, random)
        return example if self.augmenter is None else self.augmenter(example, epoch, repeat)

    def _random_index(self, clip: int) -> SampleIndex:
        """Draw the seeds of a plain index from torch's generator, which a loader's workers have of their own in each epoch."""
        if not self._is_random:
            return SampleIndex(clip, 0)
        seed, epoch = torch.randint(2**32, (2,)).tolist()
        return SampleIndex(clip, seed, epoch)

    def _forge(self, example: FeatureExample, random: np.random.Generator) -> FeatureExample:
        """Give a share of the real examples a pseudo-forgery, another clip's forgery, or a cut."""
        shares = np.cumsum(self.mixing.of_real)
        if not shares[-1] or example.record.modality != "real":
            return example
        choice = int(np.searchsorted(shares, random.random(), side="right"))
        if choice == 0:
            from avloc.datasets.examples.pseudo_forgeries import FEATURE_KINDS, forge_features

            # A cut cannot be a forgery in one clip and genuine in the next.
            kinds = [kind for kind in FEATURE_KINDS if kind != "splice" or not self.mixing.hard_negatives]
            partners = random.integers(len(self), size=PARTNERS)
            return self._mix(partial(forge_features, kinds=kinds), example, partners, random)
        if choice < len(shares):
            mix, clips = (borrow_forgery, self._fake_clips) if choice == 1 else (splice_real_piece, self._real_clips)
            return self._mix(mix, example, random.choice(clips, PARTNERS) if len(clips) else clips, random)
        return example

    def _revoice(self, clip: int, example: FeatureExample, random: np.random.Generator) -> FeatureExample:
        """Re-voice words of a share of the labelled examples."""
        if (
            not self.mixing.revoiced_clips
            or not example.record.labelled
            or random.random() >= self.mixing.revoiced_clips
        ):
            return example
        from avloc.datasets.examples.revoicing import revoice_words

        def draw_other() -> FeatureExample | None:
            """Draw another labelled clip; None if there is none."""
            if len(self._labelled_clips) < 2:
                return None
            while (other := int(random.choice(self._labelled_clips))) == clip:
                pass
            return self._draw_copy(other, random)

        # A cut cannot be a forgery in one clip and genuine in the next.
        changed = revoice_words(example, draw_other, random, other_voices=not self.mixing.hard_negatives)
        return example if changed is None else changed

    def _mix(
        self,
        mix: Callable[[FeatureExample, FeatureExample, np.random.Generator], FeatureExample | None],
        example: FeatureExample,
        partners: npt.NDArray[np.int64],
        random: np.random.Generator,
    ) -> FeatureExample:
        """Mix an example with the first of some clips that fits; without one it stays as it is."""
        for clip in partners.tolist():
            mixed = mix(example, self._draw_copy(clip, random), random)
            if mixed is not None:
                return mixed
        return example

    def _draw_copy(self, clip: int, random: np.random.Generator) -> FeatureExample:
        """Read a clip or one of its augmented copies, by chance.

        A piece of another clip that was always clean would be told from a copy by that alone.
        """
        return self._read(clip, 0 if self.copies is None else self.copies.draw(clip, random))

    def _read(self, clip: int, copy: int = 0) -> FeatureExample:
        """Read a clip, or one of its augmented copies."""
        read = partial(self._read_clip, copy=copy)
        return read_decodable(read, clip, len(self), allow_missing=self.allow_missing)

    def _read_clip(self, clip: int, copy: int) -> FeatureExample:
        rows: dict[str, Features] = {}
        if copy and self.copies is not None:
            rows = {name: self.copies.read(name, clip, copy) for name in self.copies.names}
        rows |= self._features.read(clip, [name for name in self._used if name not in rows])
        features: dict[str, list[Features]] = {m: [] for m in MODALITIES}
        for name in self.extractors:
            features[self.modalities[name]].append(
                rows[name] if name in rows else no_features(self.store.describe(name))
            )
        for description in self.absent:
            features[description.modality].append(no_features(description))
        example = make_example(self.records[clip], features, self.hop_s, native_rate=self.native_rate)
        if self._features.knows_ends:
            return example
        record, _ = self.records.take(np.array([clip])).clamped(np.array([example.end_s]))
        return replace(example, record=record[0])

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the steps of each clip after cutting, for batches of similar length: (V,); 0 if unknown."""
        longest = np.inf if self.longest_s is None else self.longest_s
        return np.ceil(np.minimum(np.nan_to_num(self.ends_s), longest) / self.hop_s).astype(np.int64)

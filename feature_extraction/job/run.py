"""The extraction job: clips > shards > a store. Resumable: existing shards are kept."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from avloc.feature_extraction.job.engines import local
from avloc.feature_extraction.job.in_progress import ShardSpec
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone
from avloc.feature_extraction.job.plan import JobPlan, ReusedClips
from avloc.feature_extraction.job.worker import ClipDone, ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

KEPT_FAILURES = 1000  # named by a report; the shards name all

JobEvent = ClipReport | ShardDone | ReusedClips
Engine = Callable[[Iterable[ShardSpec], ExtractionSettings], Iterator[ClipReport | ShardDone]]
"""Runs the shards of a job, see `engines`."""


@dataclass(slots=True)
class JobReport:
    """The result of a job.

    Attributes:
        done: clips processed now; `failed_now` of them could not be read.
        reused: clips that the store already had, failed ones included.
        failed: clips of both kinds that could not be read, or had an unreadable stream.
        failed_now: those of them that were processed now.
        failures: the first of the failed clips, with the reasons.
        damaged: clips processed now that could be read in part.
        damaged_decoded_s: seconds decoded of the damaged clips.
        damaged_claimed_s: seconds of the damaged clips by their headers.
        without_stream: clips processed now that do not have a stream that an extractor asks for.
        media_s: seconds of the clips extracted now.
        decode_s: core seconds of decoding.
        extract_s: core seconds of extraction in the workers.
        faceless: clips with cropped frames without a detected face.

    >>> report = JobReport()
    >>> report.count(ClipReport("a.mp4", "no such file", None))
    >>> report.done, report.failures
    (1, {'a.mp4': 'no such file'})
    """

    done: int = 0
    reused: int = 0
    failed: int = 0
    failed_now: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    media_s: float = 0.0
    decode_s: float = 0.0
    extract_s: float = 0.0
    faceless: int = 0
    damaged: int = 0
    damaged_decoded_s: float = 0.0
    damaged_claimed_s: float = 0.0
    without_stream: int = 0

    def count(self, event: JobEvent) -> None:
        """Add an event of the job."""
        if isinstance(event, ReusedClips):
            self.reused += event.clips
            self._add_failures(event.failures)
        elif isinstance(event, ClipReport):
            self.done += 1
            if event.failure is not None:
                self.failed_now += 1
                self._add_failures({event.file: event.failure})
            if event.costs is not None:
                self.media_s += event.costs.media_s
                self.decode_s += event.costs.decode_s
                self.extract_s += event.costs.extract_s
                self.faceless += event.costs.faceless_frames > 0
                self._add_problems(event.costs)

    def _add_problems(self, clip: ClipDone) -> None:
        self.without_stream += len(clip.damage) < len(clip.problems)
        if clip.damage:
            self.damaged += 1
            self.damaged_decoded_s += clip.decoded_s
            self.damaged_claimed_s += max(clip.claimed_s, clip.decoded_s)

    def _add_failures(self, failures: Mapping[str, str]) -> None:
        self.failed += len(failures)
        self.failures.update(itertools.islice(failures.items(), KEPT_FAILURES - len(self.failures)))


def extract(
    files: Sequence[str],
    store: FeatureStore,
    settings: ExtractionSettings,
    *,
    shard_clips: int | None = None,
    array_index: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    engine: Engine = local.run,
    progress: Callable[[JobEvent], object] = lambda event: None,
) -> JobReport:
    """Extract features of clips into a store.

    Args:
        files: the clips, relative to the settings' root; their order decides the shards, so keep it to resume.
        store: the store to write.
        settings: the clips' root, the extractors, and the resources.
        shard_clips: clips per shard, at most. None: the number that the store already uses for these clips, or a 16th of
            them within bounds.
        array_index: (i, n): make only every n-th shard from the i-th on, for task i of a job array of n tasks.
        retry_failed: make shards with failed clips again.
        engine: runs the shards.
        progress: called with each event.

    Raises:
        AvlocError: if the settings are wrong; nothing is written then.
        StoreError: if the store holds features made with other settings, or of other files with the same names, or cannot be
            written; before any clip is decoded wherever that can be known.
    """
    plan = JobPlan(files, store, settings, shard_clips=shard_clips, array_index=array_index)
    return run_plan(plan, retry_failed=retry_failed, engine=engine, progress=progress)


def run_plan(
    plan: JobPlan,
    *,
    retry_failed: bool = False,
    engine: Engine = local.run,
    progress: Callable[[JobEvent], object] = lambda event: None,
    report: JobReport | None = None,
) -> JobReport:
    """Run a plan.

    Args:
        plan: the job.
        retry_failed: as in `extract`.
        engine: as in `extract`.
        progress: as in `extract`.
        report: filled as the job proceeds, so that it is known after an error; default: a new one.

    Raises:
        StoreError: as `extract`.
    """
    report = JobReport() if report is None else report
    # Closed at once, and not only when the last reference to an error is dropped, so that processes end before we wait.
    with contextlib.closing(_run_engine(plan, engine)) as work:
        for event in itertools.chain(plan.prepare(retry_failed=retry_failed), work):
            report.count(event)
            progress(event)
    return report


def _run_engine(plan: JobPlan, engine: Engine) -> Generator[ClipReport | ShardDone]:
    try:
        yield from engine(plan.specs(), plan.settings)
    finally:
        plan.clean()

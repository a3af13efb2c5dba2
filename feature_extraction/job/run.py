"""The extraction job: clips > shards > a store. Resumable: a shard that is there is not made again."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from avloc.feature_extraction.job.engines import local
from avloc.feature_extraction.job.pipeline import ClipReport, ShardDone, ShardSpec
from avloc.feature_extraction.job.plan import Plan, Reused
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

KEPT_FAILURES = 1000  # that a report names; the shards hold all

Event = ClipReport | ShardDone | Reused
Engine = Callable[[Iterable[ShardSpec], ExtractionSettings], Iterator[ClipReport | ShardDone]]


@dataclass(slots=True)
class JobReport:
    """What a job did.

    Attributes:
        done: clips extracted now.
        reused: clips that were there.
        failed: of all these, those that could not be read.
        failures: the first of them, and why.
        media_s: seconds of the clips extracted now.
        decode_s: core seconds of decoding.
        extract_s: core seconds of extraction in the workers.
        faceless: clips in which a crop found no face in some frames.
    """

    done: int = 0
    reused: int = 0
    failed: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    media_s: float = 0.0
    decode_s: float = 0.0
    extract_s: float = 0.0
    faceless: int = 0

    def count(self, event: Event) -> None:
        """Add what happened."""
        if isinstance(event, Reused):
            self.reused += event.clips
            self._fail(event.failures)
        elif isinstance(event, ClipReport):
            self.done += 1
            if event.failure is not None:
                self._fail({event.file: event.failure})
            if event.about is not None:
                self.media_s += event.about.media_s
                self.decode_s += event.about.decode_s
                self.extract_s += event.about.extract_s
                self.faceless += event.about.faceless_frames > 0

    def _fail(self, failures: dict[str, str]) -> None:
        self.failed += len(failures)
        self.failures.update(itertools.islice(failures.items(), KEPT_FAILURES - len(self.failures)))


def extract(
    files: Sequence[str],
    store: FeatureStore,
    settings: ExtractionSettings,
    *,
    shard_clips: int | None = None,
    part: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    engine: Engine = local.run,
    progress: Callable[[Event], object] = lambda event: None,
) -> JobReport:
    """Extract features of clips into a store.

    Args:
        files: the clips; their order decides the shards, so keep it to resume.
        store: where to.
        settings: the clips' root, the extractors, and how they are run.
        shard_clips: clips per shard at the most. None: as many as the store has already for these clips, or a 16th of them
            within bounds.
        part: (i, n): do only every n-th shard from the i-th on, for a job array.
        retry_failed: make the shards again in which a clip could not be read.
        engine: where the shards are run.
        progress: called with all that happens.

    Raises:
        AvlocError: if the settings are wrong; nothing is written then.
        StoreError: if the store holds features made with other settings, or of other files with the same names, or cannot be
            written; before any clip is decoded wherever that can be known.
    """
    plan = Plan(files, store, settings, shard_clips=shard_clips, part=part)
    return run_plan(plan, retry_failed=retry_failed, engine=engine, progress=progress)


def run_plan(
    plan: Plan,
    *,
    retry_failed: bool = False,
    engine: Engine = local.run,
    progress: Callable[[Event], object] = lambda event: None,
    report: JobReport | None = None,
) -> JobReport:
    """The same for a plan that is there already; with a report, that one is filled, as far as the job gets."""
    report = JobReport() if report is None else report
    # Closed at once, not when the last one who holds an error forgets it: processes would be waited for in vain.
    with contextlib.closing(_run(plan, engine)) as work:
        for event in itertools.chain(plan.prepare(retry_failed=retry_failed), work):
            report.count(event)
            progress(event)
    return report


def _run(plan: Plan, engine: Engine) -> Generator[ClipReport | ShardDone]:
    try:
        yield from engine(plan.specs(), plan.settings)
    finally:
        plan.clean()

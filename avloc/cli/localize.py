"""`avloc localize`: clips > segments and timelines, in the formats that were asked for."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from avloc.cli.main import add_network_options, add_weights_option, parser, positive
from avloc.localization.formats import EMBEDS, FORMATS, OutputOptions

if TYPE_CHECKING:
    from tqdm import tqdm

    from avloc.feature_extraction.media.types import Span
    from avloc.inference.localizer import Localizer
    from avloc.localization.result import Localization

SCHEMA = "avloc.localization.result"
SUMMARY = "summary.csv"


class Job(NamedTuple):
    """A clip, and the name of its results relative to `--out`, without an ending."""

    clip: Path
    name: Path


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    given = _options().parse_args(arguments)

    from avloc.errors import AvlocError
    from avloc.feature_extraction.media.types import Span
    from avloc.inference.localizer import Localizer, require_device

    jobs = list(_jobs(given.clips))
    if not 0 <= given.start < given.end:
        raise AvlocError(f"want 0 ≤ --start < --end, got {given.start:g} and {given.end:g}")
    if not 0 <= given.threshold <= 1:
        raise AvlocError(f"want a --threshold within 0 and 1, got {given.threshold:g}")
    asked, before = len(jobs), list[tuple[Path, dict[str, object]]]()
    if asked > 1:
        _spare_summaries(jobs, given)
    done = {job for job in jobs if given.skip_done and all(path.is_file() for path in _paths(job, given))}
    for job in jobs:
        if not given.overwrite and job not in done:
            _spare(job, given)
    if given.skip_done:
        jobs = [job for job in jobs if job not in done]
        before = list(_before(sorted(done), given))
        print(f"{len(done)} of {asked} clips were done before")
    found: list[tuple[Path, Localization]] = []
    failed: list[tuple[Job, str]] = []
    try:
        if jobs:
            localizer = Localizer.from_checkpoint(
                given.checkpoint, device=require_device(given.device), weights=dict(given.weights),
                precision=given.precision, decoding=given.decoding,
            )  # fmt: skip
            localizer.source.prepare()  # what is missing is said before anything is decoded
            _all(localizer, jobs, Span(given.start, given.end, given.audio_track), given, found, failed)
    finally:  # a run that is stopped has its table too
        if asked > 1 and (found or failed or before):
            _summarize(given, found, failed, before)
    for _, message in failed:
        print(f"avloc localize: error: {message}", file=sys.stderr)
    return 2 if failed and len(failed) == len(jobs) else 1 if failed else 0


def _summarize(
    given: argparse.Namespace,
    found: Sequence[tuple[Path, Localization]],
    failed: Sequence[tuple[Job, str]],
    before: Sequence[tuple[Path, dict[str, object]]],
) -> None:
    from avloc.localization.summary import save_summary

    reasons = [(job.clip, why) for job, why in failed]
    given.out.mkdir(parents=True, exist_ok=True)
    save_summary(given.out, found, reasons, given.threshold, given.format, before)
    print(f"{len(found)} clips localized, {len(failed)} failed → {given.out / SUMMARY}")


def _before(done: Sequence[Job], given: argparse.Namespace) -> Iterator[tuple[Path, dict[str, object]]]:
    """The summary's rows of clips that were done before: from their json, or, where there is none, from the last summary."""
    from avloc.errors import AvlocError
    from avloc.io.files import read_json
    from avloc.localization.result import Localization
    from avloc.localization.summary import read_summary, row_of

    rows = read_summary(given.out)
    for job in done:
        path = given.out / job.name.with_name(job.name.name + ".json")
        row = rows.get(str(job.clip))
        try:
            yield job.name, row_of(Localization.from_dict(read_json(path, "localization")), given.threshold)
        except (AvlocError, OSError, AttributeError, KeyError, TypeError, IndexError, ValueError):
            if row is not None and row["forged"]:  # results without a json
                yield job.name, row


def _all(
    localizer: Localizer,
    jobs: Sequence[Job],
    span: Span,
    given: argparse.Namespace,
    done: list[tuple[Path, Localization]],
    failed: list[tuple[Job, str]],
) -> None:
    """Fill in what was found, by the name of each clip's results; and the clips that could not be done, and why."""
    import numpy as np

    from avloc.errors import AvlocError

    lengths = {job.clip: _length(job.clip, span) for job in jobs}
    with _bar(sum(lengths.values())) as bar:
        for job in jobs:
            before = bar.n
            try:
                found = _localize(localizer, job, span, given, _Told(bar, lengths[job.clip], span.start_s))
            except (AvlocError, OSError, UnicodeError) as error:
                if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                    raise  # the next clip would fare no better
                failed.append((job, str(error) if isinstance(error, AvlocError) else f"{job.clip!r}: {error}"))
                continue
            finally:
                bar.n = before + lengths[job.clip]
                bar.refresh()
            with bar.external_write_mode():
                if len(jobs) > 1:
                    print(_line(found, given.threshold), flush=True)
                else:
                    _print(found, given.threshold, _paths(job, given))
            # A million clips' curves and pictures need not stay: the summary wants neither.
            done.append((job.name, replace(found, preview=None, fakeness=np.zeros((0, 2), np.float32))))


def _options() -> argparse.ArgumentParser:
    options = parser(
        "localize", "avloc localize suspicious.mp4 --checkpoint demo/checkpoint.ckpt --out timelines --format json,html"
    )
    options.add_argument(
        "clips", type=Path, nargs="+", metavar="CLIP", help="any file that PyAV reads, or a folder of such"
    )
    options.add_argument("--checkpoint", required=True, help="what `avloc train` or `avloc convert` wrote")
    options.add_argument(
        "--out", type=Path, default=Path("."), help="where NAME.json and the others go (default: here)"
    )
    options.add_argument(
        "--format", type=_formats, default=("json", "png", "html"), metavar="A,B",
        help="; ".join(f"{name}: {f.about}" for name, f in FORMATS.items()) + " (default json,png,html)",
    )  # fmt: skip
    options.add_argument(
        "--keep", type=positive, default=100, help="segments at the most, per 40 s of a clip (default 100)"
    )
    options.add_argument(
        "--threshold", type=float, default=0.2,
        help="lowest score that is printed, and written to csv, vtt and labels (default 0.2)",
    )  # fmt: skip
    options.add_argument("--start", type=float, default=0.0, help="seconds; what lies before is left out")
    options.add_argument("--end", type=float, default=float("inf"), help="seconds; what lies behind is left out")
    options.add_argument("--audio-track", type=int, default=0, help="of several, by number from 0 (default 0)")
    options.add_argument(
        "--embed", choices=EMBEDS, default="auto",
        help="whether the page holds the clip itself, or names it by a relative path (default: itself, up to 12 MB)",
    )  # fmt: skip
    options.add_argument("--skip-done", action="store_true", help="leave out clips whose results are there")
    options.add_argument("--overwrite", action="store_true", help="write over files that may not be avloc's")
    add_weights_option(options)
    add_network_options(options)
    return options


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in FORMATS]:
        raise argparse.ArgumentTypeError(f"want formats of {', '.join(FORMATS)}, got {', '.join(unknown)}")
    return names


def _jobs(clips: Sequence[Path]) -> Iterator[Job]:
    """Files as they are; of a folder the media files in it and below, whose results keep its order."""
    from avloc.datasets.readers.tabular import SUFFIXES
    from avloc.errors import AvlocError

    seen: dict[Path, Path] = {}
    for clip in clips:
        jobs = [Job(clip, Path(clip.stem))]
        if clip.is_dir():
            inner = sorted(p for p in clip.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inner:
                raise AvlocError(f"{clip}: a folder without media files")
            jobs = [Job(p, p.relative_to(clip).with_suffix("")) for p in inner]
        for job in jobs:
            if job.name in seen:
                raise AvlocError(
                    f"{seen[job.name]} and {job.clip} would both be written as {job.name}.json; localize them into "
                    "different folders"
                )
            seen[job.name] = job.clip
            yield job


def _paths(job: Job, given: argparse.Namespace) -> list[Path]:
    base = given.out / job.name
    return [base.with_name(base.name + FORMATS[name].suffix) for name in given.format]


def _spare(job: Job, given: argparse.Namespace) -> None:
    """Refuse to write over a clip, or over files that are not ours."""
    from avloc.errors import AvlocError

    inputs = {clip.resolve() for clip in given.clips} | {job.clip.resolve()}
    base = given.out / job.name
    table = base.with_name(base.name + ".json")
    ours = table.is_file() and SCHEMA.encode() in table.read_bytes()[:200]
    for path in _paths(job, given):
        if path.resolve() in inputs:
            raise AvlocError(f"{path}: is one of the clips and would be written over; name another --out")
        if path.exists() and not ours:
            raise AvlocError(f"{path}: is there and may not be avloc's; name another --out, or say --overwrite")


def _spare_summaries(jobs: Sequence[Job], given: argparse.Namespace) -> None:
    """The same for the table of all clips and its page."""
    from avloc.errors import AvlocError
    from avloc.localization.summary import is_summary

    own = {given.out / SUMMARY, given.out / "index.html"}
    for job in jobs:
        if own & set(_paths(job, given)):
            raise AvlocError(f"{job.clip}: its results would be written over by those of all clips; rename it")
    for path in own:
        if path.exists() and not is_summary(path) and not given.overwrite:
            raise AvlocError(
                f"{path}: is there and was not written by avloc localize; name another --out, or say --overwrite"
            )


def _length(clip: Path, span: Span) -> float:
    """The seconds that will be looked at, as far as the file's header tells."""
    from avloc.errors import AvlocError
    from avloc.feature_extraction.media.decode import probe

    try:
        return max(0.0, min(span.end_s, probe(clip).duration_s) - span.start_s)
    except AvlocError:
        return 0.0


def _bar(seconds: float) -> tqdm[NoReturn]:
    """Seconds of all clips, with the time left."""
    from tqdm import tqdm

    return tqdm(
        total=round(seconds, 1), desc="localize", disable=None,
        bar_format="{desc}: {percentage:3.0f} % |{bar}| {n:.0f}/{total:.0f} s of clips [{elapsed}, {remaining} left]",
    )  # fmt: skip


class _Told:
    """Moves the bar as a clip gets done."""

    def __init__(self, bar: tqdm[NoReturn], length_s: float, start_s: float) -> None:
        self._bar, self._before, self._length_s, self._start_s = bar, bar.n, length_s, start_s

    def __call__(self, end_s: float) -> None:
        self._bar.n = self._before + min(end_s - self._start_s, self._length_s)
        self._bar.refresh()


def _localize(
    localizer: Localizer, job: Job, span: Span, given: argparse.Namespace, progress: _Told
) -> Localization:  # fmt: skip
    found = localizer.localize(
        job.clip, keep=given.keep, span=span, preview="html" in given.format, progress=progress
    )  # fmt: skip
    for path, name in zip(_paths(job, given), given.format, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[name].write(found, path, OutputOptions(given.threshold, given.embed))
    return found


def _line(found: Localization, threshold: float) -> str:
    shown = len(found.segments(threshold))
    notes = f" ({'; '.join(found.problems)})" if found.problems else ""
    return f"{found.file}: {_sure(found)}; {shown} segments of {threshold:g} or more{notes}"


def _print(found: Localization, threshold: float, paths: Sequence[Path]) -> None:
    shown = found.segments(threshold)
    print(
        f"{found.file}: {found.duration_s:.2f} s, {len(shown)} segments with a score of {threshold:g} or more "
        f"→ {', '.join(map(str, paths))}"
    )
    print(f"  {_sure(found)}")
    for problem in found.problems:
        print(f"  note: {problem}")
    for row in sorted(shown, key=lambda r: r["start"]):
        print(f"  {row['start']:8.2f} – {row['end']:8.2f} s   score {row['score']:.2f}   {row['modality']}")


def _sure(found: Localization) -> str:
    """How sure it is that the clip is forged, and its picture and its sound."""
    chances = [found.probabilities[what] for what in ("clip", "visual", "audio")]
    if found.calibrated:
        return "forged with {:.0f} % (picture {:.0f} %, sound {:.0f} %)".format(*(100 * c for c in chances))
    return "best score {:.2f} (picture {:.2f}, sound {:.2f})".format(*chances)

"""`avloc localize`: clips > fake segments and timelines, in the formats of `--format`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from avloc.cli.arguments.help_texts import help_width
from avloc.cli.arguments.limits import add_longest_option, add_timeout_option
from avloc.cli.arguments.localizer import add_localizer_options, add_prior_option, pop_localizer_settings
from avloc.cli.arguments.parser import command_line, parser
from avloc.cli.arguments.values import existing_file, moment, path, positive, score, whole
from avloc.core.provenance import current_provenance
from avloc.core.suggestions import did_you_mean
from avloc.errors import AvlocError, shown
from avloc.inference.settings import LocalizerSettings
from avloc.localization.formats import FORMATS
from avloc.localization.options import EMBEDS, LIKELY_FORGED, THRESHOLD, OutputOptions

if TYPE_CHECKING:
    from tqdm import tqdm

    from avloc.core.descriptions import NetworkDescription
    from avloc.feature_extraction.media.types import Span
    from avloc.inference.folder import LocalizedClip
    from avloc.localization.result_folder import ClipJob, ResultFolder
    from avloc.localization.summary import FailedClip, SummaryEntry

EXAMPLE = """avloc localize --example --out timelines                        # a clip of avloc's with a planted forgery
  avloc localize suspicious.mp4 --out timelines --format json,html
  avloc localize speech.wav interview.mp4 --streams audio --out timelines
  avloc localize suspicious.mp4 --checkpoint demo/checkpoint.ckpt --out timelines
  avloc localize --verify timelines/suspicious.json suspicious.mp4  # is it what avloc makes of this clip?"""
VERIFY_OPTIONS = ("--verify", "--checkpoint", "--network", "--extractor", "--weights", "--device", "--longest")
"""Options beside --verify; all others are those that the result records."""
DEFAULT_FORMATS = ("json", "png", "html")


@dataclass(frozen=True, slots=True)
class LocalizeOptions:
    """The options of `avloc localize`; see its help."""

    localizer: LocalizerSettings
    clips: tuple[Path, ...]
    example: bool
    verify: Path | None
    out: Path
    formats: tuple[str, ...]
    output: OutputOptions
    keep: int
    span: Span
    prior: float
    skip_done: bool
    overwrite: bool
    workers: int
    timeout: float
    command: str

    def recorded(self) -> dict[str, object]:
        """The options that change results, as each result records them."""
        return {
            **self.localizer.recorded(keep=self.keep, span=self.span, prior=self.prior),
            "threshold": self.output.threshold,
            "embed": self.output.embed,
        }


def run(arguments: Sequence[str]) -> int:
    """Localize clips; return 0, or 1 if some failed, or 2 if all did. With --verify: 0 if a result is verified, else 1."""
    options = parse(arguments)
    if options.verify is not None:
        return _verify(options.verify, options)

    from avloc.inference.folder import find_clips
    from avloc.io.workers.processes import sigterm_as_interrupt
    from avloc.localization.result_folder import ResultFolder

    _check_folder(options.out)
    results = ResultFolder(options.out, options.formats, options.output)
    jobs = find_clips(options.clips)
    earlier = _earlier_entries(options, results, jobs) if options.skip_done else []
    done = {entry.name for entry in earlier}
    pending = [job for job in jobs if job.name not in done]
    if len(jobs) > 1:
        results.check_summary(jobs, overwrite=options.overwrite)
    if not options.overwrite:
        results.check_paths(pending, options.clips)
    with sigterm_as_interrupt():
        failed = _localize_and_summarize(options, results, pending, earlier, summary=len(jobs) > 1)
    for _, message in failed:
        print(f"avloc localize: error: {shown(message)}", file=sys.stderr)
    return 2 if failed and len(failed) == len(jobs) else 1 if failed else 0


def _verify(result: Path, options: LocalizeOptions) -> int:
    """Localize the clip of a result again and compare; return 0 if they agree, 1 if not."""
    from avloc.inference.verification import verify_result

    verification = verify_result(result, options.clips[0], options.localizer, longest_s=options.span.longest_s)
    print(verification.text(help_width()))
    return 0 if verification.is_verified else 1


def _earlier_entries(options: LocalizeOptions, results: ResultFolder, jobs: Sequence[ClipJob]) -> list[SummaryEntry]:
    """List the results of an earlier run by the same network with the same options; the others are made again."""
    from avloc.localization.summary import run_digest

    finished = [job for job in jobs if results.is_done(job)]
    hashes = options.localizer.network_hashes() if finished else ()
    runs = {run_digest(sha256, options.recorded()) for sha256 in hashes}
    entries = [entry for entry in results.earlier_entries(finished) if entry.row.run in runs]
    text = f"{len(entries)} of {len(jobs)} clips were localized by an earlier run"
    if others := len(finished) - len(entries):
        text += f"; {others} with another network or other options, or without a record of them: localized again"
    print(text)
    return entries


def _check_folder(out: Path) -> None:
    """Raise unless a folder exists or can be made, and files can be written into it."""
    existing = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise AvlocError(f"{existing}: is a file, want a folder for the output files; choose another --out")
    try:
        tempfile.TemporaryDirectory(prefix=".avloc-", dir=existing).cleanup()
    except OSError as error:
        raise AvlocError(
            f"{out}: cannot be written, {existing} takes no files ({error.strerror}); choose another --out"
        ) from error


def parse(arguments: Sequence[str]) -> LocalizeOptions:
    """Parse the command line.

    Raises:
        AvlocError: if a value is out of its range, the span is empty, or no clip is named.
    """
    from avloc.feature_extraction.media.types import Span

    namespace = _parser().parse_args(arguments)
    if namespace.start >= namespace.end:
        raise AvlocError(f"want --start < --end, got {namespace.start:g} and {namespace.end:g}")
    if namespace.verify is not None:
        _check_verify(namespace, arguments)
    if bool(namespace.clips) == namespace.example:
        raise AvlocError("want clips to localize, or --example alone (see avloc localize --help)")
    return LocalizeOptions(
        localizer=pop_localizer_settings(namespace),
        clips=(_example_clip(),) if namespace.example else tuple(namespace.clips),
        example=namespace.example,
        verify=namespace.verify,
        out=namespace.out,
        formats=namespace.format,
        output=OutputOptions(namespace.threshold, namespace.embed),
        keep=namespace.keep,
        span=Span(namespace.start, namespace.end, namespace.audio_track, namespace.longest),
        prior=namespace.prior,
        skip_done=namespace.skip_done,
        overwrite=namespace.overwrite,
        workers=namespace.workers,
        timeout=namespace.timeout,
        command=command_line("localize", arguments),
    )


def _check_verify(namespace: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Check that --verify has one clip, and no option that the result records."""
    names = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    unused = next((name for name in names if name not in VERIFY_OPTIONS), None)
    if unused is not None:
        raise AvlocError(f"--verify repeats what the result records, and writes nothing; leave out {unused}")
    if len(namespace.clips) != 1 or namespace.clips[0].is_dir():
        raise AvlocError("--verify wants one clip: avloc localize --verify result.json clip.mp4")


def _example_clip() -> Path:
    from avloc.datasets.synthetic.examples import EXAMPLE_CLIP, examples_folder

    return examples_folder() / EXAMPLE_CLIP


def _parser() -> argparse.ArgumentParser:
    options = parser("localize", EXAMPLE)
    options.add_argument(
        "clips",
        type=path,
        nargs="*",
        metavar="CLIP",
        help="a media file, or a folder of media files with its subfolders",
    )
    options.add_argument(
        "--example",
        action="store_true",
        help="localize a clip that comes with avloc, and tell which forgery was planted",
    )
    options.add_argument(
        "--verify",
        type=existing_file("result of avloc localize"),
        metavar="RESULT.json",
        help="localize the clip again by the checkpoint and with the settings that this result records, and compare; exit code 1 "
        "if the clip, the checkpoint or the result differ (default: none)",
    )
    options.add_argument(
        "--out", type=path, default=Path("."), help="folder of the output files (default: this folder)"
    )
    _add_output_options(options)
    _add_span_options(options)
    options.add_argument(
        "--skip-done",
        action="store_true",
        help="skip clips whose output files exist, if the same network made them with the same options; the json of each clip, "
        "or the summary, tells",
    )
    options.add_argument("--overwrite", action="store_true", help="overwrite files that may not be avloc's")
    _add_worker_options(options)
    add_localizer_options(options)
    return options


def _add_output_options(options: argparse.ArgumentParser) -> None:
    descriptions = "; ".join(f"{name}: {entry.description}" for name, entry in FORMATS.items())
    options.add_argument(
        "--format",
        type=_formats,
        default=DEFAULT_FORMATS,
        metavar="A,B",
        help=f"{descriptions} (default: {','.join(DEFAULT_FORMATS)})",
    )
    options.add_argument(
        "--keep", type=positive, default=100, help="at most this many segments per 40 s of a clip (default: 100)"
    )
    options.add_argument(
        "--threshold",
        type=score,
        help="lowest probability of a segment to print, and to show in every format (default: that of the network's operating "
        f"point, at least {LIKELY_FORGED:g}; for a checkpoint without a calibration of segments it is a score, by default "
        f"{THRESHOLD:g})",
    )
    add_prior_option(options)
    options.add_argument(
        "--embed",
        choices=EMBEDS,
        default="auto",
        help="embed the clip in its page, or link to it by a relative path (default: auto, which embeds up to 12 MB)",
    )


def _add_span_options(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--start",
        type=moment,
        default=0.0,
        metavar="T",
        help="skip everything before this time, as 83.5 (seconds) or 1:23.5 (default: 0)",
    )
    options.add_argument(
        "--end",
        type=moment,
        default=float("inf"),
        metavar="T",
        help="skip everything after this time, as 83.5 (seconds) or 1:23.5 (default: the clip's end)",
    )
    options.add_argument(
        "--audio-track",
        type=whole,
        help="audio track of a file with several, from 0 (default: the one marked as default, or else the first)",
    )


def _add_worker_options(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--workers",
        type=whole,
        default=1,
        help="processes, each with a network; 0 works in this one, where a clip that crashes ends the run (default: 1)",
    )
    add_timeout_option(options)
    add_longest_option(options)


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in FORMATS]:
        raise argparse.ArgumentTypeError(
            f"want formats of {', '.join(FORMATS)}, got {', '.join(unknown)}{did_you_mean(unknown[0], FORMATS)}"
        )
    return names


def _localize_and_summarize(
    options: LocalizeOptions,
    results: ResultFolder,
    jobs: Sequence[ClipJob],
    earlier: Sequence[SummaryEntry],
    *,
    summary: bool,
) -> list[FailedClip]:
    """Localize clips, print each, and write the summary even if the run is interrupted; return the clips that failed."""
    from avloc.inference.folder import LocalizedClip
    from avloc.localization.summary import SummaryEntry, SummaryRow
    from avloc.localization.text import network_text, report, summary_line

    entries: list[SummaryEntry] = []
    networks: list[NetworkDescription] = []
    failed: list[FailedClip] = []
    try:
        for outcome in _localize(options, results, jobs):
            if not isinstance(outcome, LocalizedClip):
                failed.append(outcome)
                continue
            job, localization = outcome
            threshold = options.output.threshold_for(localization)
            if len(jobs) > 1:
                if localization.network is not None and localization.network not in networks:
                    networks.append(localization.network)
                    print(f"network: {shown(network_text(localization.network))}", flush=True)
                print(summary_line(localization, threshold), flush=True)
            else:
                print(report(localization, threshold, results.paths(job)), flush=True)
                if options.example:
                    print(planted_line(job.clip), flush=True)
            entries.append(SummaryEntry(job.name, SummaryRow.from_localization(localization, threshold)))
    finally:
        if summary and (entries or failed or earlier):
            record = current_provenance(options.command, options.recorded())  # that of each clip names its network
            table = results.write_summary([*earlier, *entries], failed, record)
            print(f"{len(entries)} clips localized, {len(failed)} failed → {shown(table)}")
    return failed


def _localize(
    options: LocalizeOptions, results: ResultFolder, jobs: Sequence[ClipJob]
) -> Iterator[LocalizedClip | FailedClip]:
    """Localize clips under a progress bar; without clips, the checkpoint is not loaded."""
    from avloc.inference.folder import LocalizationJob, localize_clips

    if not jobs:
        return
    work = LocalizationJob(
        options.localizer.load_for_work,
        results,
        options.span,
        options.keep,
        options.recorded(),
        options.prior,
        options.command,
    )
    with _progress_bar() as bar:

        def progress(done_s: float, total_s: float) -> None:
            bar.total, bar.n = total_s, done_s
            bar.refresh()

        outcomes = localize_clips(work, jobs, workers=options.workers, timeout_s=options.timeout, progress=progress)
        for outcome in outcomes:
            with bar.external_write_mode():
                yield outcome


def _progress_bar() -> tqdm[NoReturn]:
    from tqdm import tqdm

    return tqdm(
        total=0.0,
        desc="localize",
        disable=None,
        bar_format="{desc}: {percentage:3.0f} % |{bar}| {n:.0f}/{total:.0f} s of clips [{elapsed}, {remaining} left]",
    )


def planted_line(clip: Path) -> str:
    """Format the forgeries that were planted in a clip of the package."""
    from avloc.core.records import MODALITIES
    from avloc.datasets.synthetic.examples import example_record

    record = example_record(clip)
    segments = [(m, segment) for m in MODALITIES for segment in record.modality_segments(m)]
    planted = ", ".join(f"{modality} {segment.start_s:.2f} – {segment.end_s:.2f} s" for modality, segment in segments)
    return f"  planted in this clip: {planted or 'nothing'}"

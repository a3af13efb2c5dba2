"""`avloc serve`: a web page that localizes uploaded clips."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avloc.cli.arguments.limits import default_workers
from avloc.cli.arguments.localizer import add_localizer_options, add_prior_option, pop_localizer_settings
from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import above_zero, duration, positive, score
from avloc.errors import AvlocError, shown
from avloc.localization.options import LIKELY_FORGED, THRESHOLD

if TYPE_CHECKING:
    from avloc.core.descriptions import NetworkDescription
    from avloc.inference.settings import LocalizerSettings
    from avloc.io.workers.supervision import Workers
    from avloc.web.limits import UploadLimits

EXAMPLE = """avloc serve
  avloc serve --checkpoint demo/checkpoint.ckpt --port 8000"""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SILENCE_S = 120.0  # a decoder that reports nothing for longer hangs
MAX_PORT = 65535
CLIPS_OF = {"both": "clips with audio and visual streams", "audio": "audio alone", "visual": "visual streams alone"}
"""The clips that each network of the package judges."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of `avloc serve`; see its help. Durations are in seconds."""

    localizer: LocalizerSettings
    host: str
    port: int
    largest: int
    total: int
    capacity: int
    longest: float
    parallel: int
    queue: int
    expire: float
    time_limit: float
    memory: float
    threshold: float | None
    prior: float

    def limits(self) -> UploadLimits:
        """The limits of the page."""
        from avloc.web.limits import UploadLimits

        return UploadLimits(
            max_megabytes=self.largest,
            total_megabytes=self.total,
            max_clips=self.capacity,
            max_duration_s=self.longest,
            concurrency=self.parallel,
            queue_size=self.queue,
            keep_s=self.expire,
            time_limit_s=self.time_limit,
            memory_bytes=int(self.memory * 2**30),
        )


def run(arguments: Sequence[str]) -> int:
    """Serve the page until the process is stopped; return 0."""
    options = parse(arguments)

    from avloc.web.server import listen, make_server, url_of
    from avloc.web.server_folder import server_folder

    # Listen first: a port that is in use is an error before the network is loaded.
    with listen(options.host, options.port) as listener, server_folder() as folder:
        # The web server ends in order and then raises the signal again; exit normally, so that the folder is removed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        from avloc.web.app import create_app
        from avloc.web.upload_queue import UploadQueue
        from avloc.web.upload_store import UploadStore

        queue = UploadQueue(UploadStore(folder, options.limits()), _worker_starter(options))
        own_network = None if options.localizer.checkpoint is None else queue.describe_network()
        server = make_server(create_app(queue, network=networks_text(options.localizer, own_network)))
        queue.start()
        try:
            if options.host not in LOOPBACK:
                print(f"avloc serve: listening on {shown(options.host)}: anyone who can reach it can use the page")
            url = url_of(options.host, listener.getsockname()[1])
            print(f"avloc serve: {shown(url)}  (Ctrl-C ends it)", flush=True)
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            print("avloc serve: stopped")
        finally:
            queue.close()
    return 0


def networks_text(localizer: LocalizerSettings, own_network: NetworkDescription | None = None) -> str:
    """Name the networks that serve, and the clips that each judges, for the page; a timeline names the one that judged it.

    Args:
        localizer: the checkpoint, or the streams of the package's networks.
        own_network: the description in the checkpoint.

    >>> from avloc.core.descriptions import NetworkDescription
    >>> from avloc.inference.settings import LocalizerSettings
    >>> networks_text(LocalizerSettings("runs/best.ckpt"), NetworkDescription("BATFD", scope="the split train of lavdf"))
    'Network: the checkpoint best.ckpt: BATFD, trained only on the split train of lavdf.'
    """
    from avloc.localization.text import network_text

    if localizer.checkpoint is not None:
        description = "" if own_network is None else f": {network_text(own_network)}"
        return f"Network: the checkpoint {localizer.file.name}{description}."
    from avloc.models.packaged import STREAMS, packaged_description

    if localizer.streams is not None:
        return f"Network for all clips: {network_text(packaged_description(localizer.streams))}."
    networks = {streams: packaged_description(streams) for streams in STREAMS}
    uses = ", ".join(f"{each.name} {each.version} for {CLIPS_OF[streams]}" for streams, each in networks.items())
    return f"Networks: {uses}; each timeline names its own. Trained only on {networks['both'].scope}."


def _worker_starter(options: ServeOptions) -> Callable[[], Workers]:
    """Make the function that starts the processes in which clips are decoded and localized."""
    from avloc.feature_extraction.media.types import WHOLE
    from avloc.io.workers.supervision import Processes
    from avloc.web.localize_job import LocalizeJob

    limits = options.limits()
    settings = options.localizer.recorded(span=WHOLE, prior=options.prior)
    job = LocalizeJob(options.localizer.load_for_work, limits, options.threshold, options.prior, settings=settings)
    return lambda: Processes(
        job,
        workers=options.parallel,
        timeout_s=min(SILENCE_S, limits.time_limit_s),
        memory_bytes=limits.memory_bytes,
        threads=max(1, default_workers() // options.parallel),
    )


def parse(arguments: Sequence[str]) -> ServeOptions:
    """Parse the command line.

    Raises:
        AvlocError: if a value is out of its range.
    """
    options = parser("serve", EXAMPLE)
    add_localizer_options(options)
    options.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; anyone who can reach it can use the page (default: 127.0.0.1, this machine only)",
    )
    options.add_argument(
        "--port", type=_port, default=7860, help="port to listen on; 0 takes any free one (default: 7860)"
    )
    _add_limits(options)
    options.add_argument(
        "--threshold",
        type=score,
        help="lowest probability of a segment, at which a timeline's slider starts (default: that of the network's operating "
        f"point, at least {LIKELY_FORGED:g}; for a checkpoint without a calibration of segments it is a score, by default "
        f"{THRESHOLD:g})",
    )
    add_prior_option(options)
    namespace = options.parse_args(arguments)
    if namespace.total < namespace.largest:
        raise AvlocError(f"want --total of at least --largest ({namespace.largest} MB), got {namespace.total}")
    return ServeOptions(pop_localizer_settings(namespace), **vars(namespace))


def _add_limits(options: argparse.ArgumentParser) -> None:
    limits = options.add_argument_group("limits")
    _add_time_limits(limits)
    limits.add_argument("--largest", type=positive, default=200, metavar="MB", help="largest clip (default: 200)")
    limits.add_argument(
        "--parallel",
        type=positive,
        default=1,
        help="clips that are localized at the same time, each in a process with its own network (default: 1)",
    )
    limits.add_argument("--queue", type=positive, default=20, help="clips that may wait (default: 20)")
    limits.add_argument(
        "--total",
        type=positive,
        default=4000,
        metavar="MB",
        help="size of everything that is kept at the same time, unfinished uploads included (default: 4000)",
    )
    limits.add_argument(
        "--capacity",
        type=positive,
        default=500,
        help="clips that are kept at the same time, without failed ones (default: 500)",
    )
    limits.add_argument(
        "--memory",
        type=above_zero,
        default=8.0,
        metavar="GIB",
        help="most memory of a process that localizes a clip, with the network; then it is ended (default: 8)",
    )


def _time_with_unit(text: str) -> float:
    """Read a length of time that says its unit: before, a bare number of these options meant minutes."""
    seconds = duration(text)
    if text.replace(".", "", 1).isdigit():
        raise argparse.ArgumentTypeError(f"want a unit, as {text}m or {text}s, got {text!r}")
    return seconds


def _add_time_limits(limits: argparse._ArgumentGroup) -> None:
    limits.add_argument(
        "--longest",
        type=_time_with_unit,
        default="30m",
        metavar="T",
        help="refuse clips that are longer, as 30m, 45s or 1:30:00 (default: 30m)",
    )
    limits.add_argument(
        "--expire",
        type=_time_with_unit,
        default="30m",
        metavar="T",
        help="remove timelines and their clips after this time, as 30m, 6h or 45s (default: 30m)",
    )
    limits.add_argument(
        "--time-limit",
        type=_time_with_unit,
        default="30m",
        metavar="T",
        help="longest time to localize a clip, as 30m or 45s; then its process is ended (default: 30m)",
    )


def _port(text: str) -> int:
    """Parse a port."""
    if not (text.isascii() and text.isdecimal() and int(text[:9]) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f"want a port of 0 to {MAX_PORT}, got {text!r}")
    return int(text)

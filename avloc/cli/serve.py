"""`avloc serve`: a web page that localizes uploaded clips."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avloc.cli.arguments import LocalizerOptions, add_localizer_options, parser, positive
from avloc.errors import AvlocError
from avloc.localization.options import THRESHOLD

EXAMPLE = "avloc serve --checkpoint demo/checkpoint.ckpt"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of `avloc serve`; see its help. Durations are in minutes."""

    localizer: LocalizerOptions
    host: str
    port: int
    largest: int
    longest: float
    parallel: int
    queue: int
    keep: float
    threshold: float


def run(arguments: Sequence[str]) -> int:
    """Serve the page until the process is stopped; return 0."""
    options = parse(arguments)

    from avloc.web.app import create_app
    from avloc.web.upload_localizer import UploadLimits

    localizer = options.localizer.load()
    localizer.source.prepare()
    limits = UploadLimits(
        max_megabytes=options.largest,
        max_duration_s=60 * options.longest,
        concurrency=options.parallel,
        queue_size=options.queue,
        keep_s=60 * options.keep,
    )
    with tempfile.TemporaryDirectory(prefix="avloc-serve-") as folder:
        app = create_app(localizer, Path(folder), limits, threshold=options.threshold)
        import uvicorn

        if options.host not in LOOPBACK:
            print(f"avloc serve: listening on {options.host}: anyone who can reach it can use the page")
        print(f"avloc serve: http://{options.host}:{options.port}  (Ctrl-C ends it)", flush=True)
        # uvicorn shuts down in order and then raises the signal again; exit normally, so that the folder is removed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
    return 0


def parse(arguments: Sequence[str]) -> ServeOptions:
    """Parse the command line.

    Raises:
        AvlocError: if a duration is not positive.
    """
    options = parser("serve", EXAMPLE)
    add_localizer_options(options)
    options.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; anyone who can reach it can use the page (default: 127.0.0.1, this machine only)",
    )
    options.add_argument("--port", type=positive, default=7860, help="port to listen on (default: 7860)")
    options.add_argument("--largest", type=positive, default=200, metavar="MB", help="largest clip (default: 200)")
    options.add_argument("--longest", type=float, default=30.0, metavar="MINUTES", help="longest clip (default: 30)")
    options.add_argument(
        "--parallel", type=positive, default=1, help="clips that are localized at the same time (default: 1)"
    )
    options.add_argument("--queue", type=positive, default=20, help="clips that may wait (default: 20)")
    options.add_argument(
        "--keep",
        type=float,
        default=30.0,
        metavar="MINUTES",
        help="time until timelines and their clips are removed (default: 30)",
    )
    options.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help=f"score that a timeline's slider starts at (default: {THRESHOLD:g})",
    )
    namespace = options.parse_args(arguments)
    if not (namespace.longest > 0 and namespace.keep > 0):
        raise AvlocError(f"want --longest and --keep > 0, got {namespace.longest:g} and {namespace.keep:g}")
    return ServeOptions(LocalizerOptions.pop(namespace), **vars(namespace))

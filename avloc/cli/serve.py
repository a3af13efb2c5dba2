"""`avloc serve`: a web page on which clips are localized."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from avloc.cli.main import add_network_options, add_weights_option, parser, positive

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    options = parser("serve", "avloc serve --checkpoint demo/checkpoint.ckpt")
    options.add_argument("--checkpoint", required=True, help="what `avloc train` or `avloc convert` wrote")
    options.add_argument(
        "--host", default="127.0.0.1",
        help="where to listen (default 127.0.0.1: this machine only); anyone who can reach another one can use the page",
    )  # fmt: skip
    options.add_argument("--port", type=positive, default=7860, help="(default 7860)")
    options.add_argument("--largest", type=positive, default=200, metavar="MB", help="of a clip (default 200)")
    options.add_argument("--longest", type=float, default=30.0, metavar="MINUTES", help="of a clip (default 30)")
    options.add_argument("--parallel", type=positive, default=1, help="clips worked on at once (default 1)")
    options.add_argument("--queue", type=positive, default=20, help="clips that may wait (default 20)")
    options.add_argument(
        "--keep", type=float, default=30.0, metavar="MINUTES", help="how long timelines are kept (default 30)"
    )
    options.add_argument(
        "--threshold", type=float, default=0.2, help="lowest score that is shown at first (default 0.2)"
    )
    add_weights_option(options)
    add_network_options(options)
    given = options.parse_args(arguments)

    from avloc.errors import AvlocError
    from avloc.inference.localizer import Localizer, require_device
    from avloc.web.app import Limits, create_app

    if not (given.longest > 0 and given.keep > 0):
        raise AvlocError(f"want --longest and --keep > 0, got {given.longest:g} and {given.keep:g}")
    localizer = Localizer.from_checkpoint(
        given.checkpoint, device=require_device(given.device), weights=dict(given.weights), precision=given.precision,
        decoding=given.decoding,
    )  # fmt: skip
    localizer.source.prepare()
    limits = Limits(given.largest, 60 * given.longest, given.parallel, given.queue, 60 * given.keep)
    with tempfile.TemporaryDirectory(prefix="avloc-serve-") as folder:
        app = create_app(localizer, Path(folder), limits, threshold=given.threshold)
        import uvicorn

        if given.host not in LOOPBACK:
            print(f"avloc serve: listening on {given.host}: anyone who can reach it can use the page")
        print(f"avloc serve: http://{given.host}:{given.port}  (Ctrl-C ends it)", flush=True)
        # uvicorn ends in good order, and then sends itself the signal again: the folder shall go even so.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        uvicorn.run(app, host=given.host, port=given.port, log_level="warning")
    return 0

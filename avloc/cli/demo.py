"""`avloc demo`: clips > features > network > predictions > scores > report, in one go."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avloc.cli.main import default_workers, parser, positive
from avloc.errors import AvlocError

DEFAULT_CLIPS = 480
EXTRACTORS = ("logspec", "residual_grid")
PROTOCOL = "lavdf"


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    options = parser(
        "demo",
        "avloc demo --out demo",
        description="generate clips, extract features, train, predict the unseen test clips, score, report. "
        "Needs nothing but this package; a second run reuses what is there, a stopped one goes on.",
    )
    options.add_argument(
        "--out", type=Path, default=Path("avloc-demo"), help="where everything goes (default avloc-demo)"
    )
    options.add_argument(
        "--clips", type=int, default=DEFAULT_CLIPS, help=f"how many to generate (default {DEFAULT_CLIPS})"
    )
    options.add_argument("--seed", type=int, default=0, help="of the clips and of the training (default 0)")
    options.add_argument("--epochs", type=positive, help="of the training (default: the configuration's)")
    options.add_argument(
        "--workers", type=positive, default=default_workers(), help="processes (default: one per core)"
    )
    given = options.parse_args(arguments)
    begin = time.monotonic()
    _claim(given)
    for number, (text, step) in enumerate(STEPS, start=1):
        print(f"[{number}/{len(STEPS)}] {text}", flush=True)
        at = time.monotonic()
        step(given)
        print(f"      {time.monotonic() - at:.0f} s", flush=True)
    _summary(given, time.monotonic() - begin)
    return 0


def _claim(given: Any) -> None:
    """Mark the folder as this demo's, or check that the one there was made with the same settings."""
    from avloc import __version__
    from avloc.io.files import read_json, write_json

    settings = {"version": __version__, "clips": given.clips, "seed": given.seed, "epochs": given.epochs}
    marker = given.out / "demo.json"
    if marker.is_file():
        there = read_json(marker, "marker of a demo")
        if there != settings:
            raise AvlocError(f"{given.out}: holds a demo made with {there}, now it is {settings}; name another --out")
    elif given.out.exists() and (not given.out.is_dir() or any(given.out.iterdir())):
        raise AvlocError(f"{given.out}: is not an empty folder, and no earlier demo; name another --out")
    else:
        from avloc.datasets.synthetic.composition import plan

        plan(given.clips, given.seed)  # an impossible size is an error before anything is written
        write_json(marker, settings)


def _synth(given: Any) -> None:
    from avloc.cli import synth

    synth.run([
        str(given.out / "clips"), "--layout", "lavdf", "--clips", str(given.clips), "--seed", str(given.seed),
        "--workers", str(given.workers),
    ])  # fmt: skip


def _extract(given: Any) -> None:
    from avloc.cli import extract

    code = extract.run([
        "--dataset", "lavdf", "--root", str(given.out / "clips"), "--store", str(given.out / "features"),
        "--extractors", ",".join(EXTRACTORS), "--workers", str(given.workers),
    ])  # fmt: skip
    if code:
        raise AvlocError(f"{given.out}: clips of the demo could not be read; remove the folder and run it again")


def _train(given: Any) -> None:
    from avloc.cli.train import train

    final, run_folder = given.out / "checkpoint.ckpt", given.out / "training"
    if final.is_file():
        print("      there before")
        return
    arguments = [
        "--config", "demo", "--data.root", str(given.out / "clips"), "--data.store", str(given.out / "features"),
        "--data.seed", str(given.seed), "--seed_everything", str(given.seed),
        "--trainer.default_root_dir", str(run_folder),
    ]  # fmt: skip
    if given.epochs is not None:
        arguments += ["--trainer.max_epochs", str(given.epochs)]
    last = run_folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        arguments += ["--resume", str(last)]
    if not sys.stderr.isatty():
        arguments += ["--trainer.enable_progress_bar", "false"]
    best = train(arguments)
    temporary = final.with_suffix(".tmp")
    shutil.copyfile(best, temporary)
    temporary.replace(final)


def _predict(given: Any) -> None:
    from avloc.cli import predict

    predict.run([
        "--checkpoint", str(given.out / "checkpoint.ckpt"), "--dataset", "lavdf", "--root", str(given.out / "clips"),
        "--split", "test", "--store", str(given.out / "features"), "--out", str(given.out / "predictions.json"),
    ])  # fmt: skip


def _evaluate(given: Any) -> None:
    from avloc.cli import evaluate

    with contextlib.redirect_stdout(io.StringIO()):  # the summary shows the table
        evaluate.run([
            str(given.out / "predictions.json"), str(given.out / "clips" / "metadata.min.json"), "--protocol", PROTOCOL,
            "--split", "test", "--json", str(given.out / "metrics.json"), "--report", str(given.out / "report.html"),
        ])  # fmt: skip


STEPS = (
    ("clips: generate mp4 files with forged words", _synth),
    (f"features: {' and '.join(EXTRACTORS)} into an HDF5 store", _extract),
    ("network: train BoundaryTransformer on the train split", _train),
    ("predictions: of the test split, people and words it never met", _predict),
    ("scores: AP and AR, report", _evaluate),
)


def _summary(given: Any, seconds: float) -> None:
    import json

    from avloc.evaluation.reporting.tables import as_text, score_table

    table = json.loads((given.out / "metrics.json").read_text())
    print(f"\n{as_text(score_table(table), title=False)}\n\ndone in {seconds / 60:.1f} minutes; in {given.out}/:")
    for name, what in (
        ("report.html", "the scores, curves and example timelines, for the browser"),
        ("metrics.json", "the scores"),
        ("predictions.json", "what was found in the test clips"),
        ("checkpoint.ckpt", "the trained network"),
    ):
        print(f"  {name:17} {what}")
    clip = given.out / "clips" / "test" / "000001.mp4"
    print(f"try it on one clip: avloc localize {clip} --checkpoint {given.out / 'checkpoint.ckpt'} --out {given.out}")

"""`avloc demo`: clips > features > network > predictions > scores > report, in one go."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avloc.cli.arguments.limits import default_workers
from avloc.cli.arguments.parser import parser
from avloc.cli.arguments.values import output_folder, positive, whole
from avloc.errors import AvlocError
from avloc.io.workers.processes import sigterm_as_interrupt

DEFAULT_CLIPS = 480
DEMO_EXTRACTORS = ("logspec", "residual_grid")
PROTOCOL = "lavdf"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of `avloc demo`; see its help."""

    out: Path
    clips: int
    seed: int
    epochs: int | None
    workers: int


def parse(arguments: Sequence[str]) -> DemoOptions:
    """Parse the command line."""
    options = parser(
        "demo",
        "avloc demo --out demo",
        description="Generate clips, extract features, train, predict the unseen test clips, score, report. Needs nothing but "
        "this package. A second run reuses what exists; a stopped one continues.",
    )
    options.add_argument(
        "--out", type=output_folder, default=Path("avloc-demo"), help="folder for everything (default: avloc-demo)"
    )
    options.add_argument(
        "--clips", type=whole, default=DEFAULT_CLIPS, help=f"number of clips to generate (default: {DEFAULT_CLIPS})"
    )
    options.add_argument("--seed", type=whole, default=0, help="seed of the clips and of the training (default: 0)")
    options.add_argument("--epochs", type=positive, help="training epochs (default: the configuration's)")
    options.add_argument(
        "--workers", type=positive, default=default_workers(), help="worker processes (default: one per core)"
    )
    return DemoOptions(**vars(options.parse_args(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run the steps one after another, and print the scores."""
    options = parse(arguments)
    begin = time.monotonic()
    _claim(options)
    with sigterm_as_interrupt():
        for number, (text, step) in enumerate(STEPS, start=1):
            print(f"[{number}/{len(STEPS)}] {text}", flush=True)
            step_begin = time.monotonic()
            try:
                step(options)
            except KeyboardInterrupt:
                print(f"      stopped in step {number} of {len(STEPS)}: {text.partition(':')[0]}", flush=True)
                raise
            print(f"      {time.monotonic() - step_begin:.0f} s", flush=True)
    _summarize(options, time.monotonic() - begin)
    return 0


def _claim(options: DemoOptions) -> None:
    """Mark the folder as this demo's, or check that it holds a demo of the same settings."""
    from avloc import __version__
    from avloc.io.files import read_json, write_json

    settings = {"version": __version__, "clips": options.clips, "seed": options.seed, "epochs": options.epochs}
    marker = options.out / "demo.json"
    if marker.is_file():
        earlier = read_json(marker, "marker of a demo")
        if earlier != settings:
            raise AvlocError(f"{options.out}: holds a demo of {earlier}, this one is {settings}; name another --out")
        state = "is finished; its scores are computed again" if _is_finished(options) else "was stopped; it goes on"
        print(f"the demo in {options.out} {state}", flush=True)
    elif options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise AvlocError(f"{options.out}: is not an empty folder, and no earlier demo; name another --out")
    else:
        from avloc.datasets.synthetic.composition import plan

        plan(options.clips, options.seed)  # fail on an impossible size before anything is written
        write_json(marker, settings)


def _is_finished(options: DemoOptions) -> bool:
    """Tell whether an earlier run came to its end, which writes the report."""
    return (options.out / "report.html").is_file()


def _synth(options: DemoOptions) -> None:
    from avloc.cli import synth

    out = options.out / "clips"
    numbers = ["--clips", str(options.clips), "--seed", str(options.seed), "--workers", str(options.workers)]
    synth.run([str(out), "--layout", "lavdf", *numbers])


def _dataset(options: DemoOptions) -> list[str]:
    return ["--dataset", "lavdf", "--root", str(options.out / "clips"), "--store", str(options.out / "features")]


def _extract(options: DemoOptions) -> None:
    from avloc.cli import extract

    extractors = ["--extractors", ",".join(DEMO_EXTRACTORS), "--workers", str(options.workers)]
    if extract.run([*_dataset(options), *extractors]):
        raise AvlocError(f"{options.out}: clips of the demo could not be read; remove the folder and run it again")


def _train(options: DemoOptions) -> None:
    from avloc.cli.train import parse as parse_training
    from avloc.io.files import copy_file
    from avloc.training.command import train

    final, run_folder = options.out / "checkpoint.ckpt", options.out / "training"
    if final.is_file():
        print("      done before")
        return
    words = ["--config", "demo", "--data.root", str(options.out / "clips")]
    words += ["--data.store", str(options.out / "features"), "--data.seed", str(options.seed)]
    words += ["--seed_everything", str(options.seed), "--trainer.default_root_dir", str(run_folder)]
    if options.epochs is not None:
        words += ["--trainer.max_epochs", str(options.epochs)]
    last = run_folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        words += ["--resume", str(last)]
    if not sys.stderr.isatty():
        words += ["--trainer.enable_progress_bar", "false"]
    best = train(parse_training(words).words)
    copy_file(best, final, sync=True)


def _predict(options: DemoOptions) -> None:
    from avloc.cli import predict

    files = ["--checkpoint", str(options.out / "checkpoint.ckpt"), "--out", str(options.out / "predictions.json")]
    predict.run([*files, *_dataset(options), "--split", "test"])


def _evaluate(options: DemoOptions) -> None:
    from avloc.cli import evaluate

    files = [str(options.out / "predictions.json"), str(options.out / "clips" / "metadata.min.json")]
    outputs = ["--json", str(options.out / "metrics.json"), "--report", str(options.out / "report.html")]
    evaluate.run([*files, "--protocol", PROTOCOL, "--split", "test", *outputs])


STEPS = (
    ("clips: generate mp4 files with forged words", _synth),
    (f"features: {' and '.join(DEMO_EXTRACTORS)} into an HDF5 store", _extract),
    ("network: train BoundaryTransformer on the train split", _train),
    ("predictions: for the test split, people and words the network never met", _predict),
    ("scores: AP and AR, report", _evaluate),
)


def _summarize(options: DemoOptions, seconds: float) -> None:
    print(f"\ndone in {seconds / 60:.1f} minutes; in {options.out}/:")
    for name, content in (
        ("report.html", "the scores, curves and example timelines, for the browser"),
        ("metrics.json", "the scores"),
        ("predictions.json", "the segments predicted in the test clips"),
        ("checkpoint.ckpt", "the trained network"),
    ):
        print(f"  {name:17} {content}")
    clip, checkpoint = options.out / "clips" / "test" / "000001.mp4", options.out / "checkpoint.ckpt"
    print(f"try it on one clip: avloc localize {clip} --checkpoint {checkpoint} --out {options.out}")

"""The facts of the package's networks > docs/model_card.md; every figure comes from a run's output file.

    python benchmarks/localization/model_card.py                # write the card again from the package's facts
    python benchmarks/localization/model_card.py --examples     # score the package's clips first

`train_packaged.py` writes the facts. A figure that was not measured is said to be missing.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaged.example_counts import score_examples
from packaged.facts import DataFacts, Facts, Figures
from scoring.naming import FOUND_IOU

from avloc.io.files import read_json, write_json, write_text
from avloc.models.packaged import FACTS, FOLDER

CARD = Path(__file__).parents[2] / "docs" / "model_card.md"
TITLES = {"both": "both streams", "audio": "sound alone", "visual": "pictures alone"}
COLUMNS = {"ap@0.5": "AP@.5", "ap@0.75": "AP@.75", "ap@0.9": "AP@.9", "ap@0.95": "AP@.95", "ar@10": "AR@10"}
MISSING, UNNAMED = "not measured", "not named by the metadata"
WIDTH = 136


def render(facts: Facts) -> str:
    """The card as Markdown."""
    sections = (_head, _identity, _data, _films, _speech, _figures, _examples, _footage, _failures)
    written = [[*section(facts)] for section in sections]
    return "\n".join(line for lines in written if lines for line in (*lines, "")).rstrip("\n") + "\n"


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    yield from (f"| {' | '.join(map(str, row))} |" for row in rows)


def _head(facts: Facts) -> Iterator[str]:
    yield "# Model card"
    yield ""
    yield "<!-- Written by benchmarks/localization/train_packaged.py; not by hand. -->"
    yield ""
    yield _paragraph(
        "avloc comes with three small networks, so that `avloc localize clip.mp4` and `avloc serve` work at once. They were "
        f"trained only on **{facts['networks']['both']['description']['scope']}**. On other footage they show how the tool "
        "works, not whether the footage is genuine: read the [limits](limits.md) before you tell anyone of a result."
    )


def _identity(facts: Facts) -> Iterator[str]:
    rows = []
    for streams, network in facts["networks"].items():
        described, training = network["description"], network["training"]
        epochs = f", {training['epochs']} epochs" if training["epochs"] else ""
        size = f"{network['parameters']:,} parameters, {network['bytes'] / 1e6:.2f} MB"
        rate = f", rate {training['lr']:g}" if training["lr"] else ""
        copies = training["copies"]
        augmented = f", {copies} augmented copies of each clip (`{training['recipe']}`)" if copies else ""
        trained = f"{described['date']}: configuration `{training['config']}`{epochs}{rate}{augmented}, seed {training['seed']}"
        identity = (described["version"], trained, size, f"`{described['sha256'][:12]}`")
        rows.append((described["name"], TITLES[streams], *identity))
    yield from _table(
        ("network", "judges", "version", "trained", "size (half precision)", "sha256 of the weights"), rows
    )
    yield ""
    features = "; ".join(
        f"{network['description']['name']}: {', '.join(f'`{name}`' for name in network['extractors'])}"
        for network in facts["networks"].values()
    )
    yield _paragraph(
        "A clip with sound and pictures goes to the first network; one with a single stream goes to the network that was trained "
        f"on that stream. Features: {features}. The networks have {facts['bytes'] / 1e6:.2f} MB together, the weights of "
        f"`whisper_packaged` {facts['speech_network_bytes'] / 1e6:.2f} MB; nothing else is needed."
    )


def _data(facts: Facts) -> Iterator[str]:
    data = facts["data"]
    numbers = {key: value for key, value in data["settings"].items() if value and isinstance(value, int | str)}
    settings = ", ".join(f"{key} {value}" for key, value in numbers.items())
    yield "## Data"
    yield ""
    yield _paragraph(
        f"Trained, calibrated and set on {data['title']}: {settings}. {_faces(data)}; words are forged by these methods:"
    )
    yield ""
    rows = [
        (
            split,
            ", ".join(f"{count} {kind}" for kind, count in counts["clips"].items()),
            ", ".join(f"{name} ({count})" for name, count in counts["methods"].items()) or UNNAMED,
        )
        for split, counts in data["splits"].items()
    ]
    yield from _table(("split", "clips, by forged modality", "methods (clips)"), rows)


def _faces(data: DataFacts) -> str:
    films = data["films"]
    if not films:
        return "Faces are drawn"
    clips = sum(int(count) for _, _, count, _ in films)
    return f"Faces are drawn, or, in {clips} clips of training and validation, those of real people in films"


def _films(facts: Facts) -> Iterator[str]:
    if not facts["data"]["films"]:
        return
    yield "### Films of real faces"
    yield ""
    yield _paragraph(
        "Examples and test data of other projects' packages. Stretches of them were paired with the speech below, which is not "
        "that of the persons, and mouths were replaced by others of the same film and painted by a method. No picture is part of "
        "the networks' files, and none of these persons is in the evaluation on real footage."
    )
    yield ""
    yield from _table(("film", "split", "clips", "package and file"), facts["data"]["films"])


def _speech(facts: Facts) -> Iterator[str]:
    yield "### Speech"
    yield ""
    yield _paragraph(
        "Recordings of these speakers, of which none is part of the networks' files. The networks are distributed under the "
        "package's licence."
    )
    yield ""
    yield from _table(("speaker", "languages", "split", "licence of the recordings"), facts["data"]["speech"])


def _figures(facts: Facts) -> Iterator[str]:
    yield "## Measured on generated clips"
    yield ""
    yield _paragraph(
        "Strict AP and AR, percent, of the half-precision networks. A clip counts as forged if it is forged in what the network "
        "judges. One training each, no interval. The operating point is the lowest score at which the genuine clips of the "
        "validation split have at most one false alarm per ten minutes; an alarm is a stretch of time that segments of at least "
        "that score cover."
    )
    yield ""
    flagged = ("forged clips flagged", "real clips flagged", "false alarms per minute")
    head = ("network", "split", "clips", *COLUMNS.values(), "clip AUC", *flagged)
    rows: list[tuple[str, ...]] = []
    for network in facts["networks"].values():
        name, measured = network["description"]["name"], network["figures"]
        rows += [(name, split, *_figure_cells(values)) for split, values in measured.items()]
        if "test" not in measured:
            rows.append((name, "test", MISSING, *[""] * (len(head) - 3)))
    yield from _table(head, rows)
    yield ""
    for network in facts["networks"].values():
        setting = network["setting"]
        yield _paragraph(
            f"- {network['description']['name']}: operating point {setting['threshold']:.2f}, at which {setting['clips']} "
            f"genuine clips ({setting['minutes']:.1f} minutes) of the validation split have {setting['alarms']} false alarms; "
            f"half precision changes a clip's best score there by at most {network['largest_change_by_half_precision']:.1g}."
            f"{_naming(network['description'].get('modality_share'))}"
        )


def _naming(share: float | None) -> str:
    if share is None:
        return ""
    return f" A segment is named after both modalities if the weaker one has at least {share:g} of the stronger one's score."


def _figure_cells(values: Figures) -> list[str]:
    real = values["clips"] - values["forged_clips"]
    alarms, auc = values["false_alarms_per_minute"], values["clip_auc"]
    return [
        f"{values['forged_clips']} forged, {real} real",
        *(f"{100 * values[column]:.1f}" for column in COLUMNS),
        MISSING if auc is None else f"{auc:.3f}",
        f"{values['forged_clips_flagged']} of {values['forged_clips']}",
        f"{values['real_clips_flagged']} of {real}",
        MISSING if alarms is None else f"{alarms:.2f} in {values['real_minutes']:.1f} minutes",
    ]


def _examples(facts: Facts) -> Iterator[str]:
    yield "## Measured on the clips of the package"
    yield ""
    counts = facts.get("examples")
    if counts is None:
        yield f"The clips of `avloc.datasets.examples_folder()`: {MISSING}."
        return
    clips = counts["real_clips"] + counts["forged_clips"]
    real, forged, segments = (
        f"{counts[part]} of {counts[whole]}"
        for part, whole in (
            ("real_clips_flagged", "real_clips"),
            ("forged_clips_flagged", "forged_clips"),
            ("segments_found", "segments"),
        )
    )
    yield _paragraph(
        f"The {clips} clips of `avloc.datasets.examples_folder()`, each at the operating point of its network: "
        f"{real} genuine clips are flagged, and {forged} forged ones; {segments} forged segments are found (IoU of at least "
        f"{FOUND_IOU:g}). So few clips measure little; they show how the tool works."
    )


def _footage(facts: Facts) -> Iterator[str]:
    yield "## Measured on real footage"
    yield ""
    footage = facts["footage"]
    if footage is None:
        yield f"False alarms per minute, clip AUC and AP on real footage: {MISSING}."
        return
    total, setting = footage["groups"]["all"], footage["setting"]
    alarms = _interval(footage["false_alarms_per_minute"], 1, 2)
    yield _paragraph(
        f"{footage['sources']} real talking-head clips ({footage['footage_minutes']:.1f} minutes), versions of which were forged "
        f"by methods that no training met: {', '.join(footage['methods'])}. Threshold {setting['threshold']:.3g}. Of "
        f"{total['real']} real clips {footage['real_flagged']} were flagged; false alarms per minute: {alarms}. 95 % intervals "
        "over the clips of the footage."
    )
    yield ""
    rows = [
        (
            name,
            f"{group['forged']} + {group['real']}",
            _interval(group["metrics"].get("auc"), 1, 2),
            *(_interval(group["metrics"].get(metric)) for metric in COLUMNS),
            f"{group['flagged']} of {group['forged']}",
        )
        for name, group in footage["groups"].items()
    ]
    yield from _table(("forged", "clips: forged + real", "clip AUC", *COLUMNS.values(), "forged clips flagged"), rows)


def _interval(value: Mapping[str, float | None] | None, factor: float = 100, digits: int = 1) -> str:
    if value is None or value.get("value") is None:
        return MISSING
    point, low, high = (value.get(key) for key in ("value", "low", "high"))
    text = f"{factor * float(point or 0.0):.{digits}f}"
    return text if low is None or high is None else f"{text} ({factor * low:.{digits}f}–{factor * high:.{digits}f})"


def _failures(facts: Facts) -> Iterator[str]:
    yield "## Where they fail"
    yield ""
    films = len(facts["data"]["films"])
    faces = f"drawn faces and {films} short films of real ones" if films else "drawn faces"
    yield f"- They know {faces}: the table above tells what they say of the pictures of other people."
    yield "- A forgery by a method that is not in the table of the data is found less often, or not at all."
    yield "- Strong compression, noise reduction, cuts, dubbing and filters look like forgery, or hide it."
    yield "- Voices, languages and recordings unlike those of the table may be judged worse."
    yield "- The operating point holds for clips like those of the validation split, and for no others."
    yield ""
    yield "To judge real forgeries, train a network on real sets ([LAV-DF](lavdf.md), [your own clips](your-clips.md))."


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the card of the package's facts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", action="store_true", help="score the package's clips first")
    facts: Facts = read_json(FOLDER / FACTS, "facts of the package's networks")
    if parser.parse_args(arguments).examples:
        facts["examples"] = score_examples(FOLDER)
        write_json(FOLDER / FACTS, facts)
    write_text(CARD, render(facts))
    print(CARD)


if __name__ == "__main__":
    main()

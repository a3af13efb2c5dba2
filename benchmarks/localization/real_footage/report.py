"""The scores of one system on real footage > Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avloc.evaluation.bootstrap import Interval
from real_footage.pairs import FootageClips
from real_footage.scores import METRICS, FootageResult


def format_interval(interval: Interval, factor: float = 100, digits: int = 1) -> str:
    """A value and its interval.

    >>> format_interval(Interval(0.5, 0.25, 0.75, None))
    '50.0 (25.0–75.0)'
    """
    return "{} ({}–{})".format(*(f"{factor * x:.{digits}f}" for x in (interval.value, interval.low, interval.high)))


def group_table(result: FootageResult) -> list[str]:
    """The scores of all groups as lines of Markdown."""
    head = [
        "forged",
        "clips: forged + real",
        *(name.upper() for name in METRICS),
        "clip AUC",
        "flagged",
        "found",
        "named",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, group in result.groups.items():
        cells = [name, f"{group.forged} + {group.real}"]
        cells += [format_interval(group.metrics[metric]) for metric in METRICS]
        cells += [format_interval(group.metrics["auc"], 1, 2), f"{group.flagged} of {group.forged}"]
        cells += [f"{group.segments_found} of {group.segments}", describe_names(group.named)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def describe_names(named: Mapping[str, int] | None) -> str:
    """The modalities that found segments are said to be forged in."""
    return (
        "" if named is None else ", ".join(f"{count} {name}" for name, count in named.items() if count) or "none found"
    )


def alarm_lines(result: FootageResult) -> list[str]:
    """The false alarms in words."""
    setting = result.setting
    real = result.groups["all"].real
    return [
        f"Real clips flagged: {result.real_flagged} of {real}, of {result.sources_flagged} of the {result.sources} clips of the "
        f"footage. False alarms per minute: {format_interval(result.false_alarms, 1, 2)}, in {result.real_minutes:.1f} minutes "
        f"({result.footage_minutes:.1f} of different footage).",
        f"Threshold: a score of {setting.threshold:.4g}, at which the {setting.clips} real clips of the validation split "
        f"({setting.minutes:.1f} minutes) have {setting.alarms} alarms; one per ten minutes is allowed.",
    ]


def clip_table(result: FootageResult) -> list[str]:
    """The outcome for each clip as lines of Markdown, without intervals."""
    lines = ["| clip | methods | best score | alarms | found | named |", "|---|---|---|---|---|---|"]
    for clip in result.clips:
        methods = ", ".join(f"{key}: {name}" for key, name in clip.methods.items()) or "real"
        named = ", ".join(name or "–" for name in clip.named)
        segments = f"{clip.segments_found} of {clip.segments}" if clip.segments else ""
        lines.append(f"| {clip.file} | {methods} | {clip.score:.3f} | {clip.alarms} | {segments} | {named} |")
    return lines


def document(system: str, result: FootageResult, clips: FootageClips, settings: Mapping[str, Any]) -> str:
    """The tables of a system as Markdown."""
    lines = [
        f"**Real footage**, {system}: {result.sources} clips, {len(clips.records)} versions of them, half of them forged; "
        f"words by {settings['words']}; strict, percent, 95 % intervals over the clips of the footage",
        "",
        *group_table(result),
        "",
        *(line for text in alarm_lines(result) for line in (text, "")),
    ]
    if clips.left_out:
        lines += [f"Left out: {'; '.join(f'{name} ({reason})' for name, reason in clips.left_out.items())}", ""]
    return "\n".join([*lines, *clip_table(result), ""])

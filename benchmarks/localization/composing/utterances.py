"""A speaker's phrases > an utterance > edits of some words, forged or genuine > one timeline to the sample.

An utterance is a row of stretches of recordings, with pauses between. It stays as it was spoken but for its edits: a phrase is
replaced by another one of another recording, or inserted, or words are left out. A forged edit and a genuine one are made
alike; rendering re-voices and repaints the forged ones. All clips of a source begin with the same utterance.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from composing.phrases import LONGEST_PHRASE_S, SHORTEST_WORD_S, Random, Samples, Span, Speech

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic.speech_pieces import MARGIN_SAMPLES, join_pieces

CHANGES = ("replace", "insert", "delete")
CHANGE_SHARES = (0.5, 0.3, 0.2)
FORGED_COUNT_SHARES = (0.5, 0.3, 0.2)  # of clips with one, two and three forged edits
MOST_EDITS = 4  # forged and genuine
SHORTEST_CLIP_S, LONGEST_CLIP_S = 3.0, 10.0
FEWEST_WORDS = 10
PAUSE_S = (0.05, 0.4)  # between stretches of two recordings
LEAD_S = (0.04, 0.25)  # of a recording before the first and behind the last word of a stretch
LENGTH_RATIO = (0.6, 1.67)  # of a new phrase to the one that it replaces, at most
LEVEL_RATIO = (0.8, 1.25)
LONGEST_JOIN_S = 0.6  # of the neighbourhood of a deletion that is made again
MOST_WORDS = 12  # of a changed phrase
KEPT_S = 0.04  # of the words around a deletion that its neighbourhood leaves, so that two edits never touch
CLOSEST = 4  # phrases of about the drawn length; one of them is changed


class Edit(NamedTuple):
    """A change of the words.

    Attributes:
        change: one of `CHANGES`.
        audio: true if the sound is forged.
        visual: true if the mouth is forged.
        mouth: the sound that moves the mouth, if it is another than the one that is heard.
        reach: samples before and behind the join of a deletion that belong to it.
    """

    change: str
    audio: bool
    visual: bool
    mouth: Samples | None = None
    reach: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, the sound between two words, or the join of a deletion (of length 0).

    Attributes:
        span: of the recordings.
        gain: factor of its loudness.
        is_word: true for words and new phrases.
        pause: samples of silence before.
        edit: number of the edit that it comes from.
        is_free: false beside an edit, so that two edits never touch.
    """

    span: Span
    gain: float = 1.0
    is_word: bool = False
    pause: int = 0
    edit: int | None = None
    is_free: bool = True


@dataclass(frozen=True, slots=True)
class Timeline:
    """Edited words in time.

    Attributes:
        samples: (N,) the utterance with its edits, before anything is forged.
        mouth: (N,) the sound that moves the mouth.
        words: begin and end of each word in samples.
        edits: the edits.
        spans: begin and end of each edit in samples.
    """

    samples: Samples
    mouth: Samples
    words: list[tuple[int, int]]
    edits: list[Edit]
    spans: list[tuple[int, int]]


# The utterance.


def draw_utterance(rng: Random, speech: Speech) -> list[Token]:
    """Draw stretches of recordings until they last long enough."""
    seconds = SHORTEST_CLIP_S + (LONGEST_CLIP_S - SHORTEST_CLIP_S) * rng.beta(1.2, 2.4)
    missing = round(seconds * DEFAULT_SAMPLE_RATE)
    tokens: list[Token] = []
    for number in rng.permutation(len(speech.recordings)):
        stretch = _draw_stretch(rng, speech, int(number), missing)
        pause = round(rng.uniform(*PAUSE_S) * DEFAULT_SAMPLE_RATE)
        tokens += [replace(stretch[0], pause=pause), *stretch[1:]]
        missing -= pause + sum(token.span.length for token in stretch)
        if missing <= 0 and sum(token.is_word for token in tokens) >= FEWEST_WORDS:
            break
    return tokens


def _draw_stretch(rng: Random, speech: Speech, number: int, missing: int) -> list[Token]:
    """Take consecutive words of about `missing` samples from a recording, with the sound around them."""
    words = speech.words[number]
    starts = [k for k, word in enumerate(words) if words[-1].end - word.begin >= missing]
    first = int(rng.choice(starts)) if starts else 0
    last = next((k for k in range(first, len(words)) if words[k].end - words[first].begin >= missing), len(words) - 1)
    lead, tail = (rng.uniform(*LEAD_S, size=2) * DEFAULT_SAMPLE_RATE).astype(int).tolist()
    # The margins at both ends of a recording are silence.
    lowest = words[first - 1].end if first else MARGIN_SAMPLES
    highest = words[last + 1].begin if last + 1 < len(words) else len(speech.recordings[number]) - MARGIN_SAMPLES
    begin, end = max(lowest, words[first].begin - lead), max(words[last].end, min(highest, words[last].end + tail))
    tokens = [Token(Span(number, min(begin, words[first].begin), words[first].begin))]
    for word, until in zip(
        words[first : last + 1], [*(w.begin for w in words[first + 1 : last + 1]), end], strict=True
    ):
        tokens += [Token(word, is_word=True), Token(Span(number, word.end, until))]
    return tokens


# The edits.


class EditedUtterance(NamedTuple):
    """Tokens, and the edits that they name by number."""

    tokens: list[Token]
    edits: list[Edit]


class EditOrder(NamedTuple):
    """An edit to be made: its change, and which modalities are forged."""

    change: str
    audio: bool = False
    visual: bool = False


def draw_orders(rng: Random, kind: str, change: str) -> list[EditOrder]:
    """Draw the edits of a clip; the first one is forged, unless the clip is real.

    Real clips have genuine edits where forged clips have forged ones, and otherwise the same, so that neither the number of
    edits nor their changes tell them apart.

    Args:
        rng: source of randomness.
        kind: `real`, `audio`, `visual` or `both`.
        change: of the forged edits, one of `CHANGES`.
    """
    audio, visual = kind in ("audio", "both"), kind in ("visual", "both")
    main = EditOrder(draw_change(rng) if kind == "real" else change, audio, visual)
    alike = int(rng.choice([1, 2, 3], p=FORGED_COUNT_SHARES))
    total = max(alike, int(rng.integers(1, MOST_EDITS + 1)))
    others = [main] * (alike - 1) + [EditOrder(draw_change(rng)) for _ in range(total - alike)]
    return [main, *(others[k] for k in rng.permutation(len(others)))]


def draw_change(rng: Random) -> str:
    """Draw one of `CHANGES`."""
    return str(rng.choice(CHANGES, p=CHANGE_SHARES))


def draw_seconds(rng: Random) -> float:
    """Draw the length of a changed phrase, log-uniformly."""
    return float(np.exp(rng.uniform(np.log(SHORTEST_WORD_S), np.log(LONGEST_PHRASE_S))))


def edit_utterance(
    rng: Random, speech: Speech, tokens: Sequence[Token], orders: Sequence[EditOrder]
) -> EditedUtterance:
    """Make edits one after the other; edits without free words left are not made."""
    edited = EditedUtterance(list(tokens), [])
    for order in orders:
        phrases = list(_free_phrases(edited.tokens, order.change))
        if not phrases:
            break
        seconds = draw_seconds(rng)
        misfit = [abs(np.log(_length(edited.tokens, *phrase) / DEFAULT_SAMPLE_RATE / seconds)) for phrase in phrases]
        closest = np.argsort(misfit, kind="stable")[:CLOSEST] if order.change != "insert" else np.arange(len(phrases))
        first, last = phrases[int(rng.choice(closest))]
        edited = _EDITORS[order.change](rng, speech, edited, order, first, last, seconds)
    return edited


def _free_phrases(tokens: Sequence[Token], change: str) -> Iterator[tuple[int, int]]:
    """First and last token of each row of words that a change may take: free ones of one recording, not at an end of the clip."""
    words = [k for k, token in enumerate(tokens) if token.is_word or token.edit is not None]
    for k in range(1, len(words) - 1):
        for n in range(k, min(len(words) - 1, k + (1 if change == "insert" else MOST_WORDS))):
            first, last = words[k], words[n]
            is_same = tokens[last].span.recording == tokens[first].span.recording
            if (
                not (tokens[last].is_free and is_same)
                or _length(tokens, first, last) > LONGEST_PHRASE_S * DEFAULT_SAMPLE_RATE
            ):
                break
            # A deletion takes in the words around it, so these must not touch another edit.
            if change != "delete" or (tokens[words[k - 1]].is_free and tokens[words[n + 1]].is_free):
                yield first, last


def _length(tokens: Sequence[Token], first: int, last: int) -> int:
    return tokens[last].span.end - tokens[first].span.begin


def _level(speech: Speech, tokens: Sequence[Token]) -> float:
    """Root mean square of words."""
    return float(np.sqrt(np.mean(np.concatenate([t.gain * speech.samples(t.span) for t in tokens if t.is_word]) ** 2)))


def _new_phrase(rng: Random, speech: Speech, tokens: Sequence[Token], seconds: float, level: float) -> Token:
    """A phrase of another recording, at a level."""
    seconds = float(np.clip(seconds, SHORTEST_WORD_S, LONGEST_PHRASE_S))
    span = speech.choose_phrase(rng, seconds, [*{token.span.recording for token in tokens}])
    rms = np.sqrt(np.mean(speech.samples(span) ** 2))
    return Token(span, float(level * rng.uniform(*LEVEL_RATIO) / max(rms, 1e-4)), is_word=True)


def _replace(
    rng: Random, speech: Speech, edited: EditedUtterance, order: EditOrder, first: int, last: int, seconds: float
) -> EditedUtterance:
    """Replace the tokens `first` to `last` by a phrase, or only their mouth.

    The mouth keeps the old words if the sound alone is forged. If the mouth alone is, it speaks other words than those heard,
    or it is made for genuine words that replace the old ones.
    """
    tokens = edited.tokens
    old = tokens[first : last + 1]
    shortest, longest = np.array(LENGTH_RATIO) * _length(tokens, first, last) / DEFAULT_SAMPLE_RATE
    new = _new_phrase(rng, speech, tokens, float(np.clip(seconds, shortest, longest)), _level(speech, old))
    whole = Span(old[0].span.recording, old[0].span.begin, old[-1].span.end)
    mouth = speech.samples(whole) * np.float32(old[0].gain) if order.audio and not order.visual else None
    if order.visual and not order.audio and rng.random() < 0.5:
        mouth = speech.samples(new.span) * np.float32(new.gain)
        new = replace(old[0], span=whole)
    return _with_edit(edited, Edit(order.change, order.audio, order.visual, mouth), first, last + 1, new)


def _insert(
    rng: Random, speech: Speech, edited: EditedUtterance, order: EditOrder, first: int, last: int, seconds: float
) -> EditedUtterance:
    """Insert a phrase before the word `first`; its level is the word's."""
    tokens = edited.tokens
    new = _new_phrase(rng, speech, tokens, seconds, _level(speech, tokens[first : first + 1]))
    mouth = None
    if order.audio != order.visual and (order.audio or rng.random() < 0.5):
        other = _new_phrase(rng, speech, tokens, seconds, _level(speech, tokens[first : first + 1]))
        mouth = speech.samples(other.span) * np.float32(other.gain)
    return _with_edit(edited, Edit(order.change, order.audio, order.visual, mouth), first, first, new)


def _delete(
    rng: Random, speech: Speech, edited: EditedUtterance, order: EditOrder, first: int, last: int, seconds: float
) -> EditedUtterance:
    """Leave out the tokens `first` to `last` and all up to the words around; as in AV-Deepfake1M, the join is made again."""
    tokens = edited.tokens
    words = [k for k, token in enumerate(tokens) if token.is_word or token.edit is not None]
    before, behind = words[words.index(first) - 1], words[words.index(last) + 1]
    length = min(seconds, LONGEST_JOIN_S) * DEFAULT_SAMPLE_RATE
    share = rng.uniform(0.35, 0.65)
    shortest = SHORTEST_WORD_S * DEFAULT_SAMPLE_RATE / 2
    kept = KEPT_S * DEFAULT_SAMPLE_RATE
    reach = (
        int(max(shortest, min(share * length, tokens[before].span.length - kept))),
        int(max(shortest, min((1 - share) * length, tokens[behind].span.length - kept))),
    )
    join = Token(Span(tokens[behind].span.recording, tokens[behind].span.begin, tokens[behind].span.begin))
    return _with_edit(edited, Edit(order.change, order.audio, order.visual, None, reach), before + 1, behind, join)


def _with_edit(edited: EditedUtterance, edit: Edit, first: int, end: int, new: Token) -> EditedUtterance:
    """Put a token in the place of the tokens `first` to `end` - 1, and block the words beside it."""
    new = replace(new, edit=len(edited.edits), is_free=False)
    left, right = list(edited.tokens[:first]), list(edited.tokens[end:])
    for side, order in ((left, range(len(left) - 1, -1, -1)), (right, range(len(right)))):
        nearest = next((k for k in order if side[k].is_word or side[k].edit is not None), None)
        if nearest is not None:
            side[nearest] = replace(side[nearest], is_free=False)
    return EditedUtterance([*left, new, *right], [*edited.edits, edit])


_EDITORS = {"replace": _replace, "insert": _insert, "delete": _delete}


# The timeline.


def lay_out(speech: Speech, edited: EditedUtterance) -> Timeline:
    """Lay tokens on a line. Neighbours of a recording stay joined as they are, all other joins are short cross-fades."""
    starts, position = [], 0
    for token in edited.tokens:
        position += token.pause
        starts.append(position)
        position += token.span.length
    pieces = []
    for start, span, gain in _runs(edited.tokens, starts):
        pieces.append((start, speech.samples(span, MARGIN_SAMPLES) * np.float32(gain)))
    samples = join_pieces(pieces, position)
    spans: list[tuple[int, int]] = [(0, 0)] * len(edited.edits)
    for start, token in zip(starts, edited.tokens, strict=True):
        if token.edit is not None:
            before, behind = edited.edits[token.edit].reach
            spans[token.edit] = (start - before, start + token.span.length + behind)
    words = [(s, s + t.span.length) for s, t in zip(starts, edited.tokens, strict=True) if t.is_word]
    return Timeline(samples, _mouth_line(samples, edited.edits, spans), words, edited.edits, spans)


def _runs(tokens: Sequence[Token], starts: Sequence[int]) -> Iterator[tuple[int, Span, float]]:
    """Start, span and gain of each row of tokens that follow each other in a recording."""
    timed = [(s, t) for s, t in zip(starts, tokens, strict=True) if t.span.length > 0]
    breaks = [
        k
        for k, ((_, a), (_, b)) in enumerate(itertools.pairwise(timed), 1)
        if b.pause or a.gain != b.gain or (a.span.recording, a.span.end) != (b.span.recording, b.span.begin)
    ]
    for first, end in itertools.pairwise([0, *breaks, len(timed)]):
        (start, head), (_, tail) = timed[first], timed[end - 1]
        yield start, Span(head.span.recording, head.span.begin, tail.span.end), head.gain


def _mouth_line(samples: Samples, edits: Sequence[Edit], spans: Sequence[tuple[int, int]]) -> Samples:
    """The sound that moves the mouth: the clip's own, with the stretched sound of `Edit.mouth` in its edits."""
    line = samples.copy()
    for edit, (begin, end) in zip(edits, spans, strict=True):
        if edit.mouth is not None:
            position = np.linspace(0, len(edit.mouth) - 1, end - begin)
            line[begin:end] = np.interp(position, np.arange(len(edit.mouth)), edit.mouth)
    return line


def seconds(spans: npt.ArrayLike) -> list[tuple[float, float]]:
    """Spans in samples → in seconds.

    >>> seconds([(8000, 12345)])
    [(0.5, 0.771563)]
    """
    rows = np.asarray(spans, dtype=np.float64).reshape(-1, 2) / DEFAULT_SAMPLE_RATE
    return [(round(begin, 6), round(end, 6)) for begin, end in rows.tolist()]

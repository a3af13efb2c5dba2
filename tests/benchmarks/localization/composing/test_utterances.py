from __future__ import annotations

import itertools

import numpy as np
import pytest


@pytest.fixture
def edited(speech):
    """A function that draws an utterance and makes edits: seed, orders → edited utterance."""
    from composing.utterances import draw_utterance, edit_utterance

    def draw(seed, *orders):
        tokens = draw_utterance(np.random.default_rng(seed), speech)
        return edit_utterance(np.random.default_rng([seed, 1]), speech, tokens, orders)

    return draw


def test_utterance_without_edits_is_what_was_spoken(speech, edited):
    from composing.utterances import lay_out

    timeline = lay_out(speech, edited(3))
    assert 3 <= len(timeline.samples) / 16000 < 13
    assert len(timeline.words) >= 10
    recordings = np.concatenate(speech.recordings)
    for begin, end in timeline.words:
        middle = timeline.samples[begin + 100 : end - 100]
        start = np.flatnonzero(recordings == middle[0])
        assert any(np.array_equal(recordings[k : k + len(middle)], middle) for k in start)
    np.testing.assert_array_equal(timeline.samples, timeline.mouth)


@pytest.mark.parametrize("change", ["replace", "insert", "delete"])
def test_edits_change_the_length_and_lie_apart_on_no_grid(speech, edited, change):
    from composing.utterances import EditOrder, lay_out

    begins = []
    for seed in range(8):
        before = lay_out(speech, edited(seed))
        after = lay_out(speech, edited(seed, *[EditOrder(change, audio=True)] * 3))
        assert [edit.change for edit in after.edits] == [change] * len(after.edits)
        assert len(after.edits) >= 1
        difference = len(after.samples) - len(before.samples)
        assert {"replace": difference != 0, "insert": difference > 1500, "delete": difference < -1500}[change]
        spans = sorted(after.spans)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
        assert all(1670 <= end - begin <= 1.5 * 16000 for begin, end in spans)
        assert spans[0][0] > 0
        assert spans[-1][1] < len(after.samples)
        begins += [begin for begin, _ in spans]
    assert len({begin % 320 for begin in begins}) > len(begins) / 2


def test_a_deletion_joins_the_words_around(speech, edited):
    from composing.utterances import EditOrder

    utterance = edited(2, EditOrder("delete", audio=True))
    k = next(k for k, token in enumerate(utterance.tokens) if token.edit == 0)
    assert utterance.tokens[k].span.length == 0
    assert utterance.tokens[k - 1].is_word
    assert utterance.tokens[k + 1].is_word
    before, behind = utterance.edits[0].reach
    assert 0 < before < utterance.tokens[k - 1].span.length
    assert 0 < behind < utterance.tokens[k + 1].span.length


def test_sound_alone_keeps_the_old_mouth(speech, edited):
    from composing.utterances import EditOrder, lay_out

    for change, differs in (("replace", True), ("insert", True), ("delete", False)):
        timeline = lay_out(speech, edited(4, EditOrder(change, audio=True)))
        [(begin, end)] = timeline.spans
        assert np.array_equal(timeline.samples[begin:end], timeline.mouth[begin:end]) != differs
        np.testing.assert_array_equal(timeline.samples[end:], timeline.mouth[end:])
    both = lay_out(speech, edited(4, EditOrder("replace", audio=True, visual=True)))
    np.testing.assert_array_equal(both.samples, both.mouth)


def test_mouth_alone_leaves_the_sound_or_splices_genuine_words(speech, edited):
    from composing.utterances import EditOrder, lay_out

    is_sound_kept = []
    for seed in range(10):
        before, after = lay_out(speech, edited(seed)), lay_out(speech, edited(seed, EditOrder("replace", visual=True)))
        is_sound_kept.append(np.array_equal(before.samples, after.samples))
        assert is_sound_kept[-1] != np.array_equal(after.samples, after.mouth)
    assert 1 <= sum(is_sound_kept) <= 9


def test_a_new_phrase_is_as_loud_as_the_words_it_replaces(speech, edited):
    from composing.utterances import LEVEL_RATIO, EditOrder

    original, utterance = edited(5), edited(5, EditOrder("replace", audio=True))
    [new] = [token for token in utterance.tokens if token.edit == 0]
    levels = [np.sqrt(np.mean(speech.samples(t.span) ** 2)) for t in original.tokens if t.is_word]
    level = new.gain * np.sqrt(np.mean(speech.samples(new.span) ** 2))
    assert LEVEL_RATIO[0] * min(levels) <= level <= LEVEL_RATIO[1] * max(levels)


def test_numbers_of_edits_are_alike_in_real_and_forged_clips():
    from composing.utterances import draw_orders

    rng = np.random.default_rng(0)
    drawn = {kind: [draw_orders(rng, kind, "insert") for _ in range(900)] for kind in ("real", "audio", "both")}
    shares = {kind: np.bincount([*map(len, clips)], minlength=5) / len(clips) for kind, clips in drawn.items()}
    # At most one forged in half of the clips, two in .3, three in .2, and a total of 1 to 4 at random if that is more.
    for kind in drawn:
        assert shares[kind] == pytest.approx([0, 0.125, 0.275, 0.35, 0.25], abs=0.06)
    for kind in ("audio", "both"):
        assert all(orders[0] == ("insert", True, kind == "both") for orders in drawn[kind])
        forged = np.bincount([sum(order.audio for order in orders) for orders in drawn[kind]], minlength=4) / 900
        assert forged == pytest.approx([0, 0.5, 0.3, 0.2], abs=0.06)
    assert not any(order.audio or order.visual for orders in drawn["real"] for order in orders)
    assert {orders[0].change for orders in drawn["real"]} == {"replace", "insert", "delete"}


def test_lengths_are_log_uniform():
    from composing.utterances import draw_seconds

    drawn = np.log([draw_seconds(np.random.default_rng(k)) for k in range(800)])
    low, high = np.log([0.105, 1.5])
    np.testing.assert_allclose(np.quantile(drawn, [0, 0.25, 0.5, 0.75, 1]), np.linspace(low, high, 5), atol=0.15)


def test_no_room_for_an_edit():
    from composing.phrases import Span
    from composing.utterances import EditOrder, Token, edit_utterance

    tokens = [Token(Span(0, 0, 2000), is_word=True), Token(Span(0, 2000, 4000), is_word=True)]
    assert edit_utterance(np.random.default_rng(0), None, tokens, [EditOrder("replace")]) == (tokens, [])

"""Moods, gestures and calls are read out of a reply: as events, never shown, never split. Sentences as events."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from modkit.engine import Call, Sentence, Stream, Tag
from modkit.engine.marks import MAX_CALL, MarkReader
from modkit.engine.sentences import MAX_LENGTH, Sentences
from modkit.testing import FakeEngine

TAGS = {"mood": {"wary", "calm"}, "gesture": {"nod"}}

# what the model wrote, what is shown, what happens
REPLIES = [
    ("Hello <mood:wary> there.", "Hello there.", [Tag("mood", "wary", 6)]),
    ("<mood:calm>Good evening.", "Good evening.", [Tag("mood", "calm", 0)]),
    ("<mood:calm> Good evening.", "Good evening.", [Tag("mood", "calm", 0)]),
    ("So.<gesture:nod>", "So.", [Tag("gesture", "nod", 3)]),
    ("a <mood:nope> b <mood:we are> c", "a b c", []),
    ("a < b, <3, <b>bold</b>, <<mood:calm>", "a < b, <3, <b>bold</b>, <", [Tag("mood", "calm", 25)]),
    ('Take it. <do:give {"item":"lamp"}>', "Take it. ", [Call("give", '{"item":"lamp"}', 9)]),
    ('<do:say {"to":"a>b \\" }{"}>', "", [Call("say", '{"to":"a>b \\" }{"}', 0)]),
    ("<do:refuse {}><do:wave>", "", [Call("refuse", "{}", 0), Call("wave", "{}", 0)]),
    ("x <do:give", "x ", []),
    ('x <do:give {"a":[1,{"b":"', "x ", []),
    ('<do:give {"a":1} x> after', "after", []),
    ("<do:give nonsense> after\nnext", "after\nnext", []),
    ("<do:give nonsense\nnext", "\nnext", []),
    ("the end <", "the end <", []),
    ("the end <mo", "the end ", []),
    ("<do:" + "x" * 50 + "> y", "y", []),
    ('<tool_call>\n{"name":"give","arguments":{"a":1}}\n</tool_call>ok', "ok", [Call("give", '{"a": 1}', 0)]),
    ("<tool_call>{broken</tool_call>ok", "ok", []),
    ("no marks at all, é 一", "no marks at all, é 一", []),
]


def read(pieces: Iterable[str]) -> tuple[str, list[object]]:
    reader = MarkReader(TAGS, calls=True, tools=True)
    shown, marks = "", []
    for piece in pieces:
        text, found = reader.feed(piece)
        shown += text
        marks += found
    text, found = reader.end()
    return shown + text, [*marks, *found]


def cuts(text: str, rng: random.Random) -> list[str]:
    places = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randint(0, 9)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]


@pytest.mark.parametrize(("written", "shown", "events"), REPLIES, ids=[r[0][:30] for r in REPLIES])
def test_marks_come_as_events_however_the_text_is_cut(written: str, shown: str, events: list[object]) -> None:
    rng = random.Random(1)
    assert read([written]) == (shown, events)
    assert read(written) == (shown, events)
    for _ in range(60):
        assert read(cuts(written, rng)) == (shown, events)


def test_no_prefix_of_a_mark_is_ever_shown() -> None:
    written = 'Well <mood:wary> then <do:give {"item":"a lamp"}> go'
    for end in range(len(written)):
        reader = MarkReader(TAGS, calls=True)
        shown = "".join(reader.feed(char)[0] for char in written[:end])
        assert "<" not in shown and "Well then go".startswith(shown)


def test_hostile_replies_neither_hang_nor_grow() -> None:
    for written in ("<do:x {" + "[" * 100_000, '<do:x {"' + "a" * 100_000, "<mood:" + "a" * 100_000, "<" * 10_000):
        reader = MarkReader(TAGS, calls=True, tools=True)
        for at in range(0, len(written), 50):
            reader.feed(written[at : at + 50])
            assert len(reader._held) <= MAX_CALL + 100
        reader.end()


def test_a_streams_text_has_no_marks_and_its_events_arrive_in_the_tick() -> None:
    engine = FakeEngine(['Hm. <mood:wary> Take it, friend. <do:give {"item":"lamp"}> Go now'])
    stream = engine.chat([{"role": "user", "content": "?"}]).expect(moods=["wary"], calls=True)
    heard: list[object] = []
    stream.on_mood(lambda name: heard.append(("mood", name)))
    stream.on_sentence(heard.append)
    shown = ""
    while not stream.done:
        engine.tick()
        shown += stream.take()
        assert "<" not in shown
    assert shown == stream.text == "Hm. Take it, friend. Go now"
    assert stream.raw.startswith("Hm. <mood:wary>")
    assert heard == ["Hm.", ("mood", "wary"), "Take it, friend.", "Go now"] or heard == [
        ("mood", "wary"), "Hm.", "Take it, friend.", "Go now"]  # fmt: skip
    assert [type(event) for event in stream.events if not isinstance(event, Sentence)] == [Tag, Call]


def test_whoever_listens_late_hears_everything() -> None:
    engine = FakeEngine(["One. Two <gesture:nod> three."])
    stream = engine.chat([{"role": "user", "content": "?"}]).expect(gestures=["nod"])
    stream.result(5)
    heard: list[str] = []
    stream.on_gesture(heard.append)
    stream.on_sentence(heard.append)
    assert heard == ["nod", "One.", "Two three."]


def test_a_mistake_of_a_listener_costs_no_words(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(["One. Two. Three."])
    stream = engine.chat([{"role": "user", "content": "?"}])
    stream.on_sentence(lambda text: 1 / 0)  # type: ignore[arg-type]
    assert stream.result(5) == "One. Two. Three."
    assert "ZeroDivisionError" in caplog.text


def test_a_cancelled_reply_does_nothing_more() -> None:
    engine = FakeEngine(['Wait. <do:give {"item":"lamp"}> <mood:wary>'], pace=0.5)
    stream: Stream = engine.chat([{"role": "user", "content": "?"}]).expect(moods=["wary"], calls=True)
    while not stream.text:
        engine.tick()
    stream.cancel()
    for _ in range(20):
        engine.tick()
    assert stream.done and stream.events == ()


SENTENCES = [
    ('I am Dr. Bram, of St. Ives. Wait... what? "Go away!" she said. "Go!" Then 3.5 miles, e.g. far.',
     ["I am Dr. Bram, of St. Ives.", "Wait... what?", '"Go away!" she said.', '"Go!"', "Then 3.5 miles, e.g. far."]),
    ("J. R. Marsh came. So did I. He left…  And came back.",
     ["J. R. Marsh came.", "So did I.", "He left…", "And came back."]),
    ("He said no. At 3 p.m. sharp. Oh!! No?! Yes.", ["He said no.", "At 3 p.m. sharp.", "Oh!!", "No?!", "Yes."]),
    ("今日は。元気？はい！「行く。」と言った。終わり",
     ["今日は。", "元気？", "はい！", "「行く。」", "と言った。", "終わり"]),
    ("One\nTwo. Three\n\nFour", ["One", "Two.", "Three", "Four"]),
    ("1. Take it. 2. Go.", ["1. Take it.", "2. Go."]),
    ("*sighs.* Fine. (He left.) Done", ["*sighs.*", "Fine.", "(He left.)", "Done"]),
    ("Él dijo: ¡No! ¿Qué? Sí.", ["Él dijo: ¡No!", "¿Qué?", "Sí."]),
    ("", []), ("   ", []), ("...", ["..."]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SENTENCES, ids=[s[0][:20] for s in SENTENCES])
def test_sentences_are_told_apart_however_the_text_is_cut(text: str, expected: list[str]) -> None:
    rng = random.Random(2)
    for pieces in ([text], list(text), *(cuts(text, rng) for _ in range(60))):
        splitter = Sentences()
        found = [sentence for piece in pieces for sentence in splitter.feed(piece)]
        assert [*found, *splitter.end()] == expected


def test_a_text_without_an_end_is_cut_at_a_word() -> None:
    splitter = Sentences()
    found = [s for _ in range(400) for s in splitter.feed("and so on ")]
    assert found and all(len(sentence) <= MAX_LENGTH and sentence.endswith(("and", "so", "on")) for sentence in found)


def test_sentences_await_in_a_coroutine() -> None:
    engine = FakeEngine(["One. Two. Three."])
    stream = engine.chat([{"role": "user", "content": "?"}])
    heard: list[str] = []

    async def listen() -> None:
        async for sentence in stream.sentences():
            heard.append(sentence)

    task = listen()
    waiting = task.send(None)
    for _ in range(50):
        engine.tick()
        if waiting.ready():
            try:
                waiting = task.send(None)
            except StopIteration:
                break
    assert heard == ["One.", "Two.", "Three."]

"""Makes the conversations that Sable is trained on, without end and the same for the same seed.

A conversation is her card, then turns on changing subjects in exactly the form in which play asks (``prompt``).
Where a reply comes from: the hand-written topics, her dump, invented facts that have to be copied out of a memory,
things noticed, and questions that nobody in Corrow could answer.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dump
import invented
import topics

SPEAKER = "Sable"
OTHERS = ("Bram", "Crake", "Hob", "Nell", "Pip")
GO_ON = topics.forms(
    """
    why | tell me more | and then | go on | why is that | how so | what else | really |
    what happened then | can you say more | what do you mean | why not | more | please go on |
    is that all | how come | and | what happened next | tell me why | I want to hear more |
    how do you know | are you sure | that is interesting, go on | oh? go on
    """
)
ABOUT_LINE = topics.forms(
    """
    what about {a} | tell me about {a} | tell me about {a} and {b} | what do you know about {a} |
    what of {a} and {b} | do you remember {a} | {a} and {b} | what was that about {a} |
    did you say something about {a} | {a} | I heard something about {a} and {b} |
    what happened with {a} and {b} | is it true about {a} | any news of {a} |
    have you anything to say about {a} | what do you think about {a}
    """
)
OPENERS = ("", "", "", "", "", "Well. ", "I remember. ", "Listen. ", "Hm. ", "I will tell you. ", "Plainly, then. ")
PLAIN = frozenset(
    re.findall(
        r"\S+",
        "a an and are as at be been but by can did do does for from had has have he her hers him his how "
        "i if in into is it its me my no not of off on one or our out she so some than that the their "
        "them then there they this to too two up us was we were what when where which who why will with "
        "would you your about know tell say said any all am like there's it's don't today even went saw "
        "could just here really now ever never much many still may must might shall should get got give "
        "go come came see make made want let please keeper sable thing things something anything nothing "
        "also very well yes ",
    )
)


def prompt(player: str, memories: Sequence[str] = (), facts: Sequence[str] = ()) -> str:
    """The content of one user message, as play builds it: memories (best last), facts, the player's words."""
    lines: list[str] = []
    if memories:
        lines += ["You remember:", *(f"* {text}" for text in memories)]
    if facts:
        lines += ["You notice:", *(f"* {text}" for text in facts)]
    return "\n".join([*lines, "Player: " + " ".join(player.split())])


def cut(text: str, limit: int = 160) -> str:
    """``text`` in at most ``limit`` characters, cut at a word as play cuts a long memory."""
    return text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0].rstrip(",;:") + "\u2026"


def words(text: str) -> list[str]:
    """The words of ``text`` that say what it is about."""
    return [w for w in re.findall(r"[a-z']+", text.lower()) if w not in PLAIN and len(w) > 2]


@dataclass(frozen=True)
class Memory:
    """A line of the dump as play shows it, and what is searched for it: its own words and those of its cue."""

    speaker: str
    said: str
    text: str
    search: str

    @classmethod
    def of(cls, line: dump.Line) -> Memory:
        text = line.text if line.speaker == SPEAKER else f"{line.speaker} said: {line.text}"
        return cls(line.speaker, line.text, cut(text), f"{line.text} {line.cue}")


class Index:
    """BM25 over the dump: training has to show the model the same kind of hits, and misses, as play will."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.memories = list(memories)
        self.bags = [Counter(words(memory.search)) for memory in self.memories]
        self.mean = sum(sum(bag.values()) for bag in self.bags) / max(1, len(self.bags))
        self.holders: dict[str, list[int]] = {}
        for number, bag in enumerate(self.bags):
            for word in bag:
                self.holders.setdefault(word, []).append(number)

    def weight(self, word: str) -> float:
        """How much a shared ``word`` counts; 0 for a word that no line has."""
        held = len(self.holders.get(word, ()))
        return math.log(1 + (len(self.memories) - held + 0.5) / (held + 0.5)) if held else 0.0

    def best(self, question: str, count: int) -> list[tuple[float, Memory]]:
        """The ``count`` memories nearest to ``question``, best first, each with its score."""
        scores: dict[int, float] = {}
        for word in sorted(set(words(question))):
            for number in self.holders.get(word, ()):
                bag = self.bags[number]
                tf = bag[word] * 2.2 / (bag[word] + 1.2 * (0.25 + 0.75 * sum(bag.values()) / self.mean))
                own = 1.0 if self.memories[number].speaker == SPEAKER else 0.55
                scores[number] = scores.get(number, 0.0) + self.weight(word) * tf * own
        ranked = sorted(scores, key=lambda n: (-scores[n], n))[:count]
        return [(scores[n], self.memories[n]) for n in ranked]


class Corpus:
    """Draws conversations. Needs her card, her topics and her dump; ``seed`` decides everything else.

    ``more`` takes in the wordings of topics/more as well, which the shipped model has not seen.
    """

    def __init__(self, home: Path, seed: int, more: bool = False) -> None:
        self.rng = random.Random(seed)
        self.more = more
        self.simple = False  # few memories: for the first lessons
        self.card = (home / "card.txt").read_text(encoding="utf-8").strip()
        written = home / "train" / "topics"
        self.topics = topics.read(*sorted(written.glob("*.txt")), *sorted(written.glob("more/*.txt") if more else ()))
        self.asked = [topic for topic in self.topics if topic.questions]
        self.seen = [topic for topic in self.topics if topic.facts]
        said = dump.read(home / "dump")
        self.lines = [line.text for line in said if line.speaker == SPEAKER]
        known = [Memory.of(line) for line in said if line.speaker == SPEAKER or line.speaker in OTHERS]
        self.telling = [memory for memory in known if len(memory.said.split()) > 6 and words(memory.said)]
        self.own = [memory for memory in self.telling if memory.speaker == SPEAKER]
        self.cues = list(self._cues(said))
        self.index = Index(known)

    @staticmethod
    def _cues(said: Sequence[dump.Line]) -> Iterator[tuple[str, str]]:
        """Questions of the player in the dump, each with all that she says before anybody else speaks."""
        for number, line in enumerate(said):
            if line.speaker == SPEAKER and line.cue and said[number - 1].speaker not in OTHERS:
                reply = line.text
                for after in said[number + 1 : number + 3]:
                    if after.speaker != SPEAKER or after.cue or len((reply + after.text).split()) > 38:
                        break
                    reply += " " + after.text
                yield line.cue, reply

    def texts(self) -> Iterator[str]:
        """What the vocabulary is learned from: every written line, and a few thousand turns."""
        yield self.card
        for topic in self.topics:
            yield from topic.questions + topic.answers * 4 + topic.more * 4 + topic.facts
        yield from self.lines * 4
        for _ in range(12000):
            for content, reply in self.turns():
                yield content
                yield reply

    def memories(self, question: str) -> list[tuple[float, Memory]]:
        """What retrieval would find for ``question``, best last, each with its score."""
        found = self.index.best(question, 6)
        if self.rng.random() < 0.7:
            found = [hit for hit in found[:3] if hit[0] >= 0.3 * found[0][0]]
        else:
            found = self.rng.sample(found, min(self.rng.choice((1, 2, 3)), len(found)))
        return sorted(found, key=lambda hit: hit[0])

    def quote(self, memory: Memory) -> str:
        """What she says when a memory is the answer: her own words again, or somebody else's as theirs."""
        if memory.speaker == SPEAKER:
            return self.rng.choice(OPENERS) + memory.text
        return self.rng.choice(("{0} said: {1}", "{0} says: {1}", "As {0} put it: {1}")).format(
            memory.speaker, memory.said
        )

    def fact(self) -> str:
        """Something noticed that this reply passes over."""
        if self.seen and self.rng.random() < 0.6:
            return self.rng.choice(self.rng.choice(self.seen).facts)
        return invented.noticed(self.rng)[0]

    def topic_turns(self) -> Iterator[tuple[str, str]]:
        """A question on a written topic, with or without memories, and now and then a request to go on."""
        rng = self.rng
        topic = rng.choice(self.asked)
        question = topic.ask(rng, self.more)
        reply = rng.choice(topic.answers)
        memories: list[str] = []
        if rng.random() < (0.1 if self.simple else 0.6):
            hits = self.memories(question)
            memories = [memory.text for _, memory in hits]
            if hits and hits[-1][0] > 6 and rng.random() < 0.35:
                near = hits[-1][1]
                if len(set(words(near.said)) & set(words(question))) >= 2:
                    reply = self.quote(near)
        elif rng.random() < 0.2:
            memories = [memory.text for memory in rng.sample(self.telling, rng.choice((1, 2)))]
        facts = [self.fact()] if rng.random() < 0.06 else []
        yield prompt(question, memories, facts), reply
        if topic.more and rng.random() < 0.3:
            yield prompt(topics.reword(rng.choice(GO_ON), rng)), rng.choice(topic.more)

    def line_turn(self) -> tuple[str, str]:
        """A question made of a dump line's rarest words; the line stands among the memories and is the answer."""
        rng = self.rng
        if self.cues and rng.random() < 0.35:
            cue, reply = rng.choice(self.cues)
            memories = [memory.text for _, memory in self.memories(cue)] if rng.random() < 0.5 else []
            return prompt(topics.reword(cue, rng), memories), reply
        memory = rng.choice(self.own if rng.random() < 0.8 else self.telling)
        rare = sorted(set(words(memory.said)), key=lambda w: (-self.index.weight(w), w))[:5]
        a, b = rng.sample(rare, 2) if len(rare) > 1 else rare * 2
        a, b = (rng.choice(("", "the ")) + word for word in (a, b))
        question = topics.reword(rng.choice(ABOUT_LINE).format(a=a, b=b), rng)
        others = [other.text for other in rng.sample(self.telling, 2) if other != memory][: rng.choice((0, 0, 1, 2))]
        return prompt(question, [*others, memory.text]), self.quote(memory)

    def invented_turn(self) -> tuple[str, str]:
        memory, question, reply, others = invented.remembered(self.rng)
        if self.rng.random() < 0.3:
            others = [self.rng.choice(self.telling).text]
        return prompt(topics.reword(question, self.rng), [*others, memory]), reply

    def noticed_turn(self) -> tuple[str, str]:
        """A greeting or a question while something is to be seen; her reply takes up what she sees."""
        rng = self.rng
        if not self.seen or rng.random() < 0.35:
            fact, remark = invented.noticed(rng)
        else:
            topic = rng.choice(self.seen)
            fact, remark = rng.choice(topic.facts), rng.choice(topic.answers)
        hello = [topic for topic in self.asked if topic.name in ("hello", "how are you", "look at me")]
        asked = rng.choice(hello if hello and rng.random() < 0.7 else self.asked)
        facts = [fact] if rng.random() < 0.8 else [self.fact(), fact]
        reply = remark
        if asked not in hello and len(remark.split()) < 16:
            reply += " " + rng.choice(asked.answers)
        return prompt(asked.ask(rng, self.more), (), facts), reply

    def strange_turn(self) -> tuple[str, str]:
        question, reply = (invented.strange if self.rng.random() < 0.6 else invented.nosy)(self.rng)
        memories = [memory.text for memory in self.rng.sample(self.telling, self.rng.choice((0, 0, 1, 2)))]
        return prompt(topics.reword(question, self.rng), memories), reply

    def turns(self) -> Iterator[tuple[str, str]]:
        """One turn, or two when the player asks her to go on: (user content, reply)."""
        kind = self.rng.choices(range(5), (70, 4, 12, 6, 8) if self.simple else (56, 14, 15, 8, 7))[0]
        if kind == 0:
            yield from self.topic_turns()
        else:
            yield (self.line_turn, self.invented_turn, self.noticed_turn, self.strange_turn)[kind - 1]()

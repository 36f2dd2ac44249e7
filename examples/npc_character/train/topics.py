"""What the hand-written topics say, and the many ways in which a player may word one question.

A topic file is plain text, blocks apart by a blank line::

    == tides                        a name, for people
    S: thing the tide               a subject: the stock questions of its kind are added (person, place, thing)
    Q: when is low tide | is the tide out
    N: The tide is low.             a fact that play may notice (for topics that answer to what is seen)
    A: Twice a day, like manners.   an answer; several lines, any of them will do
    F: The moon pulls it.           what she adds when asked to go on, or why
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

ABOUT = (
    "tell me about {s}", "what about {s}", "what do you know about {s}", "what can you tell me about {s}",
    "do you know {s}", "what do you think of {s}", "{s}", "I want to know about {s}", "I heard about {s}",
    "can you tell me about {s}", "what do people say about {s}", "could you tell me something about {s}",
    "I would like to hear about {s}", "talk to me about {s}", "I have a question about {s}",
)  # fmt: skip
STOCK = {
    "person": (
        "who is {s}", "what is {s} like", "have you met {s}", "who's {s}", "is {s} a friend of yours", "do you like {s}",
        "I met {s} today", "do you know someone called {s}", "what sort of person is {s}", "I just talked to {s}",
        "who was that, {s}", "is {s} a good person", "describe {s}", "how do you know {s}", "can I trust {s}",
    ),
    "place": (
        "what is {s}", "where is {s}", "what's {s}", "where can I find {s}", "how do I get to {s}", "is {s} far",
        "have you been to {s}", "what is {s} like", "where's {s}", "which way to {s}", "what happens at {s}",
        "I am looking for {s}", "what will I find at {s}", "should I visit {s}", "I saw {s} today",
    ),
    "thing": (
        "what is {s}", "what's {s}", "explain {s}", "what do you mean by {s}", "have you seen {s}", "what was {s}",
        "is it true about {s}", "what is so special about {s}", "someone told me about {s}", "why do people talk about {s}",
    ),
}  # fmt: skip
BEFORE = (
    "Sable, ", "So, ", "So ", "Please, ", "Excuse me, ", "Tell me, ", "Keeper, ", "And ", "But ", "Hey, ", "Well, ", "Hello. ",
    "Hi, ", "Good evening. ", "Hm. ", "Ok, ", "One more thing. ", "I wonder, ", "I was wondering, ", "Just asking, ", "Now, ",
    "Can I ask, ", "I just arrived. ", "Nell sent me. ", "I have a question. ", "Forgive me, but ", "I forgot: ", "It is cold tonight. ",
    "Bram told me to ask you: ", "Do you know, ", "Can you tell me, ", "Could you tell me, ", "I want to ask you, ", "May I ask, ", "Listen, ", "Oh, ", "Ah. ", "By the way, ", "Sorry, ", "I must ask, ", "Good day. ", "Right. ",
)  # fmt: skip
AFTER = (
    ", Sable", ", please", ", keeper", ", then", " exactly", " really", ", if I may ask", ", do you think", ", in your opinion",
    " here", " in Corrow", " these days", " now", ", would you say", ", anyway", " in this town", " around here", " today",
)  # fmt: skip
SWAPS = (
    (r"\bdo you know\b", "d'you know"), (r"\bwhat is\b", "what's"), (r"\bwho is\b", "who's"), (r"\bwhere is\b", "where's"),
    (r"\bdo not\b", "don't"), (r"\btell me\b", "can you tell me"), (r"\btell me\b", "tell"), (r"\byou\b", "u"),
    (r"\bis there\b", "is there really"), (r"\bwhat is\b", "what was"), (r"\bdid\b", "did really"), (r"\bthe lamp\b", "your lamp"),
    (r"\bthe lamp\b", "the light"), (r"\bcan I\b", "may I"), (r"\bcan I\b", "could I"), (r"\bI am\b", "I'm"), (r"\bare you\b", "r u"),
    (r"\bdo you\b", "did you"), (r"\bdo you\b", "do you ever"), (r"\bhow do I\b", "how can I"), (r"\bgoing to\b", "gonna"),
    (r"\bhave you\b", "did you"), (r"\bCorrow\b", "this town"), (r"\bthe town\b", "Corrow"), (r"\bwant to\b", "wanna"),
    (r"\bcan you\b", "could you"), (r"\bcan you\b", "will you"), (r"\bpeople\b", "folk"), (r"\blike\b", "really like"),
)  # fmt: skip
LITTLE = frozenset(
    re.findall(r"\w+", "the a an do does did is are was of to you your me i it in on can could would there")
)


@dataclass
class Topic:
    """One thing a stranger may ask about. ``facts`` is only filled for topics about what is noticed."""

    name: str
    questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)


def _add(topic: Topic, mark: str, rest: str, where: str) -> None:
    if mark == "Q":
        topic.questions += [q.strip() for q in rest.split("|") if q.strip()]
    elif mark == "N":
        topic.facts += [n.strip() for n in rest.split("|") if n.strip()]
    elif mark == "A":
        topic.answers.append(rest)
    elif mark == "F":
        topic.more.append(rest)
    elif mark == "S":
        kind, _, subjects = rest.partition(" ")
        for subject in subjects.split("|"):
            topic.questions += [form.format(s=subject.strip()) for form in STOCK[kind] + ABOUT]
    else:
        raise ValueError(f"{where}: a line starts with ==, S:, Q:, N:, A: or F:, not {mark!r}")


def read(folder: Path) -> list[Topic]:
    """Every topic in ``folder/*.txt``. Raises ``ValueError`` with the place of a line that is not understood."""
    topics: list[Topic] = []
    for path in sorted(folder.glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{path.name}:{number}"
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("=="):
                topics.append(Topic(line.strip("= \n")))
                continue
            mark, colon, rest = line.partition(":")
            if not colon or not topics:
                raise ValueError(f"{where}: expected 'X: text' inside a topic")
            _add(topics[-1], mark.strip(), rest.strip(), where)
    for topic in topics:
        if not topic.answers or not (topic.questions or topic.facts):
            raise ValueError(f"topic {topic.name!r} lacks questions or answers")
    return topics


def _typo(word: str, rng: random.Random) -> str:
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]


def reword(question: str, rng: random.Random) -> str:
    """``question`` as one more player would type it: other openings, dropped marks, lower case, a slip of the finger."""
    text = question.rstrip("?.! ")
    if rng.random() < 0.22:
        for pattern, other in rng.sample(SWAPS, len(SWAPS)):
            changed = re.sub(pattern, other, text, count=1, flags=re.IGNORECASE)
            if changed != text:
                text = changed
                break
    if rng.random() < 0.04:
        text = " ".join(w for w in text.split() if w.lower() not in LITTLE) or text
    elif rng.random() < 0.08:
        text = re.sub(r"\b(?:the|a|an|do|does|is|are) ", "", text, count=1)
    if rng.random() < 0.10:
        words = text.split(" ")
        at = rng.randrange(len(words))
        words[at] = _typo(words[at], rng)
        text = " ".join(words)
    if rng.random() < 0.09:
        text += rng.choice(AFTER)
    if rng.random() < 0.22:
        text = rng.choice(BEFORE) + text
    text = text[:1].upper() + text[1:]
    text += rng.choices(("?", "", ".", "!", "??", "..."), (70, 18, 5, 2, 1, 2))[0]
    if rng.random() < 0.2:
        text = text.lower()
    elif rng.random() < 0.015:
        text = text.upper()
    return text

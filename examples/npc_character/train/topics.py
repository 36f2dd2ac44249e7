"""What the hand-written topics say, and the many ways in which a player may word one question.

A topic file is plain text, blocks apart by a blank line::

    == tides                        a name, for people
    S: thing the tide               a subject: the stock questions of its kind are added (person, place, thing)
    Q: when is low tide | is the tide out
    N: The tide is low.             a fact that play may notice (for topics that answer to what is seen)
    K: low tide | water rising      the words that matter, whatever stands around them
    M: The tide took {thing}.       a memory (only in invented.txt)
    A: Twice a day, like manners.   an answer; several lines, any of them will do
    F: The moon pulls it.           what she adds when asked to go on, or why

A block with a name that was there before adds to it.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split("|") if part.strip()]


def forms(text: str) -> tuple[str, ...]:
    """The phrases of ``text``, which a bar keeps apart; a blank at a phrase's edge is written as ``_``."""
    return tuple(form.replace("_", " ") for form in split(text))


ABOUT = forms(
    """
    tell me about {s} | what about {s} | what do you know about {s} | what can you tell me about {s} |
    do you know {s} | what do you think of {s} | {s} | I want to know about {s} | I heard about {s} |
    can you tell me about {s} | what do people say about {s} | could you tell me something about {s} |
    I would like to hear about {s} | talk to me about {s} | I have a question about {s}
    """
)
STOCK = {
    "person": forms(
        """
    who is {s} | what is {s} like | have you met {s} | who's {s} | is {s} a friend of yours |
    do you like {s} | I met {s} today | do you know someone called {s} | what sort of person is {s} |
    I just talked to {s} | who was that, {s} | is {s} a good person | describe {s} | how do you know {s} |
    can I trust {s}
        """
    ),
    "place": forms(
        """
    what is {s} | where is {s} | what's {s} | where can I find {s} | how do I get to {s} | is {s} far |
    have you been to {s} | what is {s} like | where's {s} | which way to {s} | what happens at {s} |
    I am looking for {s} | what will I find at {s} | should I visit {s} | I saw {s} today
        """
    ),
    "thing": forms(
        """
    what is {s} | what's {s} | explain {s} | what do you mean by {s} | have you seen {s} | what was {s} |
    is it true about {s} | what is so special about {s} | someone told me about {s} |
    why do people talk about {s}
        """
    ),
}
BEFORE = forms(
    """
    Sable,_ | So,_ | So_ | Please,_ | Excuse me,_ | Tell me,_ | Keeper,_ | And_ | But_ | Hey,_ | Well,_ |
    Hello._ | Hi,_ | Good evening._ | Hm._ | Ok,_ | One more thing._ | I wonder,_ | I was wondering,_ |
    Just asking,_ | Now,_ | Can I ask,_ | I just arrived._ | Nell sent me._ | I have a question._ |
    Forgive me, but_ | I forgot:_ | It is cold tonight._ | Bram told me to ask you:_ | Do you know,_ |
    Can you tell me,_ | Could you tell me,_ | I want to ask you,_ | May I ask,_ | Listen,_ | Oh,_ | Ah._ |
    By the way,_ | Sorry,_ | I must ask,_ | Good day._ | Right._
    """
)
AFTER = forms(
    """
    , Sable | , please | , keeper | , then | _exactly | _really | , if I may ask | , do you think |
    , in your opinion | _here | _in Corrow | _these days | _now | , would you say | , anyway |
    _in this town | _around here | _today
    """
)
SWAPS = tuple(
    tuple(swap.split(" > "))
    for swap in forms(
        """
    do you know > d'you know | what is > what's | who is > who's | where is > where's | do not > don't |
    tell me > can you tell me | tell me > tell | you > u | is there > is there really |
    what is > what was | did > did really | the lamp > your lamp | the lamp > the light | can I > may I |
    can I > could I | I am > I'm | are you > r u | do you > did you | do you > do you ever |
    how do I > how can I | going to > gonna | have you > did you | Corrow > this town |
    the town > Corrow | want to > wanna | can you > could you | can you > will you | people > folk |
    like > really like
        """
    )
)
FILLERS = split(
    """
    what | is | the | do | you | might | could | one | a | in | this | there | ever | would | of | to | for | me | any |
    who | how | did | have | been | about | really | perhaps | then | some | that | it | was | which | can | tell |
    say | think | please | be | at | on | when | where | why | are | these | here | become | became | person | know |
    find | man | yourself | just | get | must | may | want | if | or
    """.replace("|\n", "|")
)
LITTLE = frozenset(
    re.findall(r"\w+", "the a an do does did is are was of to you your me i it in on can could would there")
)


@dataclass
class Topic:
    """One thing a stranger may ask about. Few have ``facts`` (noticed) or ``memories``.

    ``questions`` are all there are, ``written`` those of them that are not stock.
    """

    name: str
    questions: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    memories: list[str] = field(default_factory=list)

    def ask(self, rng: random.Random, more: bool = False) -> str:
        """One of its questions, worded anew; ``more`` as in ``reword``."""
        if not more:
            return reword(rng.choice(self.questions), rng)
        if self.keys and rng.random() < 0.2:
            return around(rng.choice(self.keys), rng)
        stock = not self.written or rng.random() < 0.2
        return reword(rng.choice(self.questions if stock else self.written), rng, more)


def _add(topic: Topic, mark: str, rest: str, where: str) -> None:
    if mark == "Q":
        topic.questions += split(rest)
        topic.written += split(rest)
    elif mark == "S":
        kind, _, subjects = rest.partition(" ")
        for subject in subjects.split("|"):
            topic.questions += [form.format(s=subject.strip()) for form in STOCK[kind] + ABOUT]
    elif mark == "K":
        topic.keys += split(rest)
    elif mark == "N":
        topic.facts += split(rest)
    elif mark == "M":
        topic.memories += split(rest)
    elif mark == "A":
        topic.answers.append(rest)
    elif mark == "F":
        topic.more.append(rest)
    else:
        raise ValueError(f"{where}: a line starts with ==, S:, Q:, K:, N:, M:, A: or F:, not {mark!r}")


def read(*paths: Path) -> list[Topic]:
    """Every topic in ``paths``. Raises ``ValueError`` with the place of a line that is not understood."""
    named: dict[str, Topic] = {}
    topic: Topic | None = None
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{path.name}:{number}"
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("=="):
                name = line.strip("= ")
                topic = named.setdefault(name, Topic(name))
                continue
            mark, colon, rest = line.partition(":")
            if not colon or topic is None:
                raise ValueError(f"{where}: expected 'X: text' inside a topic")
            _add(topic, mark.strip(), rest.strip(), where)
    for topic in named.values():
        if not (topic.answers or topic.memories) or not (topic.questions or topic.facts):
            raise ValueError(f"topic {topic.name!r} lacks questions or answers")
    return list(named.values())


def _synonyms(path: Path) -> list[tuple[str, re.Pattern[str], list[str]]]:
    """Phrases and what may stand for them, longest phrase first."""
    rows = [line.partition(" = ") for line in path.read_text(encoding="utf-8").splitlines() if " = " in line]
    rows.sort(key=lambda row: (-len(row[0]), row[0]))
    return [
        (left.lower(), re.compile(rf"\b{re.escape(left)}\b", re.IGNORECASE), split(right)) for left, _, right in rows
    ]


SYNONYMS = _synonyms(Path(__file__).parent / "topics" / "more" / "synonyms.rules")


@lru_cache(maxsize=1 << 14)
def _swaps(text: str) -> tuple[tuple[re.Pattern[str], list[str]], ...]:
    low = text.lower()
    return tuple((pattern, others) for left, pattern, others in SYNONYMS if left in low and pattern.search(text))


def _say_otherwise(text: str, rng: random.Random) -> str:
    """``text`` with up to two of its phrases replaced."""
    rows = _swaps(text)
    for pattern, others in rng.sample(rows, min(len(rows), rng.choice((1, 1, 2)))):
        other = rng.choice(others)
        text = pattern.sub(lambda _, other=other: other, text, count=1)  # type: ignore[misc]
    return text


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


def around(key: str, rng: random.Random) -> str:
    """``key`` among small words that say nothing: what a reader of key words has to be able to see through."""
    before = rng.sample(FILLERS, rng.choice((0, 1, 2, 3, 4)))
    after = rng.sample(FILLERS, rng.choice((0, 0, 1, 2, 3)))
    middle = _say_otherwise(key, rng) if rng.random() < 0.4 else key
    return reword(" ".join([*before, middle, *after]), rng)


def reword(question: str, rng: random.Random, more: bool = False) -> str:
    """``question`` as one more player would type it: other openings, lost marks, a slip of the finger.

    ``more`` also replaces phrases by synonyms.
    """
    text = question.rstrip("?.! ")
    if more and rng.random() < 0.4:
        text = _say_otherwise(text, rng)
    elif rng.random() < 0.22:
        for plain, other in rng.sample(SWAPS, len(SWAPS)):
            changed = re.sub(rf"\b{plain}\b", other, text, count=1, flags=re.IGNORECASE)
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

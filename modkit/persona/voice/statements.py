"""What can be said about a voice. Each statement is a quote or an inference, and names the lines it rests on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from modkit.persona.prompt import one_line
from modkit.persona.voice.said import Said, digest, log_odds, sample_lines, spread

__all__ = ["Statement", "describe"]

_SAMPLES = 12
_CITED = 6

GREETING = re.compile(
    r"(?:hello|hi|hey|yo|good (?:morning|evening|day|afternoon)|morning|evening|greetings|welcome|well met|howdy|"
    r"hallo|guten (?:tag|morgen|abend)|bonjour|bonsoir|salut|hola|buenos? \w+|ciao|ol[aá]|cze[sś][cć]|привет|"
    r"здравствуй(?:те)?|こんにちは|你好)\b",
    re.IGNORECASE,
)
FAREWELL = re.compile(
    r"(?:good ?bye|bye|farewell|good ?night|see you|so long|take care|safe (?:travels|journey)|until (?:next|then)|"
    r"go well|tsch[uü]ss|auf wiedersehen|au revoir|adi[oó]s|hasta \w+|arrivederci|tchau|пока|до свидания)\b",
    re.IGNORECASE,
)
SWEARING = frozenset(
    re.findall(
        r"\S+",
        "damn dammit goddamn hell bloody bastard bastards bitch crap shit shitty bullshit fuck fucking fucked fucker "
        "motherfucker ass asshole arse arsehole piss pissed bugger bollocks wanker prick dick gonk gonks "
        "verdammt scheisse scheiße mist merde putain mierda joder cazzo merda kurwa cholera блять чёрт черт",
    )
)
_VOCATIVE_END = re.compile(r",\s+((?:[^\W\d_]+['’-]?\s?){1,2})[.!?…]*$")
_VOCATIVE_START = re.compile(r"^((?:[^\W\d_]+['’-]?\s?){1,2}),\s")
_NOT_CALLED = frozenset(
    re.findall(
        r"\S+",
        "yes no well now then so oh ah hey hm hmm please sorry listen look sure okay ok right and but or too though "
        "perhaps maybe still again anyway really either first instead today tonight here there see you know i mean "
        "thanks thank of course in fact at least night for not yet",
    )
)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][^\W\d_]{2,}(?:['’][a-z]+)?")


@dataclass(frozen=True)
class Statement:
    """`key` names what it is about and stays the same from build to build; `lines` are ids of lines it rests on."""

    key: str
    kind: str  # "quote" or "inference"
    text: str
    lines: tuple[int, ...]


def describe(name: str, own: Sequence[Said], others: Counter[str]) -> list[Statement]:
    """Everything that `own`, the lines of `name`, say about her manner. `others`: how often others say each word.

    Empty for fewer than five spoken lines. Takes about a second for ten thousand lines; not for a frame.
    """
    spoken = [line for line in own if line.kind in ("dialogue", "message") and line.words]
    if len(spoken) < 5:
        return []
    mine = Counter(word for line in spoken for word in line.words)
    scores = log_odds(mine, others)
    found = [*_length(name, spoken), *_marks(name, spoken), *_words(name, spoken, mine, scores)]
    found += [*_swearing(name, spoken), *_called(name, spoken), *_about(name, spoken)]
    found += [*_openings(spoken), *_quotes(spoken, scores)]
    return found


def _cite(lines: Sequence[Said], fits: Callable[[Said], bool]) -> tuple[int, ...]:
    return tuple(line.id for line in lines if fits(line))[:_CITED]


def _near(lines: Sequence[Said], value: float, measure: Callable[[Said], float]) -> tuple[int, ...]:
    ordered = sorted(lines, key=lambda line: (abs(measure(line) - value), line.id))
    return tuple(sorted(line.id for line in ordered[:_CITED]))


def _length(name: str, spoken: Sequence[Said]) -> Iterator[Statement]:
    low, middle, high = spread([len(line.words) for line in spoken])
    manner = "briefly" if middle <= 7 else "at length" if middle > 20 else "in a sentence or two"
    text = f"{name} speaks {manner}: half of the lines have {middle:.0f} words or fewer"
    text += f", nine in ten {low:.0f} or more" if low > 1 else ""
    text += f", one in ten {high:.0f} or more."
    yield Statement("length", "inference", text, _near(spoken, middle, lambda line: len(line.words)))
    sentences = [len(part.split()) for line in spoken for part in line.sentences]
    _, middle, high = spread(sentences)
    pace = "short" if middle <= 6 else "long" if middle > 13 else "middling"
    uneven = ", of very uneven length" if high > 3 * max(middle, 1) else ""
    text = f"{name}'s sentences are {pace}{uneven}: half have {middle:.0f} words or fewer."
    cited = _near(spoken, middle, lambda line: len(line.words) / max(1, len(line.sentences)))
    yield Statement("rhythm", "inference", text, cited)


_MARKS: tuple[tuple[str, str, float, re.Pattern[str]], ...] = (
    ("questions", "asks questions", 0.25, re.compile(r"[?？]")),
    ("exclaims", "exclaims", 0.2, re.compile(r"[!！]")),
    ("trails off", "lets sentences trail off (…)", 0.12, re.compile(r"\.\.\.|…")),
    ("breaks off", "breaks sentences with dashes", 0.12, re.compile(r"[—–]| - |--")),
    ("shouts", "shouts in capitals", 0.04, re.compile(r"\b[A-Z]{4,}\b")),
    ("stammers", "stammers", 0.03, re.compile(r"\b(\w)-\1", re.IGNORECASE)),
    ("contracts", "contracts words (don't, it's)", 0.3, re.compile(r"\w['’](?:t|s|re|ve|ll|d|m)\b")),
)


def _marks(name: str, spoken: Sequence[Said]) -> Iterator[Statement]:
    for key, manner, often, pattern in _MARKS:
        ids = [line.id for line in spoken if pattern.search(line.text)]
        share = len(ids) / len(spoken)
        if share >= often:
            text = f"{name} {manner}: in {_share(share)} of the lines."
            yield Statement(key, "inference", text, tuple(ids[:_CITED]))
        elif key in ("exclaims", "contracts") and share < 0.03 and len(spoken) >= 40:
            text = f"{name} hardly ever {manner}: in {len(ids)} of {len(spoken)} lines."
            yield Statement(key, "inference", text, tuple(ids[:_CITED]) or (spoken[0].id,))


def _share(share: float) -> str:
    return f"{100 * share:.0f} of 100"


def _words(
    name: str, spoken: Sequence[Said], mine: Counter[str], scores: dict[str, float]
) -> Iterator[Statement]:
    hers = [word for word in sorted(scores, key=lambda w: (-scores[w], w)) if mine[word] >= 3 and scores[word] > 2]
    hers = [word for word in hers if len(word) > 1][:12]
    if hers:
        cited = tuple(next(line.id for line in spoken if word in line.words) for word in hers[:_CITED])
        text = f"{name} says more often than others: {', '.join(hers)}."
        yield Statement("words", "inference", text, tuple(dict.fromkeys(cited)))
    phrases: Counter[tuple[str, ...]] = Counter()
    for line in spoken:
        for size in (3, 4):
            phrases.update({line.words[i : i + size] for i in range(len(line.words) - size + 1)})
    common = [phrase for phrase, count in phrases.most_common(200) if count >= 3 and _tells(phrase)]
    kept: list[str] = []
    for phrase in common:
        joined = " ".join(phrase)
        if not any(joined in other or other in joined for other in kept):
            kept.append(joined)
    if kept[:6]:
        cited = tuple(next(line.id for line in spoken if phrase in " ".join(line.words)) for phrase in kept[:6])
        shown = [re.sub(r"\bi\b", "I", phrase) for phrase in kept[:6]]  # words are counted in small letters
        text = f"{name} comes back to: {', '.join(f'“{phrase}”' for phrase in shown)}."
        yield Statement("phrases", "inference", text, tuple(dict.fromkeys(cited)))


_FUNCTION = frozenset(
    re.findall(r"\S+", "the a an of to in on at is it that this and or i you he she they we was be for with as not do")
)


def _tells(phrase: tuple[str, ...]) -> bool:
    return sum(word not in _FUNCTION for word in phrase) >= 2


def _swearing(name: str, spoken: Sequence[Said]) -> Iterator[Statement]:
    counts = Counter(word for line in spoken for word in line.words if word in SWEARING)
    if counts:
        ids = _cite(spoken, lambda line: any(word in counts for word in line.words))
        used = ", ".join(f"{word} ({count})" for word, count in counts.most_common(6))
        yield Statement("swearing", "inference", f"{name} swears: {used}, in {len(spoken)} lines.", ids)
    elif len(spoken) >= 40:
        text = f"{name} does not swear in {len(spoken)} lines."
        yield Statement("swearing", "inference", text, (spoken[0].id, spoken[-1].id))


def _called(name: str, spoken: Sequence[Said]) -> Iterator[Statement]:
    """What she calls people: one or two words set off by a comma at an end of a sentence."""
    used: dict[str, list[Said]] = {}
    people: set[str] = set()
    for line in spoken:
        for sentence in line.sentences:
            for pattern in (_VOCATIVE_END, _VOCATIVE_START):
                found = pattern.search(sentence)
                word = found.group(1).strip() if found else ""
                if word and not set(word.lower().split()) & _NOT_CALLED:
                    used.setdefault(word, []).append(line)
                    if pattern is _VOCATIVE_END:
                        people.add(word.lower())
            people.update(name.lower() for name in _NAME.findall(sentence))
    merged: dict[str, list[Said]] = {}
    for word, lines in used.items():
        merged.setdefault(word.lower(), []).extend(lines)
    # a word that only ever begins a sentence is an "alors" or a "nun" in most languages
    common = [
        (word, lines) for word, lines in merged.items() if word in people and len({line.id for line in lines}) >= 2
    ]
    common.sort(key=lambda item: (-len(item[1]), item[0]))
    shown: dict[str, str] = {}
    for word in used:  # at the beginning of a sentence everything is in capitals; inside one only a name is
        inside = any(f", {word}" in line.text for line in used[word])
        shown[word.lower()] = word if inside else shown.get(word.lower(), word.lower())
    for word, lines in common[:6]:
        to = Counter(line.addressee for line in lines if line.addressee).most_common(1)
        whom = f" (mostly to {to[0][0]})" if to and to[0][0].lower() != word else ""
        text = f"{name} calls people “{shown[word]}”{whom}: {len(lines)} times."
        yield Statement(f"calls:{word}", "inference", text, tuple(dict.fromkeys(line.id for line in lines))[:_CITED])


def _about(name: str, spoken: Sequence[Said]) -> Iterator[Statement]:
    holders: dict[str, list[int]] = {}
    for line in spoken:
        for found in set(_NAME.findall(line.text)):
            holders.setdefault(re.sub(r"['’]s?$", "", found), []).append(line.id)
    often = [(word, ids) for word, ids in holders.items() if len(ids) >= 3 and word != name]
    common = sorted(often, key=lambda item: (-len(item[1]), item[0]))
    if common:
        text = f"{name} speaks most about: {', '.join(f'{word} ({len(ids)})' for word, ids in common[:10])}."
        cited = tuple(dict.fromkeys(ids[0] for _, ids in common[:_CITED]))
        yield Statement("about", "inference", text, cited)


def _openings(spoken: Sequence[Said]) -> Iterator[Statement]:
    for key, says, pattern in (("greeting", "Greets", GREETING), ("farewell", "Takes leave", FAREWELL)):
        lines = [line for line in spoken if len(line.words) <= 20 and pattern.match(line.text)]
        if not lines and key == "farewell":
            lines = [line for line in spoken if len(line.words) <= 14 and pattern.search(line.text)]
        for line in lines[:3]:
            yield Statement(f"{key}:{digest(line.text, 10)}", "quote", f"{says}: “{line.text}”", (line.id,))


def _quotes(spoken: Sequence[Said], scores: dict[str, float]) -> Iterator[Statement]:
    for line in sample_lines(spoken, scores, _SAMPLES):
        cue = f" — asked: “{one_line(line.cue, 120)}”" if line.cue else ""
        yield Statement(f"quote:{digest(line.text, 10)}", "quote", f"“{line.text}”{cue}", (line.id,))

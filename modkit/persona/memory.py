"""What a character remembers of the dump: BM25 over whole exchanges.

A question rarely uses the words of its answer, and often the words of the question that was asked in
the dump. So a line is found by its own words and by those of the cue it answered. The query is built
from quoted tokens; what a player types is never spliced into FTS syntax.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import apsw

from modkit.persona.lines import Source, fold, is_player

__all__ = ["STOP_WORDS", "Memory", "index_words", "match_query", "recall", "tokens"]

MAX_TOKENS = 32  # of a question; the rest of a longer one adds time and no meaning
_MAX_QUESTION = 4000  # characters looked at

# BM25 weights: the line itself, the cue it answered, the talk just around it, the scene's name.
_WEIGHTS = (1.0, 1.4, 0.15, 0.25)
_HEARD = 0.55  # what others said to her counts less than what she said herself
_FLOOR = 0.2  # of the best score: what is weaker only dilutes a prompt
_ALIKE = 3.0  # how much a question that was asked in the dump in the same words counts
_LEADS_AWAY = 0.8  # of that, for each line between the question and this one
_SMALL = 0.5  # what a small word counts when two questions are compared
_COVER = 0.7  # how much of the score hangs on how many of the question's words are met
_SHORT = 3  # telling words; a line with fewer, such as "I said nothing.", tells little

_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")

_SMALL_WORDS = """
a about am an and any are as at be been but by can could did do does ever for from had has have he her hers him his
how i if in into is it its just let like many me more most much my no not of on or our ours please she should so some
tell than that the their them then there these they this those to too up us very was we were what when where which
who whom whose why will with would yes you your yours know think say said really something anything s t re ve ll d m
"""
STOP_WORDS = frozenset(_SMALL_WORDS.split())

# The stemmer folds "lamps" into "lamp" and knows nothing of "went": English past forms and plurals that no
# rule makes, each after the word it is a form of.
_FORMS = """
go went gone; come came; leave left; pay paid; die died dead death; eat ate eaten; sell sold; buy bought; keep kept;
teach taught; speak spoke spoken; give gave given; see saw seen; hear heard; sleep slept asleep; find found;
lose lost; ring rang rung; sing sang sung; swim swam swum; fall fell fallen; break broke broken; make made;
bring brought; fight fought; write wrote written; take took taken; run ran; sit sat; stand stood; steal stole stolen;
win won; catch caught; hide hid hidden; drink drank drunk; begin began begun; know knew known; grow grew grown;
throw threw thrown; burn burnt; build built; send sent; feel felt; hold held; lead led; meet met; ride rode ridden;
rise rose risen; shoot shot; sink sank sunk; swear swore sworn; tear tore torn; wake woke woken; wear wore worn;
bear bore born; bite bit bitten; bleed bled; blow blew blown; choose chose chosen; dig dug; draw drew drawn;
drive drove driven; fly flew flown; forget forgot forgotten; forgive forgave forgiven; freeze froze frozen;
man men; woman women; child children; wife wives; knife knives; life lives; thief thieves; foot feet; marry married
"""
_BASE = {form: row.split()[0] for row in _FORMS.split(";") for form in row.split()[1:]}


@dataclass(frozen=True, slots=True)
class Memory:
    """A line that came to mind. `score` is positive, higher is nearer; only to be compared within one answer.

    `speaker` said `text`; `cue` is the other's line it answered, when the dump has it.
    """

    text: str
    speaker: str | None
    kind: str
    scene: str | None
    source: Source
    score: float
    cue: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The memory as a JSON object of plain values."""
        return {
            "text": self.text,
            "speaker": self.speaker,
            "kind": self.kind,
            "scene": self.scene,
            "cue": self.cue,
            "source": {"file": self.source.file, "place": self.source.place},
            "score": float(f"{self.score:.6g}"),
        }


def index_words(text: str) -> str:
    """`text` as it goes into the index: irregular forms as their base, every CJK character a word of its own."""
    text = _CJK.sub(lambda found: f" {found.group(0)} ", unicodedata.normalize("NFKC", text)).casefold()
    return " ".join(_BASE.get(word, word) for word in _WORD.findall(text.replace("'", " ").replace("’", " ")))


def tokens(text: str) -> list[str]:
    """The distinct words of `text` in order, as the index spells them, at most `MAX_TOKENS`."""
    return list(dict.fromkeys(index_words(text[:_MAX_QUESTION]).split()))[:MAX_TOKENS]


def is_question(text: str, speaker: str | None, kind: str) -> bool:
    """Whether a cue asks, so that the line after it holds the answer: a question, or anything the player said.

    After a statement it is the statement that holds the fact.
    """
    return "?" in text or "？" in text or is_player(speaker, kind)


def match_query(words: list[str]) -> str:
    """An FTS5 query for any of `words`. Each is a quoted string, so that none is an operator."""
    quoted = ['"' + word.replace('"', "") + '"' for word in words]
    pairs = [
        f"{first} + {second}"
        for (a, first), (b, second) in zip(
            zip(words, quoted, strict=True), list(zip(words, quoted, strict=True))[1:], strict=False
        )
        if _CJK.match(a) and _CJK.match(b)
    ]
    # Single CJK characters mean little; two in a row are usually a word.
    return " OR ".join(pairs + [q for w, q in zip(words, quoted, strict=True) if not (pairs and _CJK.match(w))])


def recall(connection: apsw.Connection, question: str, k: int, player_names: frozenset[str]) -> list[Memory]:
    """The `k` memories nearest to `question`, best first; raises apsw.Error on a damaged file."""
    words = tokens(question)
    telling = [word for word in words if word not in STOP_WORDS]
    if not words or k < 1:
        return []
    # "Who are you?" has no telling word; then the small ones have to do, all of them in one line.
    query = match_query(telling) if telling else " AND ".join(f'"{word}"' for word in words)
    rows = connection.execute(
        "SELECT l.text, l.speaker, l.kind, l.scene, l.file, l.place, l.own, "
        "c.text, c.speaker, c.kind, l.idx - c.idx, w.score FROM "
        f"(SELECT rowid AS id, -bm25(words, {', '.join(map(str, _WEIGHTS))}) AS score "
        "FROM words WHERE words MATCH ? ORDER BY score DESC LIMIT ?) AS w "
        "JOIN lines AS l ON l.id = w.id LEFT JOIN lines AS c ON c.id = l.cue",
        (query, max(60, 6 * k)),
    )
    found: dict[str, Memory] = {}
    for text, speaker, kind, scene, file, place, own, cue, cue_speaker, cue_kind, after, score in rows:
        if not own and (is_player(speaker, kind) or fold(speaker or "") in player_names):
            continue
        question_before = cue if cue and is_question(cue, cue_speaker, cue_kind) else ""
        score = _rank(score, words, telling, text, question_before, after or 1, bool(own))
        known = found.get(text.casefold())
        if known is None or known.score < score:
            found[text.casefold()] = Memory(text, speaker, kind, scene, Source(file, place), score, cue)
    best = sorted(found.values(), key=lambda memory: -memory.score)[:k]
    return [memory for memory in best if memory.score >= _FLOOR * best[0].score]


def _rank(score: float, words: list[str], telling: list[str], text: str, cue: str, after: int, own: bool) -> float:
    """BM25, corrected by what it cannot see: how much of the question is met, and whether the line tells anything."""
    said, asked = tokens(text), tokens(cue)
    if telling:
        exchange = {_stem(word) for word in (*said, *asked)}
        score *= 1.0 - _COVER + _COVER * sum(1 for word in telling if _stem(word) in exchange) / len(telling)
    if asked and (not telling or any(word in telling for word in asked)):
        # The question was asked in nearly these words before, small ones included: this is its answer.
        alike = _weight(set(words) & set(asked)) / _weight(set(words) | set(asked))
        # The first line after the question answers it; what follows leads away from it.
        score *= 1.0 + _ALIKE * alike * alike * _LEADS_AWAY ** (after - 1)
    score *= 0.5 + 0.5 * min(1.0, sum(1 for word in said if word not in STOP_WORDS) / _SHORT)
    if not own:
        score *= _HEARD
    if text.endswith("?"):
        score *= 0.5  # a question holds no fact
    return score


def _weight(words: set[str]) -> float:
    return sum(_SMALL if word in STOP_WORDS else 1.0 for word in words)


def _stem(word: str) -> str:
    """A rough stem, for comparing words outside of SQLite: "lamps" and "lamp", "trimming" and "trim"."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word

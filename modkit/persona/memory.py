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

__all__ = ["Memory", "index_words", "match_query", "recall", "tokens"]

MAX_TOKENS = 32  # of a question; the rest of a longer one adds time and no meaning
_MAX_QUESTION = 4000  # characters looked at

# BM25 weights: the line itself, the cue it answered, the scene's name.
_WEIGHTS = (1.0, 0.9, 0.25)
_HEARD = 0.55  # what others said to her counts less than what she said herself
_FLOOR = 0.3  # of the best score: what is weaker only dilutes a prompt

_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")

_SMALL_WORDS = """
a about am an and any are as at be been but by can could did do does for from had has have he her hers him his
how i if in into is it its just let like me my no not of on or our ours please she should so some tell than
that the their them then there these they this those to too up us very was we were what when where which who
whom whose why will with would yes you your yours know think say said ever really something anything s t re ve
ll d m
"""
STOP_WORDS = frozenset(_SMALL_WORDS.split())


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
            "score": round(self.score, 4),
        }


def index_words(text: str) -> str:
    """`text` as it goes into the index: every CJK character a word, because no space says where words end."""
    return _CJK.sub(lambda found: f" {found.group(0)} ", text)


def tokens(text: str) -> list[str]:
    """The distinct words of `text` in order, at most `MAX_TOKENS`; each CJK character is one."""
    text = index_words(unicodedata.normalize("NFKC", text[:_MAX_QUESTION])).casefold()
    return list(dict.fromkeys(_WORD.findall(text.replace("'", " ").replace("’", " "))))[:MAX_TOKENS]


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
        "SELECT l.text, l.speaker, l.kind, l.scene, l.file, l.place, l.own, c.text, w.score FROM "
        f"(SELECT rowid AS id, -bm25(words, {_WEIGHTS[0]}, {_WEIGHTS[1]}, {_WEIGHTS[2]}) AS score "
        "FROM words WHERE words MATCH ? ORDER BY score DESC LIMIT ?) AS w "
        "JOIN lines AS l ON l.id = w.id LEFT JOIN lines AS c ON c.id = l.cue",
        (query, max(40, 6 * k)),
    )
    found: dict[str, Memory] = {}
    for text, speaker, kind, scene, file, place, own, cue, score in rows:
        if not own and (is_player(speaker, kind) or fold(speaker or "") in player_names):
            continue
        memory = Memory(text, speaker, kind, scene, Source(file, place), _rank(score, telling, text, cue, own), cue)
        known = found.get(text.casefold())
        if known is None or known.score < memory.score:
            found[text.casefold()] = memory
    best = sorted(found.values(), key=lambda memory: -memory.score)[:k]
    return [memory for memory in best if memory.score >= _FLOOR * best[0].score]


def _rank(score: float, telling: list[str], text: str, cue: str | None, own: int) -> float:
    """BM25, lifted by the share of the question's words the exchange has; a heard line or a question weighs less."""
    if telling:
        exchange = f"{text} {cue or ''}".casefold()
        # A stem's worth of letters: "lamps" asks for "lamp" too, as the index's stemmer does.
        covered = sum(1 for word in telling if word[: max(4, len(word) - 2)] in exchange)
        score *= 0.5 + 0.5 * covered / len(telling)
    if not own:
        score *= _HEARD
    if text.endswith("?"):
        score *= 0.5  # a question holds no fact
    return score

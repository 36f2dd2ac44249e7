"""What a question brings to mind: BM25 and vectors over whole exchanges, fused by reciprocal rank.

A question rarely uses the words of its answer, and often the words of the question that was asked in the dump.
So a line is found by its own words and by those of the cue it answered, and where there are vectors, by what it
means. What this NPC may not know yet (closed gates) and what the caller filtered out is never looked at.

The two orders are fused by RRF: each line gets weight / (60 + rank) from each. How much the words count is
decided line by line: the share of the question's words that the line has, rare ones counting more, to the
fourth power. A line that has "Hircine" of "Who is Hircine?" is surely meant; one that has "day" is not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import apsw

from modkit.persona import vectors
from modkit.persona.lines import Source, fold, is_player
from modkit.persona.memory import FEW, STOP_WORDS, Memory, match_query, stem, tells_little, tokens

__all__ = ["Filters", "Retrieval", "recall"]

# BM25 weights: the line itself, the cue it answered, the talk just around it, the scene's name.
_WEIGHTS = (1.0, 1.4, 0.15, 0.25)
_HEARD = 0.55  # what others said to her counts less than what she said herself
_FLOOR = 0.2  # of the best score: what is weaker only dilutes a prompt
_ALIKE = 3.0  # how much a question that was asked in the dump in the same words counts
_LEADS_AWAY = 0.8  # of that, for each line between the question and this one
_SMALL = 0.5  # what a small word counts when two questions are compared
_COVER = 0.7  # how much of the score hangs on how many of the question's words are met

_RRF = 60.0
WORDS_WEIGHT = 1.0  # of the order by words; that by meaning has 1
_SURE = 4.0  # the power of the share of words that a line has
_UNLIKE = 0.2  # a likeness below this is chance
_HEARD_LIKE, _ASKING_LIKE = 0.9, 0.92  # what others said, and what only asks, is a little further away
_BYTES_PER_TOKEN = 3.0


@dataclass(frozen=True)
class Filters:
    """What may come to mind; an empty tuple lets all. `closed` are numbers of gates."""

    speakers: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    quests: tuple[str, ...] = ()
    langs: tuple[str, ...] = ()
    closed: tuple[int, ...] = ()

    def where(self, key: str = "id") -> tuple[str, list[Any]]:
        """A condition over the column `key`, a line's number, and its values; "" when nothing is filtered."""
        parts, values = [], []
        for column, wanted in (
            ("speaker", self.speakers), ("kind", self.kinds), ("scene", self.scenes),
            ("quest", self.quests), ("lang", self.langs),
        ):  # fmt: skip
            if wanted:
                parts.append(f"{column} COLLATE NOCASE IN (SELECT value FROM json_each(?))")
                values.append(json.dumps(wanted))
        if parts:
            if self.closed:
                parts.append("(gate IS NULL OR gate NOT IN (SELECT value FROM json_each(?)))")
                values.append(json.dumps(self.closed))
            return f"{key} IN (SELECT id FROM lines WHERE {' AND '.join(parts)})", values
        if self.closed:  # most lines have no gate: the few that are closed are left out one by one
            return f"{key} NOT IN (SELECT id FROM lines WHERE gate IN (SELECT value FROM json_each(?)))", [
                json.dumps(self.closed)
            ]
        return "", []


@dataclass
class Retrieval:
    """How the last question was looked up. `method` is "bm25" or "hybrid"; `reason` says why not hybrid."""

    memories: list[Memory] = field(default_factory=list)
    method: str = "bm25"
    reason: str = ""
    by_words: int = 0
    by_meaning: int = 0
    closed_gates: int = 0
    seconds: float = 0.0
    vector: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class _Line:
    """A candidate as it was read."""

    memory: Memory
    own: bool
    terms: list[str]
    asked: list[str]
    after: int
    lexical: float = 0.0
    likeness: float = 0.0
    score: float = 0.0


def recall(
    connection: apsw.Connection,
    question: str,
    k: int,
    player_names: frozenset[str],
    filters: Filters | None = None,
    vector: bytes | None = None,
    budget: int | None = None,
    words_weight: float = WORDS_WEIGHT,
) -> Retrieval:
    """The `k` memories nearest to `question`, best first; raises apsw.Error on a damaged file.

    `vector` is the question's, float32, when the persona has vectors of the same embedder. `budget` bounds the
    tokens that the memories may take together, estimated from their bytes; what is left of it by the lines goes to the
    cues, best first, and a line that tells little without its cue is taken with it. With `words_weight` 0 the meaning
    alone decides.
    """
    started = time.perf_counter()
    result = Retrieval(closed_gates=len(filters.closed) if filters else 0, vector=vector)
    words = tokens(question)
    if (not words and vector is None) or k < 1:
        return result
    chosen = filters or Filters()
    telling = [word for word in words if word not in STOP_WORDS]
    by_words = _by_words(connection, words, telling, max(60, 6 * k), chosen)
    likeness = dict(vectors.near(connection, vector, max(60, 4 * k), *chosen.where())) if vector else {}
    scores = {**by_words, **dict.fromkeys(likeness.keys() - by_words.keys(), 0.0)}
    lines = _read(connection, scores, player_names, chosen.closed)
    for number, line in lines.items():
        line.likeness = likeness.get(number, 0.0)
        if line.lexical > 0:
            line.lexical = _rank(line, words, telling)
    if vector is not None:
        result.method = "hybrid"
        _fuse(connection, lines.values(), telling, words_weight)
    else:
        for line in lines.values():
            line.score = line.lexical
    best = _distinct(sorted(lines.values(), key=lambda line: -line.score))
    result.memories = _fit(best, k, budget, _FLOOR if vector is None else 0.0)
    result.by_words, result.by_meaning = len(by_words), len(likeness)
    result.seconds = time.perf_counter() - started
    return result


def _by_words(
    connection: apsw.Connection, words: list[str], telling: list[str], limit: int, filters: Filters
) -> dict[int, float]:
    if not words:
        return {}
    # "Who are you?" has no telling word; then the small ones have to do, all of them in one line.
    query = match_query(telling) if telling else " AND ".join(f'"{word}"' for word in words)
    where, values = filters.where("rowid")
    allowed = f"AND {where} " if where else ""
    rows = connection.execute(
        f"SELECT rowid, -bm25(words, {', '.join(map(str, _WEIGHTS))}) AS score "
        f"FROM words WHERE words MATCH ? {allowed}ORDER BY score DESC LIMIT ?",
        (query, *values, limit),
    )
    return {int(row[0]): float(row[1]) for row in rows}


def _read(
    connection: apsw.Connection, scores: dict[int, float], player_names: frozenset[str], closed: tuple[int, ...]
) -> dict[int, _Line]:
    """The candidates; a cue behind a gate that is closed is left out, though its answer may be known."""
    rows: Any = connection.execute(
        "SELECT l.id, l.text, l.speaker, l.kind, l.scene, l.file, l.place, l.own, l.quest, l.terms, "
        "c.text, l.idx - c.idx, c.gate FROM lines AS l LEFT JOIN lines AS c ON c.id = l.cue "
        "WHERE l.id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(scores)),),
    )
    lines = {}
    for number, text, speaker, kind, scene, file, place, own, quest, terms, cue, after, gate in rows:
        if not own and (is_player(speaker, kind) or (player_names and fold(speaker or "") in player_names)):
            continue
        said, _, asked = (terms or "").partition("\t")
        cue = None if gate in closed else cue
        memory = Memory(text, speaker, kind, scene, Source(file, place), 0.0, cue, number, quest)
        lines[number] = _Line(
            memory, bool(own) or kind == "lore", said.split(), asked.split(), after or 1, scores[number]
        )
    return lines


def _rank(line: _Line, words: list[str], telling: list[str]) -> float:
    """BM25, corrected by what it cannot see: how much of the question is met, and whether the line tells anything."""
    score, asked = line.lexical, line.asked
    if telling:
        exchange = {stem(word) for word in (*line.terms, *asked)}
        score *= 1.0 - _COVER + _COVER * sum(1 for word in telling if stem(word) in exchange) / len(telling)
    if asked and (not telling or any(word in telling for word in asked)):
        # The question was asked in nearly these words before, small ones included: this is its answer.
        alike = _weight(set(words) & set(asked)) / _weight(set(words) | set(asked))
        # The first line after the question answers it; what follows leads away from it.
        score *= 1.0 + _ALIKE * alike * alike * _LEADS_AWAY ** (line.after - 1)
    score *= 0.5 + 0.5 * min(1.0, sum(1 for word in line.terms if word not in STOP_WORDS) / FEW)
    if not line.own:
        score *= _HEARD
    if line.memory.text.endswith(("?", "？")):
        score *= 0.5  # a question holds no fact
    return score


def _fuse(
    connection: apsw.Connection, lines: Iterable[_Line], telling: list[str], words_weight: float
) -> None:
    """RRF over the order by words and the order by meaning; sets `score`."""
    rarity = _rarity(connection, telling)
    whole = sum(rarity.values()) or 1.0
    lexical = sorted((line for line in lines if line.lexical > 0), key=lambda line: -line.lexical)
    for rank, line in enumerate(lexical, 1):
        exchange = {stem(word) for word in (*line.terms, *line.asked)}
        share = sum(weight for word, weight in rarity.items() if word in exchange) / whole
        line.score += words_weight * share**_SURE / (_RRF + rank)
    for line in lines:
        line.likeness *= (1.0 if line.own else _HEARD_LIKE) * (
            _ASKING_LIKE if line.memory.text.endswith(("?", "？")) else 1.0
        )
    alike = sorted((line for line in lines if line.likeness > _UNLIKE), key=lambda line: -line.likeness)
    for rank, line in enumerate(alike, 1):
        line.score += 1.0 / (_RRF + rank)


def _rarity(connection: apsw.Connection, telling: list[str]) -> dict[str, float]:
    """How much each of these words tells, by its stem: the fewer lines have it, the more."""
    stems = {stem(word) for word in telling}
    rows: Any = connection.execute(
        "SELECT word, lines FROM vocabulary WHERE word IN (SELECT value FROM json_each(?)) "
        "UNION ALL SELECT '', lines FROM vocabulary WHERE word = ''",
        (json.dumps(sorted(stems)),),
    )
    counts = {str(word): int(number) for word, number in rows}
    total = counts.get("", 1)
    return {word: math.log(1.0 + total / (counts.get(word, 0) + 1)) for word in stems}


def _distinct(lines: Sequence[_Line]) -> list[_Line]:
    """The best line of each text."""
    seen: set[str] = set()
    kept = []
    for line in lines:
        same = " ".join(line.terms) or line.memory.text.casefold()
        if line.score > 0 and same not in seen:
            seen.add(same)
            kept.append(line)
    return kept


def _fit(lines: list[_Line], k: int, budget: int | None, floor: float) -> list[Memory]:
    """The best `k` exchanges within `budget`: lines first, then as many of their cues as there is room for."""
    found: list[_Line] = []
    room = math.inf if budget is None else float(budget)
    cues: list[_Line] = []  # for which there may be room at the end
    for line in lines:
        if len(found) == k or line.score < floor * lines[0].score:
            break
        size, cue = _size(line.memory.text), _size(line.memory.cue)
        if cue and (size + cue > room or not tells_little(line.memory.text)):
            cues.append(line)
            cue = 0.0
        if size + cue > room and found:
            break
        room -= size + cue
        found.append(line)
    without = set()
    for line in cues:
        cue = _size(line.memory.cue)
        if cue > room:
            without.add(line.memory.id)
        else:
            room -= cue
    return [
        replace(line.memory, score=round(line.score, 6), cue=None if line.memory.id in without else line.memory.cue)
        for line in found
    ]


def _size(text: str | None) -> float:
    """Of a text in a prompt, in tokens."""
    return len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN + 2 if text else 0.0


def _weight(words: set[str]) -> float:
    return sum(_SMALL if word in STOP_WORDS else 1.0 for word in words)

"""A line as its manner is looked at, and the small measures that everything else is made of."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import apsw

__all__ = ["Said", "digest", "log_odds", "own_lines", "sample_lines", "spread", "words_of"]

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SENTENCE = re.compile(r"[^.!?…。！？]+[.!?…。！？]*")
_SLOT = re.compile(r"\[[^\]]{0,60}\]|\{[^}]{0,60}\}|<[^>]{0,60}>")  # what the game fills in


@dataclass(frozen=True)
class Said:
    """One of her lines: its id in the persona, its words, whom it was said to, what it answered."""

    id: int
    text: str
    kind: str = "dialogue"
    addressee: str | None = None
    cue: str | None = None

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Its words, lower case; Chinese, Japanese and Korean by character pairs."""
        return tuple(words_of(self.text))

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """Its sentences, stripped."""
        return tuple(part.strip() for part in _SENTENCE.findall(self.text) if _WORD.search(part))


def own_lines(connection: apsw.Connection) -> list[tuple[Said, str]]:
    """Her lines in a persona's database, each with the place it was read from.

    What is behind a gate is left out, a question too: a card quotes her lines with what they answered, and the card is
    always in the prompt.
    """
    rows: Any = connection.execute(
        "SELECT l.id, l.text, l.kind, l.addressee, c.text, l.file, l.place FROM lines AS l "
        "LEFT JOIN lines AS c ON c.id = l.cue AND c.gate IS NULL WHERE l.own = 1 AND l.gate IS NULL ORDER BY l.id"
    )
    return [(Said(*row[:5]), f"{row[5]} {row[6]}".strip()) for row in rows]


def digest(text: str, length: int) -> str:
    """The first `length` hexadecimal digits of a hash of `text`: the same in every run."""
    import hashlib  # it brings OpenSSL along, 3.5 MB that a game which only plays need not have

    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:length]


def words_of(text: str) -> list[str]:
    """The words of `text`, lower case, without what the game fills in."""
    plain = unicodedata.normalize("NFC", _SLOT.sub(" ", text)).lower().replace("’", "'")
    found: list[str] = []
    for word in _WORD.findall(plain):
        if _CJK.search(word):
            found += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
        else:
            found.append(word)
    return found


def log_odds(mine: Counter[str], theirs: Counter[str], prior_size: float = 500.0) -> dict[str, float]:
    """How much more `mine` says each of its words than `theirs`: z-scores of log-odds with an informative prior.

    The prior is the words of both together, scaled to `prior_size` (Monroe, Colaresi and Quinn 2008). Above 2 is
    hardly chance.
    """
    both = mine + theirs
    n_mine, n_theirs, n_both = sum(mine.values()), sum(theirs.values()), sum(both.values())
    scores: dict[str, float] = {}
    for word, count in mine.items():
        prior = prior_size * both[word] / n_both
        a, b = count + prior, theirs[word] + prior
        # a word that is all there is has no odds; the least of the others stands for them
        odds = math.log(a / max(n_mine + prior_size - a, 1e-6)) - math.log(b / max(n_theirs + prior_size - b, 1e-6))
        scores[word] = odds / math.sqrt(1 / a + 1 / b)
    return scores


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """The 10th, 50th and 90th of a hundred of `values`; zeros when there are none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0, 0.0, 0.0
    low, middle, high = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.1, 0.5, 0.9))
    return low, middle, high


def _likeness(a: Counter[str], b: Counter[str]) -> float:
    shared = sum(count * b[word] for word, count in a.items() if word in b)
    return shared / math.sqrt(sum(c * c for c in a.values()) * sum(c * c for c in b.values())) if shared else 0.0


def sample_lines(lines: Iterable[Said], scores: dict[str, float], count: int, *, balance: float = 0.5) -> list[Said]:
    """`count` lines that are most hers and least alike (maximal marginal relevance), best first.

    `scores` says how much hers a word is (`log_odds`); `balance` is the weight of that against being unlike.
    """
    pool = [line for line in lines if 4 <= len(line.words) <= 45 and "{" not in line.text]

    def worth(line: Said) -> float:
        hers = sum(max(0.0, min(4.0, scores.get(word, 0.0))) for word in set(line.words)) / math.sqrt(len(line.words))
        return hers + (0.5 if line.cue else 0.0) - 0.02 * abs(len(line.words) - 14)

    pool = sorted(pool, key=lambda line: (-worth(line), line.id))[:400]
    if not pool:
        return []
    top = max(abs(worth(pool[0])), 1e-9)
    bags = {line.id: Counter(line.words) for line in pool}
    chosen: list[Said] = []
    nearest = dict.fromkeys(bags, 0.0)
    while pool and len(chosen) < count:
        best = max(pool, key=lambda line: balance * worth(line) / top - (1 - balance) * nearest[line.id])
        chosen.append(best)
        pool.remove(best)
        for line in pool:
            nearest[line.id] = max(nearest[line.id], _likeness(bags[line.id], bags[best.id]))
    return chosen

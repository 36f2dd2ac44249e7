"""Who speaks in a dump, how often, and with whom: counted while a persona is built, kept for the report."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import apsw

from modkit.persona.voice.said import words_of

__all__ = ["Census", "take_census"]

_MOST = 400  # speakers and pairs that are kept
_BACKGROUND = 40_000  # lines of others whose words are counted


@dataclass
class Census:
    """`speakers`: lines of each. `talks`: (who, to whom, lines), one of them the persona's."""

    speakers: dict[str, int] = field(default_factory=dict)
    talks: list[tuple[str, str, int]] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    unnamed: int = 0
    read: int = 0
    duplicates: int = 0
    scenes: int = 0

    def as_json(self) -> str:
        """As text for the persona's `meta`."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str | None) -> Census:
        """From that text; an empty one when it is none."""
        try:
            value: dict[str, Any] = json.loads(text or "{}")
            made = cls(**{key: value[key] for key in cls.__dataclass_fields__ if key in value})
            made.talks = [(str(a), str(b), int(n)) for a, b, n in made.talks]
            return made
        except (ValueError, TypeError, AttributeError):
            return cls()


def take_census(connection: apsw.Connection, speaker: str) -> tuple[Census, Counter[str]]:
    """Counts over `raw`, the lines of a dump as a build holds them; beside it, how often others say each word."""

    def rows(query: str, *values: Any) -> list[Any]:
        return list(connection.execute(query, values))

    named = rows(
        "SELECT speaker, count(*) FROM raw WHERE speaker IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?", _MOST
    )
    census = Census(
        {str(name): int(count) for name, count in named},
        kinds={str(k): int(n) for k, n in rows("SELECT kind, count(*) FROM raw WHERE speaker = ? GROUP BY 1", speaker)},
        unnamed=int(rows("SELECT count(*) FROM raw WHERE speaker IS NULL")[0][0]),
        read=int(rows("SELECT count(*) FROM raw")[0][0]),
        scenes=int(rows("SELECT count(DISTINCT file || char(0) || scene) FROM raw WHERE speaker = ?", speaker)[0][0]),
    )
    talks = rows(
        "SELECT speaker, whom, count(*) FROM ("
        "  SELECT speaker, coalesce(addressee, CASE WHEN before_file = file AND before_scene IS scene THEN before END)"
        "    AS whom FROM (SELECT speaker, addressee, file, scene,"
        "      lag(speaker) OVER (ORDER BY seq) AS before, lag(file) OVER (ORDER BY seq) AS before_file,"
        "      lag(scene) OVER (ORDER BY seq) AS before_scene "
        "      FROM raw WHERE kind IN ('dialogue', 'message', 'choice')))"
        "WHERE whom IS NOT NULL AND speaker IS NOT NULL AND speaker <> whom AND (speaker = ?1 OR whom = ?1) "
        "GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 200",
        speaker,
    )
    census.talks = [(str(a), str(b), int(n)) for a, b, n in talks]
    return census, _background(connection, speaker, census.read)


def _background(connection: apsw.Connection, speaker: str, read: int) -> Counter[str]:
    """The words of others, of a sample spread over the dump when it is large; the same for the same dump."""
    keep = min(1.0, _BACKGROUND / max(1, read))
    rng = random.Random(read)
    words: Counter[str] = Counter()
    for (text,) in connection.execute(
        "SELECT text FROM raw WHERE speaker IS NOT NULL AND speaker <> ? AND kind IN ('dialogue', 'message')",
        (speaker,),
    ):
        if keep >= 1 or rng.random() < keep:
            words.update(words_of(str(text)))
    return words

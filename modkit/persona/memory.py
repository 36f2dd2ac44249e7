"""`Memory`, and the words it is found by: how a text is spelled in the index, and how a question becomes a query.

The query is built from quoted tokens; what a player types is never spliced into FTS syntax. Nothing here touches
a file; every function may be called from any thread.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from modkit.persona.lines import Source, is_player

__all__ = ["FEW", "STOP_WORDS", "Memory", "index_words", "is_question", "match_query", "stem", "tells_little", "tokens"]

FEW = 3  # telling words; a line with fewer, such as "I said nothing.", tells little
MAX_TOKENS = 32  # of a question; the rest of a longer one adds time and no meaning
_MAX_QUESTION = 4000  # characters looked at

_WORD = re.compile(r"[^\W_]+")
_ACCENT = re.compile("([A-Za-z])[\u0300-\u036f]+")
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

    `speaker` said `text`; `cue` is the other's line it answered, when the dump has it. `id` is its number in the
    persona, or in the save for what was lived through in play (`kind` "heard", "said", "told" or "summary").
    `kind` "lore" is knowledge that nobody said.
    """

    text: str
    speaker: str | None
    kind: str
    scene: str | None
    source: Source
    score: float
    cue: str | None = None
    id: int = 0
    quest: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The memory as a JSON object of plain values."""
        return {
            "id": self.id,
            "text": self.text,
            "speaker": self.speaker,
            "kind": self.kind,
            "scene": self.scene,
            "quest": self.quest,
            "cue": self.cue,
            "source": {"file": self.source.file, "place": self.source.place},
            "score": float(f"{self.score:.6g}"),
        }


def index_words(text: str) -> str:
    """`text` as it goes into the index: irregular forms as their base, accents off Latin letters, every CJK
    character a word of its own."""
    if not text.isascii():
        text = _ACCENT.sub(r"\1", unicodedata.normalize("NFKD", text))
        text = _CJK.sub(lambda found: f" {found.group(0)} ", unicodedata.normalize("NFKC", text))
    text = text.casefold()
    return " ".join(_BASE.get(word, word) for word in _WORD.findall(text.replace("'", " ").replace("’", " ")))


def tells_little(text: str) -> bool:
    """Whether it takes the line that was answered to make sense of `text`, as of "Yes. By about a minute."."""
    return sum(1 for word in index_words(text).split() if word not in STOP_WORDS) < FEW


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


def stem(word: str) -> str:
    """A rough stem, for comparing words outside of SQLite: "lamps" and "lamp", "trimming" and "trim"."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word

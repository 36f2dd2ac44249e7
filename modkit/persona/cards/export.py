"""A built persona as a character card: who she is, how she talks, and what she knows as a lorebook."""

from __future__ import annotations

import re
from collections import Counter

from modkit.persona.cards.card import Card
from modkit.persona.cards.lorebook import Lorebook, LoreEntry
from modkit.persona.lines import Line, fold
from modkit.persona.persona import Persona

__all__ = ["persona_card"]

_NAME = re.compile(r"(?<![.!?…\"“] )(?<!^)\b[A-Z][\w'’-]{2,}")
_HELLO = re.compile(r"(?:hello|hi|hey|(?:good )?(?:morning|evening|day)|greetings|welcome)\b", re.IGNORECASE)
_EXAMPLES = 8
_ENTRIES = 80
_LINES_OF_ENTRY = 4


def persona_card(persona: Persona, *, lorebook: bool = True, gated: bool = False) -> Card:
    """`persona` as a Card: her card's text, examples from her dump with the cues they answered, a lorebook by name.

    A lorebook entry holds up to four of her lines about somebody or something that her lines name at least twice; its
    key is the name. Lines behind a gate are left out, because a card knows of no state and would tell what has not
    happened; `gated` takes them in. How many were left out stands in `extensions["modkit"]["left_out"]`. Reads the
    whole persona; not for a frame. Raises PersonaError.
    """
    everything = list(persona._lines_and_gates(heard=False))
    own = [line for line, behind in everything if gated or not behind]
    exchanges = _exchanges(persona, gated)
    about = {"lines": len(own), "left_out": len(everything) - len(own), "language": persona.meta.get("lang") or None}
    card = Card(
        persona.name,
        description=persona.card,
        first_mes=_greeting(own),
        mes_example="\n".join(_example(cue, answer) for cue, answer in exchanges[:_EXAMPLES]),
        creator_notes=f"Made with modkit from {len(own)} lines of a dialogue dump.",
        character_version="1",
        tags=["modkit"],
        extensions={"modkit": about},
    )
    if lorebook:
        card.book = _book(persona.name, own)
    return card


def _plain(words: str) -> str:
    """`words` on one line; macros that stand in a dump's line are data, not macros."""
    plain = " ".join(words.split()).replace("{{", "{ {").replace("}}", "} }")
    return re.sub(r"<(?=(?:char|bot|user|START)>)", "< ", plain, flags=re.IGNORECASE)


def _example(cue: str, answer: str) -> str:
    return f"<START>\n{{{{user}}}}: {_plain(cue)}\n{{{{char}}}}: {_plain(answer)}"


def _greeting(own: list[Line]) -> str:
    said = [line.text for line in own if line.kind == "dialogue"]
    for words in said:
        if _HELLO.match(words):
            return _plain(words)
    return _plain(said[0]) if said else ""


def _exchanges(persona: Persona, gated: bool) -> list[tuple[str, str]]:
    """What was said to her and what she answered, of middling length, spread over her dump."""
    pairs: list[tuple[str, str]] = []
    before: Line | None = None
    for line, behind in persona._lines_and_gates(heard=True):
        mine = line.speaker is not None and fold(line.speaker) == fold(persona.name)
        hidden = behind and not gated
        if mine and not hidden and before is not None and before.scene == line.scene and 20 <= len(line.text) <= 200:
            pairs.append((before.text, line.text))
        before = None if mine or hidden else line
    step = max(1, len(pairs) // _EXAMPLES)
    return pairs[::step]


def _book(name: str, own: list[Line]) -> Lorebook:
    holders: dict[str, list[str]] = {}
    for line in own:
        for word in set(_NAME.findall(line.text)):
            if fold(word) != fold(name) and not word.isupper():
                holders.setdefault(word, []).append(line.text)
    counts = Counter({word: len(lines) for word, lines in holders.items() if len(lines) > 1})
    entries = []
    for order, (word, _) in enumerate(counts.most_common(_ENTRIES)):
        lines = sorted(set(holders[word]), key=lambda text: -len(text))[:_LINES_OF_ENTRY]
        content = "\n".join(f"{{{{char}}}}: {_plain(text)}" for text in lines)
        entry = LoreEntry(content, [word], name=word, order=order, whole_words=True)
        entry.extensions["match_whole_words"] = True
        entries.append(entry)
    return Lorebook(entries, name=f"What {name} says", token_budget=512)

"""The words that go to the model: one system message with the card, then the turns as they were said.

The form is fixed, because small models are trained on exactly this. Everything a player, a dump or a mod
says is folded onto one line of its block, so none of it can begin a block of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modkit.persona.lines import fold
from modkit.persona.memory import Memory, tells_little

if TYPE_CHECKING:
    from modkit.engine.protocol import Message

__all__ = [
    "assistant_message",
    "inner_facts",
    "memory_text",
    "one_line",
    "summary_messages",
    "system_message",
    "user_content",
    "user_message",
]

MAX_MEMORY = 160  # characters
_ANSWERED = '"{}" You said: {}'
_LEAST_CUE = 24  # characters; less of it would say nothing
MAX_FACT = 300
MAX_WORDS = 2000  # characters of the player's words


_FEELINGS = ("hate", "distrust", "are wary of", "do not know what to think of", "like", "trust", "love")
_LANGUAGES = {
    "cs": "Czech", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ru": "Russian",
    "tr": "Turkish", "uk": "Ukrainian", "zh": "Chinese",
}  # fmt: skip
_PLAYERS_NAME = re.compile(r"[\[{](?:player_?(?:name)?|name|mc|mc_name|playername)[\]}]", re.IGNORECASE)


_MARK = re.compile(r"<(?=(?:do|mood|gesture):|tool_call>)")  # nobody but the model writes marks


def one_line(text: str, limit: int) -> str:
    """`text` without control characters, on one line, cut at a word with an ellipsis above `limit` characters."""
    head = text[: 4 * limit + 4]
    plain = "".join(" " if c.isspace() or unicodedata.category(c) in ("Cc", "Cs") else c for c in head)
    plain = _MARK.sub("‹", " ".join(plain.split()))
    if len(plain) <= limit and len(head) == len(text):
        return plain
    cut = plain[: limit - 1]
    at_word = cut.rsplit(" ", 1)[0] if len(plain) >= limit and not plain[limit - 1 : limit].isspace() else cut
    if len(at_word) < limit // 2:  # a text without spaces
        at_word = cut
    return at_word.rstrip(" ,;:.…") + "…"


def memory_text(memory: Memory, name: str) -> str:
    """A memory as the prompt gives it: her own words as they are, another's with who said them.

    "Yes. By about a minute." tells nothing by itself: an answer so short comes with what it answered. A place that
    the game fills with the player's name, such as `[player]`, reads "stranger" here.
    """
    said_by_other = memory.speaker is not None and fold(memory.speaker) != fold(name)
    prefix = f"{one_line(memory.speaker or '', 40)} said: " if said_by_other else ""
    text = one_line(prefix + _PLAYERS_NAME.sub("stranger", memory.text), MAX_MEMORY)
    room = MAX_MEMORY - len(text) - len(_ANSWERED)
    if said_by_other or not memory.cue or room < _LEAST_CUE or not tells_little(memory.text):
        return text
    return _ANSWERED.format(one_line(_PLAYERS_NAME.sub("stranger", memory.cue), room), text)


def user_content(
    words: str,
    memories: Sequence[str] = (),
    facts: Iterable[str] = (),
    player: str = "Player",
    can: Iterable[str] = (),
) -> str:
    """The content of one turn's user message. `memories` come best first and are written best last.

    `can` are the lines of what she can do: name, arguments, what it does.
    """
    rows: list[str] = []
    able = [text for text in (one_line(action, MAX_FACT) for action in can) if text]
    if able:
        rows += ["You can do:", *(f"* {text}" for text in able)]
    remembered = [text for text in (one_line(memory, MAX_MEMORY) for memory in memories) if text]
    if remembered:
        rows += ["You remember:", *(f"* {text}" for text in reversed(remembered))]
    noticed = [text for text in (one_line(fact, MAX_FACT) for fact in facts) if text]
    if noticed:
        rows += ["You notice:", *(f"* {text}" for text in noticed)]
    rows.append(f"{player}: {one_line(words, MAX_WORDS)}".rstrip())
    return "\n".join(rows)


def system_message(card: str, language: str = "") -> Message:
    """The first message of every conversation. `language` is a code such as "de", or a name."""
    name = _LANGUAGES.get(language.casefold(), language)
    return {"role": "system", "content": f"{card.strip()}\nAnswer in {name}." if name else card.strip()}


def inner_facts(inner: Mapping[str, Any], around: Iterable[str]) -> dict[str, str]:
    """Mood, and feelings towards those who are around, as sentences by what they are about."""
    facts = {}
    mood = one_line(str(inner.get("mood", "")), 60)
    if mood:
        facts[""] = f"You feel {mood}."
    feelings = inner.get("feelings", {})
    for who in sorted(around):
        if who in feelings:
            step = min(len(_FEELINGS) - 1, max(0, round((float(feelings[who]) + 1.0) / 2.0 * (len(_FEELINGS) - 1))))
            facts[who] = f"You {_FEELINGS[step]} {one_line(who, 40)}."
    return facts


def summary_messages(name: str, card: str, turns: Iterable[Any]) -> list[Message]:
    """What the model is asked when turns are folded into a summary."""
    rows = []
    for turn in turns:
        rows += [f"{turn.player}: {one_line(turn.words, 300)}", f"{name}: {one_line(turn.reply, 300)}"]
    talk = "\n".join(rows)
    task = (
        f"This was said some time ago:\n{talk}\n\nWrite down in two or three short sentences what {name} remembers "
        "of it: names, facts, promises, and how they parted. Only what was said."
    )
    return [{"role": "system", "content": card.strip()}, {"role": "user", "content": task}]


def user_message(content: str) -> Message:
    """A player's turn."""
    return {"role": "user", "content": content}


def assistant_message(reply: str, tokens: tuple[int, ...] = ()) -> Message:
    """A reply as it was said; `tokens` are kept when the model that said them is still the one that speaks."""
    return (
        {"role": "assistant", "content": reply, "tokens": tokens} if tokens else {"role": "assistant", "content": reply}
    )

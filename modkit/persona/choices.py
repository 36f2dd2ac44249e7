"""What the player could say next, for games with a dialogue wheel: a few short, different replies in one call.

The list's form is a grammar's, so each entry is one short line; that they differ is checked here, and two more than are
wanted are asked for, so that a repetition costs nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from modkit.engine.pending import Answer
from modkit.errors import OptionError
from modkit.persona import prompt

if TYPE_CHECKING:
    from modkit.engine.protocol import Message
    from modkit.engine.stream import Stream
    from modkit.persona.npc import NPC

__all__ = ["PlayerChoices", "ask_choices"]

MOST = 8
MAX_LENGTH = 80  # characters of one choice
_SPARE = 2
_NUMBER = re.compile(r"^\d+\.\s*")


def ask_choices(npc: NPC, n: int, hint: str, options: dict[str, Any]) -> PlayerChoices:
    """See `NPC.choices`."""
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST:
        raise OptionError(f"choices(n) takes a whole number from 1 to {MOST}, not {n!r}")
    earlier = list(npc.transcript)
    count = n + _SPARE
    options = {"max_tokens": 32 * count, "temperature": 0.9, "grammar": _grammar(count), **options}
    stream = npc.engine.chat(lambda: _messages(npc, earlier, count, hint), **options)
    return PlayerChoices(stream, n)


class PlayerChoices(Answer[list[str]]):
    """The choices, when they are there: `done`, `result()`, `await`, `on_done`, `cancel()`."""

    def __init__(self, stream: Stream, n: int) -> None:
        super().__init__(stream._engine, stream.id, lambda: _told(stream.text, n, stream.finish == "stop"))
        self._stream = stream
        stream.on_done(self._over)

    def cancel(self) -> None:
        """Stops it; there will be no result."""
        self._stream.cancel()

    def _over(self, stream: Stream) -> None:
        self.stats = stream.stats
        self._end({"length": "stop"}.get(str(stream.finish), str(stream.finish)), stream.error)


def _messages(npc: NPC, earlier: list[Any], count: int, hint: str) -> list[Message]:
    """The conversation as it stands, whose beginning the cache holds, and the question. On the helper thread."""
    messages = npc._so_far(earlier)
    about = f" {prompt.one_line(hint, 200)}" if hint else ""
    messages.append(
        prompt.user_message(
            f"(Write {count} short things that {npc.player} could say to {npc.name} now, each different from the"
            f" others, in {npc.player}'s own words, as a numbered list.{about})"
        )
    )
    return messages


@lru_cache(maxsize=16)
def _grammar(count: int) -> str:
    """GBNF. As text: the worker reads it, so that the first wheel of a game does not load the grammars in a frame."""
    start = "[a-zA-Z\\u00C0-\\u024F\\u0370-\\u03FF\\u0400-\\u052F\\u3040-\\u9FFF\\uAC00-\\uD7A3\\u00BF\\u00A1\"'“‘]"
    inside = "[^\\n\\r<>{}\\[\\]|*.!?…。！？]"
    line = f"line ::= {start} {inside}{{1,{MAX_LENGTH - 2}}} [.!?…。！？]"
    rows = ' "\\n" '.join(f'"{number}. " line' for number in range(1, count + 1))
    return f"root ::= {rows}\n{line}"


def _told(text: str, n: int, whole: bool) -> list[str]:
    """The first `n` that differ; of a list that was cut off, what is complete."""
    lines = text.strip().split("\n")
    found: dict[str, str] = {}
    for line in lines if whole else lines[:-1]:
        choice = _NUMBER.sub("", line).strip()
        key = "".join(c for c in choice.casefold() if c.isalnum())
        if key:
            found.setdefault(key, choice)
    return list(found.values())[:n]

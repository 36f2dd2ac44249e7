"""`Turn`: one exchange, as it is said, given to the model, and kept in a save."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modkit.persona import prompt
from modkit.persona.actions import Deed
from modkit.persona.lines import Source
from modkit.persona.memory import Memory
from modkit.persona.save import SavedTurn

if TYPE_CHECKING:
    from modkit.engine.stream import Stream
    from modkit.persona.offer import Offer

__all__ = ["Turn", "complete", "marked", "restored", "to_save"]


@dataclass
class Turn:
    """One exchange: what the player said, what the model was given for it, what came back.

    `content` is None until the prompt was built. `memories` are what came to her mind, with sources. `finish`
    is as on a stream, None while she speaks. `cost` is the tokens of the prompt and the reply, 0 until measured.
    """

    player: str
    words: str
    facts: tuple[str, ...] = ()
    content: str | None = None
    memories: tuple[Memory, ...] = ()
    reply: str = ""
    finish: str | None = None
    model: str = ""
    tokens: tuple[int, ...] = ()
    cost: int = 0
    prompt_tokens: int = 0
    prompt_bytes: int = 0  # of all contents of that prompt
    place: int = 0  # among all turns ever said to her, from 0
    first: int = 0  # the place of the oldest turn that was in the prompt
    state: dict[str, Any] = field(default_factory=dict, repr=False)  # of the game, what the gates ask for
    raw: str = ""  # the reply with its marks, when there were any
    deeds: list[Deed] = field(default_factory=list)
    offer: Offer | None = field(default=None, repr=False)
    chosen: tuple[Memory, ...] | None = field(default=None, repr=False)  # memories given in place of a lookup
    tools: list[dict[str, Any]] = field(default_factory=list, repr=False)  # for the model's own template
    noticed: int = 0  # how many of the last facts are what came of earlier deeds
    present: tuple[str, ...] = ()  # who else was there
    time: float = 0.0  # of the game, in hours
    number: int = 0  # in the save, 0 before it is there
    heard: tuple[str, ...] = ()  # of the facts, what was overheard since the turn before
    inner: dict[str, Any] = field(default_factory=dict, repr=False)  # mood and feelings at that moment
    told: dict[str, str] = field(default_factory=dict, repr=False)  # which of them the prompt told


def complete(turn: Turn, name: str) -> None:
    """Give `turn` its content, unless it has one: what the model was given stays as it was given."""
    if turn.content is None:
        memories = [prompt.memory_text(memory, name) for memory in turn.memories]
        can = turn.offer.lines if turn.offer is not None else ()
        turn.content = prompt.user_content(turn.words, memories, turn.facts, turn.player, can)


def to_save(turn: Turn, name: str) -> SavedTurn:
    """A turn as the save keeps it."""
    complete(turn, name)
    extra = {
        "prompt_tokens": turn.prompt_tokens,
        "prompt_bytes": turn.prompt_bytes,
        "facts": list(turn.facts),
        "present": list(turn.present),
        "time": turn.time,
        "told": dict(turn.told),
        "memories": [memory.as_json() for memory in turn.memories],
    }
    if turn.raw:
        extra["raw"] = turn.raw
    if turn.deeds:
        extra["deeds"] = [[deed.name, deed.arguments, deed.outcome, deed.fact] for deed in turn.deeds]
    return SavedTurn(
        turn.player, turn.words, turn.content or "", turn.reply, turn.finish or "", turn.model, turn.tokens, extra
    )


def restored(saved: SavedTurn, name: str, place: int) -> Turn:
    """A turn of an earlier run. Its cost is measured anew, because its window of turns is not kept.

    Its tokens are left behind: the cache they named is gone, and the model of that name may be another one now.
    """
    extra = saved.extra
    memories = extra.get("memories")
    counts = [
        value if isinstance(value, int) else 0 for value in (extra.get("prompt_tokens"), extra.get("prompt_bytes"))
    ]
    return Turn(
        saved.player,
        saved.words,
        tuple(str(fact) for fact in extra.get("facts") or ()),
        saved.content,
        tuple(_memory(item) for item in memories if isinstance(item, dict)) if isinstance(memories, list) else (),
        saved.reply,
        saved.finish,
        saved.model,
        prompt_tokens=counts[0],
        prompt_bytes=counts[1],
        place=place,
        raw=str(extra.get("raw") or ""),
        deeds=_deeds(extra.get("deeds"), name),
        present=tuple(str(who) for who in extra.get("present") or ()),
        time=float(extra.get("time") or 0.0),
        number=saved.number,
        told={str(key): str(value) for key, value in dict(extra.get("told") or {}).items()},
    )


def _deeds(rows: Any, name: str) -> list[Deed]:
    found = []
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, list) and len(row) == 4 and isinstance(row[1], dict):
            found.append(Deed(name, str(row[0]), row[1], str(row[2]), str(row[3])))
    return found


def marked(stream: Stream) -> str:
    """The reply with its marks; "" when it has none."""
    raw = stream.raw
    return raw if raw != stream.text else ""


def _memory(item: dict[str, Any]) -> Memory:
    source = item.get("source") or {}
    return Memory(
        str(item.get("text", "")),
        item.get("speaker"),
        str(item.get("kind", "dialogue")),
        item.get("scene"),
        Source(str(source.get("file", "")), str(source.get("place", ""))),
        float(item.get("score", 0.0)),
        item.get("cue"),
        int(item.get("id") or 0),
    )

"""Several people in one conversation: everybody who is there hears what is said, and nobody else does.

    talk = Conversation([sable, bram], player="Ann")
    stream = talk.say("Who broke the lamp?", to=sable)      # Bram hears the question, and later the answer
    talk.leave(bram)                                        # from here on he hears nothing

Belongs to the game's thread, as the NPCs do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from modkit.errors import OptionError
from modkit.persona.npc import NPC

if TYPE_CHECKING:
    from modkit.engine.stream import Stream

__all__ = ["Conversation"]


class Conversation:
    """`people` are the NPCs who are there; `player` is the player's name in it (default: as each NPC knows it)."""

    def __init__(self, people: Iterable[NPC] = (), player: str | None = None) -> None:
        self.people: list[NPC] = []
        self.player = player
        for npc in people:
            self.join(npc)

    def join(self, npc: NPC) -> None:
        """`npc` hears what is said from now on."""
        if npc not in self.people:
            self.people.append(npc)

    def leave(self, npc: NPC) -> None:
        """`npc` hears no more; nothing happens when it was not there."""
        if npc in self.people:
            self.people.remove(npc)

    def say(self, text: str, to: NPC, *, speaker: str | None = None, **options: Any) -> Stream:
        """Say `text` to one of them, in front of all; returns a Stream of the reply.

        `speaker` is who speaks (default: the player; an NPC's name when one NPC talks to another). The others hear the
        words now and the reply when it is over, as far as it was said. Options as `NPC.say`.
        """
        if to not in self.people:
            raise OptionError(f"{to.name} is not in this conversation: let it join() first")
        who = speaker or self.player or to.player
        others = [npc for npc in self.people if npc is not to and npc.name != who]
        there = [npc.name for npc in others]
        stream = to.say(text, speaker=who, present=there, **options)
        for npc in others:
            npc.hear(who, text, present=[to.name, *(name for name in there if name != npc.name)])
        stream.on_done(lambda done: self._answered(done, to, others, who))
        return stream

    def _answered(self, stream: Stream, npc: NPC, others: list[NPC], who: str) -> None:
        for other in others:
            if other in self.people and stream.text.strip():
                other.hear(npc.name, stream.text, present=[who])

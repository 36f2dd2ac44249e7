"""The harbour: hands the player's words to Sable, her words, moods and deeds to the game, and lets a gull cross."""

from __future__ import annotations

from typing import Annotated

from modkit.host import Event, Mod, action, every, on, seconds

LINGER = 5.0  # seconds that her last words stay in the bubble
TEMPERATURE = 0.2  # so small a model is surest of its subject when it is hardly left to chance
PLACES = ("the Blue Eel", "the Long Quay", "the Salt House")

turn = 0
carried = ["lantern", "rope"]  # what she has with her
night = True  # at night she never leaves her lamp


def at_hand() -> list[str]:
    return carried


@action("sable")
def give(mod: Mod, item: Annotated[str, at_hand]) -> str:
    """Give the player one of these."""
    carried.remove(item)
    mod.emit("deed", words=f"Sable gives you her {item}", taken=True, item=item)
    return f"The player has the {item} now."


@action("sable", when=lambda mod: not night)
def lead(mod: Mod, place: Annotated[str, PLACES]) -> str:
    """Walk the player there."""
    mod.emit("deed", words=f"Sable leads you to {place}", taken=True, item="")
    return f"You walked with the player to {place}."


@action("sable")
def refuse(mod: Mod) -> None:
    """Say no to it."""
    mod.emit("deed", words="Sable refuses", taken=False, item="")


@on("player_says")
async def answer(mod: Mod, event: Event) -> None:
    global turn
    turn += 1
    mine = turn
    options = {"temperature": TEMPERATURE, **event.get("options", {})}
    reply = mod.npc("sable").say(event.text, facts=event.get("facts", ()), **options)
    reply.on_mood(lambda name: mod.emit("mood", mood=name))
    mod.emit("mood", mood="calm")
    mod.emit("subtitle", speaker="Sable", text="", reply=reply)  # an empty bubble: she thinks
    async for words in reply:
        if mine == turn:  # otherwise she was interrupted by a later question, and answers that one
            mod.emit("subtitle", speaker="Sable", text=words, reply=reply)
    mod.emit("answered", question=event.text, reply=reply)
    await seconds(LINGER)
    if mine == turn:
        mod.emit("subtitle", speaker="", text="", reply=None)


@every(17)
def gull(mod: Mod) -> None:
    mod.emit("gull")

"""The harbour: hands the player's words to Sable, her words to the game, and lets a gull cross now and then."""

from __future__ import annotations

from modkit.host import Event, Mod, every, on, seconds

LINGER = 5.0  # seconds that her last words stay in the bubble
TEMPERATURE = 0.2  # so small a model is surest of its subject when it is hardly left to chance

turn = 0


@on("player_says")
async def answer(mod: Mod, event: Event) -> None:
    global turn
    turn += 1
    mine = turn
    options = {"temperature": TEMPERATURE, **event.get("options", {})}
    reply = mod.npc("sable").say(event.text, facts=event.get("facts", ()), **options)
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

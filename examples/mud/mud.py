"""A MUD's evening: any number of players by telnet, a cast of NPCs, one model, one asyncio loop.

    python examples/mud/mud.py examples/npc_character/sable.gguf out/*.persona --save out/mud.save
    telnet 127.0.0.1 4000

A player gives a name, then writes `sable Who are you?`. An NPC answers one player after another and remembers them all;
several NPCs speak at once. Ctrl-C ends it; what was said is in the save.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import modkit
from modkit.persona import Save


class World:
    def __init__(self, engine: modkit.Engine, cast: dict[str, modkit.NPC]) -> None:
        self.engine, self.cast = engine, cast
        self.turns = {name: asyncio.Lock() for name in cast}

    async def beat(self) -> None:
        """The heart: everything of modkit happens in here, on the loop's thread, and never waits."""
        while True:
            self.engine.tick()  # raises when the model is no good or llama.cpp died; an IsolatedEngine starts anew
            await asyncio.sleep(1 / 30)

    async def ask(self, name: str, player: str, words: str, tell: Callable[[str], None]) -> None:
        async with self.turns[name]:  # a second say() would interrupt her
            reply = self.cast[name].say(words, speaker=player, priority="player")
            over = asyncio.Event()
            reply.on_sentence(lambda sentence: tell(f"{name}: {sentence}"))
            reply.on_done(lambda _: over.set())  # inside the tick
            await over.wait()
            if reply.error is not None:
                tell(f"({name} does not answer: {reply.error})")

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def tell(text: str) -> None:
            writer.write(f"{text}\r\n".encode())

        async def line() -> str:
            await writer.drain()
            return (await reader.readuntil(b"\n")).decode("utf-8", "replace").strip()[:400]

        try:
            tell("By what name are you known?")
            player = await line() or "Stranger"
            tell(f"Good evening, {player}. Here are {', '.join(self.cast)}. Write a name and your words.")
            while True:
                name, _, words = (await line()).partition(" ")
                if name.lower() in self.cast and words:
                    await self.ask(name.lower(), player, words, tell)
                else:
                    tell(f"Here are {', '.join(self.cast)}. Write a name and your words.")
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # gone, or not a person; or the server ends
        finally:
            writer.close()


async def serve(options: argparse.Namespace) -> None:
    with modkit.Engine(options.model, context=1024, slots=4) as engine, Save.open(options.save) as save:
        cast = {path.stem.lower(): modkit.NPC(path, engine, save, id=path.stem) for path in options.personas}
        world = World(engine, cast)
        server = await asyncio.start_server(world.session, "127.0.0.1", options.port, limit=4096)
        beat = asyncio.create_task(world.beat())
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: beat.cancel())
        print(f"listening on port {server.sockets[0].getsockname()[1]}", flush=True)
        try:
            await beat
        except asyncio.CancelledError:
            pass
        finally:
            server.close()
            for npc in cast.values():
                npc.close()  # commits what is not yet in the save


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("personas", type=Path, nargs="+")
    parser.add_argument("--save", type=Path, required=True)
    parser.add_argument("--port", type=int, default=4000)
    asyncio.run(serve(parser.parse_args()))

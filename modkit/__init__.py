"""modkit: living characters inside a game.

    import modkit

    engine = modkit.Engine("model.gguf")
    stream = engine.generate("Once upon a time")
    while not stream.done:              # the game's loop
        engine.tick()                   # never waits
        bubble += stream.take()

Names are loaded at first use, so that importing modkit costs a game next to nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from modkit import errors
from modkit.errors import ModkitError
from modkit.lazy import door

if TYPE_CHECKING:
    from modkit.engine import Chat, Engine, Sampler, Stream
    from modkit.host import Host
    from modkit.ipc import IsolatedEngine, RemoteEngine
    from modkit.native.grammar import Grammar
    from modkit.persona import NPC, Persona

__all__ = [
    "NPC",
    "Chat",
    "Engine",
    "Grammar",
    "Host",
    "IsolatedEngine",
    "ModkitError",
    "Persona",
    "RemoteEngine",
    "Sampler",
    "Stream",
    "errors",
]
__version__ = "0.1.0"

# Silent by default: a host that wants to hear adds a handler to "modkit" or to the root logger.
logging.getLogger("modkit").addHandler(logging.NullHandler())

__getattr__, __dir__ = door(
    __name__,
    {
        "engine": ("Chat", "Engine", "Sampler", "Stream"),
        "host": ("Host",),
        "ipc": ("IsolatedEngine", "RemoteEngine"),
        "native.grammar": ("Grammar",),
        "persona": ("NPC", "Persona"),
    },
)

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

_HOMES = {
    "Chat": "modkit.engine",
    "Engine": "modkit.engine",
    "Sampler": "modkit.engine",
    "Stream": "modkit.engine",
    "Grammar": "modkit.native.grammar",
    "Host": "modkit.host",
    "IsolatedEngine": "modkit.ipc",
    "RemoteEngine": "modkit.ipc",
    "NPC": "modkit.persona",
    "Persona": "modkit.persona",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'modkit' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Other processes: the engine in a child, servers elsewhere, and hosts that are not Python. The door of the room.

The protocol is written down in docs/protocol.md. Names are loaded at first use: a child that starts anew, while
somebody waits for an answer, comes through this door and needs neither of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modkit.ipc.isolated import IsolatedEngine
    from modkit.ipc.remote import RemoteEngine

__all__ = ["IsolatedEngine", "RemoteEngine"]

_HOMES = {"IsolatedEngine": "modkit.ipc.isolated", "RemoteEngine": "modkit.ipc.remote"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'modkit.ipc' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value

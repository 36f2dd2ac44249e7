"""Other processes: the engine in a child, servers elsewhere, and hosts that are not Python. The door of the room.

The protocol is written down in docs/protocol.md. Names are loaded at first use: a child that starts anew, while
somebody waits for an answer, comes through this door and needs neither of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modkit.lazy import door

if TYPE_CHECKING:
    from modkit.ipc.isolated import IsolatedEngine
    from modkit.ipc.remote import RemoteEngine

__all__ = ["IsolatedEngine", "RemoteEngine"]

__getattr__, __dir__ = door(__name__, {"isolated": ["IsolatedEngine"], "remote": ["RemoteEngine"]})

"""Other processes: the engine in a child, servers elsewhere, and hosts that are not Python. The door of the room.

The protocol is written down in docs/protocol.md.
"""

from modkit.ipc.isolated import IsolatedEngine
from modkit.ipc.remote import RemoteEngine

__all__ = ["IsolatedEngine", "RemoteEngine"]

"""The mod host: a folder of mods, run inside the game's frame by `host.tick(dt)`, each kept apart from its
neighbours.

A game makes a `Host`; a mod script uses `on`, `every`, `save`, `restore`, `seconds`, `frames` and `event`.
Everything here belongs to the thread that made the host. What is promised is containment of mistakes, not of
malice: mods are Python code with the rights of the game.
"""

from __future__ import annotations

from modkit.host.apis import Api
from modkit.host.console import Console
from modkit.host.events import Event, Handler
from modkit.host.hooks import action, every, on, restore, save
from modkit.host.host import Host
from modkit.host.manifest import Manifest
from modkit.host.mod import Mod
from modkit.host.report import ModReport
from modkit.host.waits import event, frames, seconds

__all__ = [
    "Api",
    "Console",
    "Event",
    "Handler",
    "Host",
    "Manifest",
    "Mod",
    "ModReport",
    "action",
    "event",
    "every",
    "frames",
    "on",
    "restore",
    "save",
    "seconds",
]

"""Doors that open at first use: a package shows its public names, and loads a module when a name in it is asked for.

So a game pays for what it plays with, and `from modkit.persona import Persona, build` stays what one writes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

__all__ = ["door"]


def door(package: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for the package: `homes` are its modules, each with the public names in it.

    No name may be that of a module in the package: once that module is loaded, it stands there in the name's place.
    """
    where = {name: f"{package}.{module}" for module, names in homes.items() for name in names}

    def get(name: str) -> object:
        home = where.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import importlib

        value: object = getattr(importlib.import_module(home), name)
        setattr(sys.modules[package], name, value)  # asked for once
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return get, names

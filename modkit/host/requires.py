"""What a mod says of its neighbours, in Factorio's words, and which versions satisfy it.

    requires = [
        "lighthouse >=1.2,<2",   # needed, and loaded before this one
        "? weather",             # if it is there, it is loaded before this one (and has to have that version)
        "! fog",                 # this one is left out where that one is
        "~ journal",             # needed, but in no particular order
    ]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from modkit.errors import ModError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

__all__ = ["Requirement", "check_range", "check_version", "satisfies"]

_SHAPE = re.compile(r"\s*(?P<prefix>[?!~])?\s*(?P<id>[a-z][a-z0-9_-]{0,63})\s*(?P<range>.*?)\s*")
_SINGLE = re.compile(r"(?<![<>=!~])=(?!=)")  # Factorio writes "= 1.0"


@dataclass(frozen=True)
class Requirement:
    """One entry of `requires`: `prefix` is "", "?", "!" or "~", `range` a version range or "" for any."""

    prefix: str
    id: str
    range: str = ""

    @classmethod
    def parse(cls, text: object, where: str) -> Requirement:
        """Read one entry; raises `ModError` that names `where` it stands."""
        found = _SHAPE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ModError(f"{where}: requires has {text!r}; write it as 'other_mod >=1.0', with ?, ! or ~ before it.")
        return cls(found["prefix"] or "", found["id"], check_range(found["range"], where))

    @property
    def needed(self) -> bool:
        """Whether the mod cannot do without it."""
        return self.prefix in ("", "~")

    @property
    def orders(self) -> bool:
        """Whether it has to be loaded first."""
        return self.prefix in ("", "?")

    def __str__(self) -> str:
        return " ".join(part for part in (self.prefix, self.id, self.range) if part)


@lru_cache(maxsize=1024)
def _version(text: str) -> Version:
    from packaging.version import Version  # at first use: `import modkit` stays quick

    return Version(text)


@lru_cache(maxsize=1024)
def _range(text: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(_SINGLE.sub("==", text))


def check_version(text: str, where: str) -> str:
    """The version, if it is one that can be compared; raises `ModError` otherwise."""
    try:
        _version(text)
    except ValueError:
        raise ModError(f"{where}: version {text!r} cannot be compared; write it as numbers, such as 1.2.0.") from None
    return text


def check_range(text: str, where: str) -> str:
    """The version range, if it is one; raises `ModError` otherwise."""
    try:
        _range(text)
    except ValueError:
        raise ModError(f"{where}: {text!r} is no version range; write it as >=1.2 or >=1.2,<2.") from None
    return text


def satisfies(version: str, range: str) -> bool:
    """Whether `version` lies in `range` ("" takes any; versions before a release count like others)."""
    return not range or _range(range).contains(_version(version), prereleases=True)

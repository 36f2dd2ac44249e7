"""What the texts of Bethesda's games have in common: codes in them, and form ids beside them."""

from __future__ import annotations

import re
from pathlib import Path

from modkit.persona.readers.documents import plain_markup

__all__ = ["form_id", "language_of", "shown"]

_LANGUAGES = frozenset(
    (
        "english", "german", "french", "italian", "spanish", "polish", "russian", "japanese", "chinese", "korean",
        "czech", "hungarian", "portuguese", "turkish", "ukrainian",
    )
)  # fmt: skip

_VALUE = re.compile(r"<(?:Alias|Global|Token|BaseName|Relationship)[\w.]{0,60}(?:=([^<>\n]{1,100}))?>", re.IGNORECASE)
_PAGE = re.compile(r"\[pagebreak\]", re.IGNORECASE)
_FORM = re.compile(r"\[?(?:\w{4}:)?(?:0x)?([0-9A-Fa-f]{6,8})\]?(?:\|(.{1,200}))?\Z")


def shown(text: str) -> str:
    """A text without fonts and page breaks; what the game fills in stays visible as [Alias]."""
    if "<" in text:
        text = _VALUE.sub(lambda found: f"[{found.group(1) or found.group(0)[1:-1]}]", text)
        text = plain_markup(text)
    return _PAGE.sub(" ", text) if "[" in text else text


def language_of(path: Path) -> str | None:
    """The language that one of the three folders around a file, or the end of its name, names; None where none does."""
    names = [*reversed(path.absolute().parent.parts[-3:]), *re.split(r"[\W_]+", path.stem)[-1:]]
    return next((name.casefold() for name in names if name.casefold() in _LANGUAGES), None)


def form_id(text: str, plugin: str = "") -> tuple[str, str] | None:
    """(plugin, last six hex digits) of a form id such as "[0200C6FB]" or "0200C6FB|Dawnguard.esm".

    The first two digits are the place in somebody's load order and say nothing in another's.
    """
    found = _FORM.match(text.strip()[:260])
    if found is None:
        return None
    owner = (found.group(2) or plugin).strip().casefold()
    for suffix in (".esm", ".esp", ".esl"):
        owner = owner.removesuffix(suffix)
    return owner, found.group(1)[-6:].casefold()

"""The macros of character cards, filled in one go: what they are replaced by is never looked at again."""

from __future__ import annotations

import random
import re

__all__ = ["fill_macros"]

_MACRO = re.compile(r"\{\{([^{}]{0,4000})\}\}|<(char|bot|user)>", re.IGNORECASE)
_LISTS = re.compile(r"(random|pick)\s*:{1,2}\s*(.*)", re.IGNORECASE | re.DOTALL)
_ROLL = re.compile(r"roll\s*:?\s*(\d{0,3})d?(\d{1,6})", re.IGNORECASE)
_OPEN, _SHUT = "\ue000", "\ue001"  # stand for braces of what was filled in, so that it cannot make a macro
_DEPTH = 4  # macros inside macros


def fill_macros(
    text: str,
    *,
    char: str,
    user: str = "Player",
    original: str = "",
    seed: int | str = 0,
) -> str:
    """`text` with `{{char}}`, `{{user}}`, `<bot>`, `{{random:a,b}}`, `{{pick:a,b}}`, `{{roll:d6}}`… filled in.

    `{{random}}`, `{{pick}}` and `{{roll}}` are drawn from `seed` and the place in the text: the same seed, the same
    words. `{{original}}` becomes `original`. Comments and hidden keys vanish; what is unknown stays as it is.
    """
    text = text.replace(_OPEN, "").replace(_SHUT, "")
    rng = random.Random(f"{seed}\0{text}")
    names = {"char": char, "bot": char, "user": user, "original": original}

    def fill(found: re.Match[str]) -> str:
        filled = _value(found.group(1), found.group(2), names, rng)
        return found.group() if filled is None else filled.replace("{", _OPEN).replace("}", _SHUT)

    for _ in range(_DEPTH):
        done = _MACRO.sub(fill, text)
        if done == text:
            break
        text = done
    return text.replace(_OPEN, "{").replace(_SHUT, "}")


def _value(inside: str | None, tag: str | None, names: dict[str, str], rng: random.Random) -> str | None:
    """What a macro stands for, None when it is none."""
    if tag is not None:
        return names[tag.lower()]
    body = (inside or "").strip()
    if body.lower() in names:
        return names[body.lower()]
    if body.startswith("//") or body.lower().startswith(("comment:", "hidden_key:")):
        return ""
    if listed := _LISTS.fullmatch(body):
        given = listed.group(2)
        parts = given.split("::") if "::" in given else re.split(r"(?<!\\),", given)
        return str(rng.choice(parts)).replace("\\,", ",").strip()
    if rolled := _ROLL.fullmatch(body):
        dice = min(int(rolled.group(1) or 1), 100)
        return str(sum(rng.randint(1, max(1, int(rolled.group(2)))) for _ in range(dice)))
    if body.lower().startswith("reverse:"):
        return body[8:].strip()[::-1]
    if body.lower() in ("newline", "space"):
        return "\n" if body.lower() == "newline" else " "
    return None

"""The card as a text that people edit. A rebuild brings new findings and keeps every hand-made change.

A generated line ends in a tag, `[inference length #12 #40 =3fa9]`: what it is, what it is about, the lines it rests
on, a checksum of its words. While the checksum fits, the line is modkit's and follows the dump. A line that was
edited is its editor's; one that was deleted stays away, because the file's last line remembers every key it has had.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from modkit.errors import PersonaError
from modkit.native.replacing import replace_with
from modkit.persona.voice.said import digest
from modkit.persona.voice.statements import Statement

__all__ = ["card_text", "merge_card", "write_card_file"]

_TAG = re.compile(r"\s*\[(inference|quote) (\S+)((?: #\d+)*) =([0-9a-f]{6})\]\s*$")
_KNOWN = "# known:"
_MAX = 1 << 20
_HEAD = (
    "# {name}: what the model is told about the character. Edit freely: what you change, add or delete stays so when",
    "# the persona is built again. [quote …] and [inference …] say what a line is and which lines it rests on.",
    "You are {name}.",
    "",
)
_TAIL = ("", "Answer as {name}, in a few short sentences, from what you remember.")


def _line(statement: Statement) -> str:
    text = " ".join(statement.text.split())
    cited = "".join(f" #{number}" for number in statement.lines)
    return f"* {text} [{statement.kind} {_key(statement.key)}{cited} ={digest(text, 6)}]"


def _key(key: str) -> str:
    return re.sub(r"[\s\]]+", "_", key)


def merge_card(name: str, statements: Sequence[Statement], before: str | None = None) -> str:
    """The card's text with `statements`, built on `before` (an earlier one, edited or not)."""
    fresh = {_key(statement.key): statement for statement in statements}
    if before is None:
        rows = [row.format(name=name) for row in _HEAD]
        rows += [_line(statement) for statement in statements]
        rows += [row.format(name=name) for row in _TAIL]
        return "\n".join([*rows, _known(fresh)]) + "\n"
    rows, seen, known = [], set(), set()
    at = None  # behind the last generated line, where new ones go
    for row in before.replace("\r\n", "\n").split("\n"):
        if row.startswith(_KNOWN):
            known.update(row[len(_KNOWN) :].split())
            continue
        tag = _TAG.search(row)
        if tag is None:
            rows.append(row)
            continue
        key, body = tag.group(2), row[: tag.start()].removeprefix("* ").strip()
        seen.add(key)
        if digest(body, 6) != tag.group(4):
            rows.append(row)  # edited: it is not ours any more
        elif key in fresh:
            rows.append(_line(fresh[key]))
        at = len(rows)
    new = [_line(statement) for key, statement in fresh.items() if key not in seen and key not in known]
    at = len(rows) if at is None else at
    rows[at:at] = new
    while rows and not rows[-1].strip():
        rows.pop()
    return "\n".join([*rows, _known([*known, *seen, *fresh])]) + "\n"


def _known(keys: Iterable[str]) -> str:
    return f"{_KNOWN} {' '.join(sorted(set(keys)))}"


def card_text(text: str) -> str:
    """What of a card file the model is told: no comments, no tags."""
    rows = []
    for row in text.replace("\r\n", "\n").split("\n"):
        if not row.startswith("#"):
            rows.append(_TAG.sub("", row).rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(rows)).strip()


def write_card_file(path: str | Path, name: str, statements: Sequence[Statement]) -> str:
    """Make or renew the card file at `path`, in one step; returns what the model is told. Raises PersonaError."""
    path = Path(path)
    try:
        before = path.read_text(encoding="utf-8-sig") if path.exists() else None
        if before is not None and len(before) > _MAX:
            raise PersonaError(f"{path.name} is larger than {_MAX >> 20} MiB; that is no card")
        made = merge_card(name, statements, before)
        if made != before:
            replace_with(path, made.encode())
    except UnicodeDecodeError:
        raise PersonaError(f"{path.name} is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        raise PersonaError(f"{path.name} cannot be written: {error.strerror or error}") from error
    return card_text(made)

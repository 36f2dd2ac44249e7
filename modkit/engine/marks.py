"""What a reply carries beside words: `<mood:wary>`, `<gesture:nod>`, `<do:give {"item":"lamp"}>`.

A reader takes the model's text as it arrives and gives back what may be shown, and the marks as events. A mark is
never shown, whole or in part: from its `<` on, text is held back until it is known what it is. Text without a `<` costs
one search. What only looks like a mark ("a < b", "<3", "<b>") is shown as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Call", "MarkReader", "Sentence", "Tag"]

MAX_NAME = 40  # characters of a mood's or an action's name
MAX_CALL = 2000  # characters of a call; a longer one is dropped, unseen
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_OPEN = -1
_DO = "<do:"
_TOOL, _TOOL_END = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, slots=True)
class Tag:
    """`<kind:name>`, out of a declared set. `at`: how many characters were shown before it."""

    kind: str
    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """An action the model asks for: `arguments` is JSON as it was written, not yet looked at."""

    name: str
    arguments: str
    at: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence that is complete, as it was shown."""

    text: str
    at: int


Mark: TypeAlias = "Tag | Call"


class MarkReader:
    """`tags`: kind → the names there are, such as {"mood": {"calm", "wary"}}. `calls`: whether `<do:...>` is read,
    `tools` whether `<tool_call>...</tool_call>` is. An undeclared name is dropped without an event."""

    def __init__(
        self, tags: Mapping[str, Collection[str]] | None = None, *, calls: bool = False, tools: bool = False
    ) -> None:
        self._tags = {f"<{kind}:": (kind, frozenset(names)) for kind, names in (tags or {}).items()}
        self._openers = (*self._tags, *((_DO,) if calls else ()), *((_TOOL,) if tools else ()))
        self._held = ""
        self._shown = 0
        self._blank = True  # the shown text ends with a space, or is empty
        self._dropping = False  # inside something that began as a mark and is none: up to its '>' or its line's end
        self._gap = False  # a mark has just gone: of the spaces around it one is enough

    def feed(self, text: str) -> tuple[str, list[Mark]]:
        """What may be shown of the text so far, and the marks that are complete."""
        if not self._held and not self._gap and not self._dropping and "<" not in text:
            if text:
                self._shown += len(text)
                self._blank = text[-1].isspace()
            return text, []
        return self._read(self._held + text, last=False)

    def end(self) -> tuple[str, list[Mark]]:
        """What is left when the reply is over; a half-written mark is dropped."""
        return self._read(self._held, last=True)

    def _read(self, text: str, last: bool) -> tuple[str, list[Mark]]:
        shown: list[str] = []
        marks: list[Mark] = []
        at = 0
        self._held = ""
        while at < len(text):
            if self._dropping:
                at = self._drop(text, at)
                continue
            start = text.find("<", at)
            if start < 0:
                shown.append(self._show(text[at:]))
                break
            if start > at:
                shown.append(self._show(text[at:start]))
            opener = next((o for o in self._openers if text.startswith(o, start)), None)
            if opener is None:
                rest = text[start : start + 12]
                if any(o.startswith(rest) for o in self._openers) and start + len(rest) == len(text):
                    if not last:
                        self._held = text[start:]
                    elif len(rest) == 1:
                        shown.append(self._show(rest))
                    break
                shown.append(self._show("<"))
                at = start + 1
                continue
            end, mark = self._mark(text, start, opener)
            if end == _OPEN:
                if not last:
                    self._held = text[start:]
                break
            if end < 0:
                self._dropping, end = True, -end
            if mark is not None:
                marks.append(mark)
            self._gap = self._blank
            at = end
        return "".join(shown), marks

    def _show(self, text: str) -> str:
        if self._gap and text:
            text = text.lstrip(" ")
            self._gap = not text
        if text:
            self._shown += len(text)
            self._blank = text[-1].isspace()
        return text

    def _drop(self, text: str, at: int) -> int:
        line, close = text.find("\n", at), text.find(">", at)
        if close >= 0 and (line < 0 or close < line):
            self._dropping = False
            return close + 1
        self._dropping = line < 0
        return line if line >= 0 else len(text)

    def _mark(self, text: str, start: int, opener: str) -> tuple[int, Mark | None]:
        """Where the mark ends and what it is, None for an undeclared one. _OPEN while it may go on; the negative of
        the place where it breaks off when it is none."""
        if opener == _DO:
            return self._call(text, start)
        if opener == _TOOL:
            return self._tool(text, start)
        kind, names = self._tags[opener]
        begin = at = start + len(opener)
        while at < len(text) and text[at] in _NAME and at - begin <= MAX_NAME:
            at += 1
        if at == len(text) and at - begin <= MAX_NAME:
            return _OPEN, None
        name = text[begin:at]
        if len(name) > MAX_NAME or text[at] != ">":
            return -at, None
        return at + 1, Tag(kind, name, self._shown) if name in names else None

    def _call(self, text: str, start: int) -> tuple[int, Mark | None]:
        begin = at = start + len(_DO)
        while at < len(text) and text[at] in _NAME and at - begin <= MAX_NAME:
            at += 1
        name = text[begin:at]
        if at == len(text) and len(name) <= MAX_NAME:
            return _OPEN, None
        if not 0 < len(name) <= MAX_NAME or text[at] not in " >":
            return -at, None
        if text[at] == ">":
            return at + 1, Call(name, "{}", self._shown)
        at += 1
        end = _json_end(text, at)
        if end - at > MAX_CALL:
            return -(at + MAX_CALL), None
        if end == len(text):
            return _OPEN, None
        if text[end] != ">":
            return -end, None
        return end + 1, Call(name, text[at:end], self._shown)

    def _tool(self, text: str, start: int) -> tuple[int, Mark | None]:
        """A call in the form of the Hermes and Qwen families: {"name": ..., "arguments": {...}}."""
        import json

        at = start + len(_TOOL)
        end = text.find(_TOOL_END, at)
        if (end if end >= 0 else len(text)) - at > MAX_CALL:
            return -(at + MAX_CALL), None
        if end < 0:
            return _OPEN, None
        try:
            said = json.loads(text[at:end])
            name, arguments = said["name"], said.get("arguments", {})
            call = Call(str(name)[:MAX_NAME], json.dumps(arguments), self._shown)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return end + len(_TOOL_END), None
        return end + len(_TOOL_END), call


def _json_end(text: str, at: int) -> int:
    """Where the JSON object that begins at `at` ends; len(text) while it is open; where it breaks off otherwise."""
    if at < len(text) and text[at] != "{":
        return at
    depth, in_text = 0, False
    while at < len(text):
        char = text[at]
        if in_text:
            if char == "\\":
                at += 1
            elif char == '"':
                in_text = False
            elif char == "\n":
                return at
        elif char == '"':
            in_text = True
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return len(text)

"""The lexical side of Ren'Py: logical lines, string literals, text tags. No file, no meaning.

Ren'Py is a language of lines and indentation like Python, except that a string may run over lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Logical", "call_arguments", "logical_lines", "paragraphs", "shown_text", "string_at", "unescape"]

_OPEN, _CLOSE = "([{", ")]}"
_LOOKAHEAD = 200  # physical lines a string or a bracket may run on; beyond that it was never closed
_PATIENCE = 50  # unclosed ones per file; then every physical line stands for itself, so time stays bounded

_PREFIX = re.compile(r"[rRuUbBfF]{0,2}(?=[\"'`])")
_UNICODE = re.compile(r"[0-9a-fA-F]{1,4}")
_RUBY = re.compile(r"\{rt\}[^{}]{0,200}\{/rt\}")
_TAG = re.compile(r"\{[^{}]*\}")
_CONVERSION = re.compile(r"\[([^\[\]!]{1,200})![a-z]+\]")
_PERCENT = re.compile(r"%\((\w{1,80})\)[a-z]")


@dataclass(frozen=True, slots=True)
class Logical:
    """One logical line: its first physical line's number, its indentation in columns, its text."""

    number: int
    indent: int
    text: str


def logical_lines(text: str) -> Iterator[Logical]:
    """The logical lines of a script, comments and blank lines left out."""
    physical = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    at, unclosed = 0, 0
    while at < len(physical):
        line = physical[at].expandtabs(8)
        stripped = line.lstrip(" ")
        if not stripped or stripped.startswith("#"):
            at += 1
            continue
        joined, used = _join(physical, at, _LOOKAHEAD if unclosed < _PATIENCE else 1)
        if not used:  # never closed: take the one physical line, so that the damage ends with it
            joined, used, unclosed = physical[at], 1, unclosed + 1
        yield Logical(at + 1, len(line) - len(stripped), joined.strip())
        at += used


def _join(physical: list[str], at: int, lookahead: int) -> tuple[str, int]:
    """The logical line that begins at `at`, without its comment, and how many physical lines it takes.

    The count is 0 when something opened there is not closed within `lookahead` lines.
    """
    kept: list[str] = []
    depth, quote = 0, ""
    for used, line in enumerate(physical[at : at + lookahead], 1):
        end, i = len(line), 0
        while i < len(line):
            char = line[i]
            if quote:
                if char == "\\":
                    i += 1
                elif line.startswith(quote, i):
                    i += len(quote) - 1
                    quote = ""
            elif char == "#":
                end = i
                break
            elif char in "\"'`":
                quote = char * 3 if line.startswith(char * 3, i) else char
                i += len(quote) - 1
            elif char in _OPEN:
                depth += 1
            elif char in _CLOSE:
                depth = max(0, depth - 1)
            i += 1
        part = line[:end]
        if not quote and depth == 0 and not part.endswith("\\"):
            return "\n".join([*kept, part]), used
        kept.append(part[:-1] if part.endswith("\\") and not quote else part)
    return "", 0


def string_at(text: str, at: int) -> tuple[str, str, int] | None:
    """(raw inside, quote, end) of the string literal that begins at `at`; None when none does."""
    prefix = _PREFIX.match(text, at)
    if prefix is None:
        return None
    start = prefix.end()
    quote = text[start] * 3 if text.startswith(text[start] * 3, start) else text[start]
    i = start + len(quote)
    while i < len(text):
        if text[i] == "\\":
            i += 2
        elif text.startswith(quote, i):
            return text[start + len(quote) : i], quote, i + len(quote)
        else:
            i += 1
    return None


def unescape(raw: str) -> str:
    """A string literal's inside with its escapes resolved, as Ren'Py does it."""
    if "\\" not in raw:
        return raw
    out: list[str] = []
    i = 0
    while i < len(raw):
        char = raw[i]
        i += 1
        if char != "\\" or i >= len(raw):
            out.append(char)
            continue
        escaped = raw[i]
        i += 1
        if escaped == "n":
            out.append("\n")
        elif escaped in "{[%":
            out.append(escaped * 2)  # said twice, the mark is text for the tag stripper too
        elif escaped == "u" and (digits := _UNICODE.match(raw, i)):
            out.append(chr(int(digits.group(0), 16)))
            i = digits.end()
        else:
            out.append(escaped)
    return "".join(out)


def shown_text(raw: str) -> str:
    """What a reader of the game sees of a string literal's inside: tags out, `[variables]` visible."""
    text = unescape(raw).replace("{{", "\x01").replace("[[", "\x02").replace("%%", "\x03")
    text = _TAG.sub(_tag_space, _RUBY.sub("", text))
    text = _PERCENT.sub(r"[\1]", _CONVERSION.sub(r"[\1]", text))
    text = text.replace("\x01", "{").replace("\x02", "[").replace("\x03", "%")
    return " ".join(text.split())


def _tag_space(tag: re.Match[str]) -> str:
    # {p} and {vspace} break the line; every other tag stands inside a word or a sentence.
    return " " if tag.group(0)[1:].startswith(("p}", "p=", "vspace", "space")) else ""


def paragraphs(raw: str, mode: str = "double") -> list[str]:
    """The separate utterances of a triple-quoted string: at blank lines, or at each line for `single`."""
    if mode == "none":
        return [raw]
    parts: list[list[str]] = [[]]
    for line in raw.split("\n"):
        if line.strip():
            parts[-1].append(line)
        if (not line.strip() or mode == "single") and parts[-1]:
            parts.append([])
    return [" ".join(part) for part in parts if part]


def call_arguments(text: str, at: int) -> list[tuple[str, str]]:
    """(keyword or "", source text) of the arguments of the call whose "(" is at `at`, at most 40."""
    arguments: list[tuple[str, str]] = []
    depth, start, i = 0, at + 1, at
    while i < len(text) and len(arguments) < 40:
        char = text[i]
        if char in "\"'`":
            found = string_at(text, i)
            i = found[2] if found else len(text)
            continue
        if char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth -= 1
        if (char == "," and depth == 1) or depth == 0:
            source = text[start:i].strip()
            if source:
                keyword = re.match(r"(\w{1,60})\s{0,4}=(?!=)", source)
                arguments.append((keyword.group(1), source[keyword.end() :].strip()) if keyword else ("", source))
            start = i + 1
            if depth == 0:
                break
        i += 1
    return arguments

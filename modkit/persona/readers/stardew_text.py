"""What is inside a text of Stardew Valley: boxes, questions, portraits, stage directions. No file, no join.

The game's own little language: "#" ends a command or a box, "$" begins a command, "%" a direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["dialogue", "event", "letter"]

Part = tuple[str, str]  # kind, text

_MAX_PARTS = 400

_COMMAND = re.compile(r"\$(?:q|r|p|d|c|t|v|f|1|query|action|y|k|e|b)(?![\w])", re.IGNORECASE)
_BRANCHES = ("$p", "$d", "$query")
_PORTRAIT = re.compile(r"\$(?:\d{1,3}|[hsulakcnHSULAK]|neutral)(?![A-Za-z])")
_ITEMS = re.compile(r"\[(?:\(\w{1,4}\))?\w*\d[\w() ]{0,200}\]")
_GENDER = re.compile(r"\$\{([^^{}]{0,400})\^[^{}]{0,800}\}\$?")
_WORDS = (
    "adj noun place spouse name firstnameletter time band book pet farm favorite kid1 kid2 year season rival "
    "endearment endearmentlower"
)
_WORD = re.compile(rf"%({'|'.join(_WORDS.split())})(?![a-z0-9])", re.IGNORECASE)
_NO_WORD = re.compile(r"%(?:fork|noturn|revealtaste[:\w]{0,60})", re.IGNORECASE)
_QUICK = re.compile(r"\$y\s{0,4}'([^']*)'?", re.IGNORECASE)
_MAIL_COMMAND = re.compile(r"%(?:item|action|secretsanta)\b.{0,400}?%%|\[#\].*|\[(?:letterbg|textcolor)[^\]]{0,80}\]")

# In quotes a slash is text; what is not in quotes ends at the next slash.
_EVENT_COMMAND = re.compile(
    r"(?:^|[/\\(])\s{0,40}(speak|splitSpeak|textAboveHead|message|question|quickQuestion|end dialogue)\s{1,4}"
    r'(?:([A-Za-z]\w{0,60})\s{1,4})?\\?"([^"\\]{0,8000})\\?"'
)
_QUICK_QUESTION = re.compile(r"(?:^|/)\s{0,40}quickQuestion\s([^/]{1,4000}?)(?:\(break\)|/|\Z)")


def dialogue(text: str) -> Iterator[Part]:
    """(kind, text) of every box, answer and direction of a character's text."""
    text = _GENDER.sub(r"\1", text)
    kind, branches = "dialogue", False
    for number, piece in enumerate(text.split("#")):
        if number > _MAX_PARTS:
            return
        piece = piece.strip()
        if quick := _QUICK.match(piece):
            yield from _quick(quick.group(1))
            continue
        command = _COMMAND.match(piece)
        if command and not (piece[1:2] in "1kc" and len(piece) == 2 and number):
            name = command.group(0).casefold()
            kind = "choice" if name == "$r" else "dialogue"
            branches = branches or name in _BRANCHES
            continue
        for said in piece.split("|") if branches else [piece]:
            yield from _box(said, kind)
        kind = "dialogue"


def _box(text: str, kind: str) -> Iterator[Part]:
    text = text.strip().partition("^")[0]  # the words to a farmer, then those to a farmer's wife
    if text.startswith("%") and not _WORD.match(text) and not _NO_WORD.match(text):
        kind, text = "narration", text[1:]
    text = _shown(text)
    if text:
        yield kind, text


def _quick(text: str) -> Iterator[Part]:
    """A question and its answers, each with what is said to it: question_answer_reply_answer_reply."""
    for number, part in enumerate(text.split("_")[:40]):
        if shown := _shown(part):
            yield ("choice" if number % 2 else "dialogue"), shown


def _shown(text: str) -> str:
    text = _NO_WORD.sub("", _ITEMS.sub("", _PORTRAIT.sub("", text)))
    text = _WORD.sub(r"[\1]", text)
    return text.replace("@", "[player]").strip()


def letter(text: str) -> str:
    """A letter: one text, "^" where it breaks a line."""
    return _shown(_MAIL_COMMAND.sub("", text).replace("^", " ").replace("¦", " "))


def event(script: str) -> Iterator[tuple[str | None, str, str]]:
    """(speaker, kind, raw text) of what is said in an event's script; the text may still hold boxes."""
    for count, found in enumerate(_EVENT_COMMAND.finditer(script)):
        if count > 4000:
            return
        command, name, text = found.groups()
        if command in ("speak", "splitSpeak", "textAboveHead", "end dialogue"):
            for part in text.split("~") if command == "splitSpeak" else [text]:
                if name and name.casefold() != "farmer":
                    yield name, "dialogue", part
        elif command == "message":
            yield None, "narration", text
        else:
            for number, part in enumerate(text.split("#")[:20]):
                yield None, ("choice" if number else "narration"), part
    for found in _QUICK_QUESTION.finditer(script):
        for number, part in enumerate(found.group(1).strip('"\\').split("#")[:20]):
            yield None, ("choice" if number else "narration"), part

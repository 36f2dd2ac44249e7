"""Sentences out of a text that arrives in pieces, for subtitles and voices.

A sentence ends with . ! ? … and what closes after them, when a space and a beginning follow; in Chinese and Japanese
with 。！？ at once. "Dr. Bram", "J. R. Marsh", "3.5" and "Wait... what?" are not cut. What cannot be told yet is held
back until the next word, so a sentence is at most a word late.
"""

from __future__ import annotations

import re

__all__ = ["Sentences"]

MAX_LENGTH = 600  # characters without an end: then the last comma or space will do
# only those that a name or a word follows: what often ends a sentence ("etc.", "p.m.") is told by the next letter
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\S+",
        "mr mrs ms mx dr st prof capt cpt lt col gen sgt cmdr adm rev hon messrs vs e.g i.e eg ie ca cf mme mlle sra"
        " z.b d.h bzw usw nr hr fr ggf approx",
    )
)
_CLOSERS = "\"'”’»)]}*_』」）】》"
_WIDE = "。！？｡"
_END = re.compile(r"[.!?…‽]+|[。！？｡]+")
_WORD = re.compile(r"[^\s(\[{\"'“‘«*_]+$")


class Sentences:
    """`feed(text)` gives the sentences that are now complete, `end()` what is left."""

    def __init__(self) -> None:
        self._rest = ""
        self._from = 0  # where the search for an end goes on

    def feed(self, text: str) -> list[str]:
        """Takes on text; returns complete sentences, without the spaces around them."""
        self._rest += text
        found: list[str] = []
        while True:
            cut = self._cut()
            if cut < 0:
                return found
            sentence, self._rest, self._from = self._rest[:cut].strip(), self._rest[cut:], 0
            if sentence:
                found.append(sentence)

    def end(self) -> list[str]:
        """The rest, as a sentence of its own."""
        rest, self._rest, self._from = self._rest.strip(), "", 0
        return [rest] if rest else []

    def _cut(self) -> int:
        """Where the first sentence ends in what is held, or -1."""
        text = self._rest
        line = text.find("\n")
        for match in _END.finditer(text, self._from):
            if 0 <= line < match.start():
                return line + 1
            end = match.end()
            while end < len(text) and text[end] in _CLOSERS:
                end += 1
            if match[0][0] in _WIDE:
                if end < len(text):
                    return end
            elif end == len(text):
                pass
            elif text[end].isspace():
                verdict = self._ends(text, match, end)
                if verdict is None:
                    self._from = match.start()
                    return -1
                if verdict:
                    return end
                self._from = end
                continue
            elif _is_wide(text[end]):
                return end
            else:
                self._from = end
                continue
            self._from = match.start()  # what follows is not here yet
            return -1
        if line >= 0:
            return line + 1
        if len(text) > MAX_LENGTH:
            at = max(text.rfind(", ", 0, MAX_LENGTH) + 1, text.rfind("，", 0, MAX_LENGTH) + 1)
            return at or text.rfind(" ", 0, MAX_LENGTH) + 1 or MAX_LENGTH
        self._from = len(text)
        return -1

    def _ends(self, text: str, match: re.Match[str], end: int) -> bool | None:
        """Whether a sentence ends here, a space following; None while the next word is not here."""
        at = end
        while at < len(text) and text[at].isspace():
            if text[at] == "\n":
                return True
            at += 1
        if match[0] == ".":
            before = _WORD.search(text, max(0, match.start() - 24), match.start())
            word = before[0] if before else ""
            if word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "I"):
                return False
            if word.isdigit() and len(word) <= 2 and text[: match.start()].strip() == word:
                return False  # "1. Take the rope."
        if at == len(text):
            return None
        return not (text[at].islower() or text[at] in ",;:-–—")


def _is_wide(char: str) -> bool:
    return "\u3040" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3" or "\uff00" <= char <= "\uffef"

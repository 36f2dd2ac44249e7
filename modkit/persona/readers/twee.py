"""Twee 3 source and published Twine stories (SugarCube, Harlowe, Chapbook, Snowman).

Twine has no speakers: every passage's prose is narration, links and buttons are the player's choices.
Macros are taken out and never run; what they would print by a variable's name stays visible.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress

from modkit.persona.lines import Line
from modkit.persona.readers.documents import plain_markup
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import HEAD_BYTES, DumpFile

_MAX_BYTES = 32 * 1024 * 1024
_MAX_PASSAGE = 2_000_000  # characters

_PASSAGE = re.compile(  # its name, its tags, and what editors keep about it
    r"(?m)^::[ \t]{0,9}((?:[^\[\]{}\\\n]|\\.){1,200}?)[ \t]{0,9}(?:\[([^\]\n]*)\])?[ \t]{0,9}(?:\{[^\n]*\})?[ \t]{0,9}$"
)
_HTML_PASSAGE = re.compile(r"<tw-passagedata\b([^<>]*)>([^<]*)</tw-passagedata>")
_HTML_NAME = re.compile(r"\bname=(?:\"([^\"]*)\"|'([^']*)')")
_HTML_TAGS = re.compile(r"\btags=(?:\"([^\"]*)\"|'([^']*)')")
_NOT_PROSE = {"storydata", "userscript", "userstylesheet", "storyinit", "storysettings", "storystylesheet"}
_NOT_PROSE_TAGS = {"script", "stylesheet", "annotation", "twine.private", "startup"}

_COMMENTS = re.compile(r"/\*.*?(?:\*/|\Z)|/%.*?(?:%/|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL)
_CODE = re.compile(
    r"<<(script|silently)\b.*?(?:<</\1>>|\Z)|<(script|style)\b.*?(?:</\2>|\Z)|<%.*?(?:%>|\Z)", re.DOTALL | re.IGNORECASE
)
_LINK = re.compile(r"\[\[([^\[\]]{1,1000})\](?:\[[^\[\]]{0,1000}\])?\]")
_BUTTON = re.compile(
    r"<<(?:link|button|linkreplace|linkappend|linkprepend|click|actions)\s+(?:\"([^\"<>]{1,500})\"|'([^'<>]{1,500})')"
)
_MACRO = re.compile(r"<<(?:[^<>]|>(?!>)|<(?!<))*>>")
_HARLOWE_LINK = re.compile(
    r"\((?:link|link-goto|link-repeat|link-reveal|link-reveal-goto|link-rerun|link-undo|click|link-replace|link-append)\s*:\s*"
    r"(?:\"([^\"\n]{1,500})\"|'([^'\n]{1,500})')",
    re.IGNORECASE,
)
_HARLOWE_MACRO = re.compile(r"\((?:[a-z][\w-]{0,40}|\$\w{1,40}|_\w{1,40}):")
_HOOK_NAME = re.compile(r"\|[\w-]{1,40}[>)]|<[\w-]{1,40}\||[\w-]{0,0}\(\w{1,40}\|")
_STYLE = re.compile(r"''|//|__|==|~~|\^\^|\*\*|^\s*(?:!{1,6}|#{1,6})\s*|@@(?:[\w#.:;,\s-]{0,100};)?")
_CHAPBOOK_CODE = re.compile(  # to the next modifier that goes on with the prose
    r"(?mis)^\[(?:javascript|css|note|todo|fixme)\b[^\[\]\n]{0,200}\][ \t]{0,9}$"
    r".*?(?=^\[(?:cont|if|unless|else|after|align)|\Z)"
)
_OLD_PASSAGE = re.compile(r'<div\s+tiddler="([^"<>]{1,300})"([^<>]*)>([^<]*)</div>')  # Twine 1
_FILLED_IN = re.compile(r"\{[\w.]{1,60}\}$")
_STORED = (b"<tw-passagedata", b'<div id="storeArea"', b'<div id="store-area"')
_SEARCHED = 8 * 1024 * 1024  # bytes of a page; a story stands behind the program that plays it
_CHAPBOOK = re.compile(r"\[(?:if|unless|else|continue|after|align|append|cont|note|JavaScript|CSS)\b[^\[\]\n]{0,200}\]")


def _holds_story(file: DumpFile) -> bool:
    """Whether a story stands anywhere in this web page: SugarCube's own program before it has 400 KB."""
    if file.suffix not in (".html", ".htm") or not re.match(r"\s*<(?:!doctype|html)", file.head, re.IGNORECASE):
        return False
    if "twee" not in file.memo:
        tail = b""
        file.memo["twee"] = None
        with suppress(OSError), file.path.open("rb") as page:
            for _ in range(_SEARCHED // HEAD_BYTES):
                block = page.read(HEAD_BYTES)
                if not block:
                    break
                if any(mark in tail + block for mark in _STORED):
                    file.memo["twee"] = "story"
                    break
                tail = block[-32:]
    return file.memo["twee"] is not None


def _sniff(file: DumpFile) -> float:
    if "<tw-storydata" in file.head or "<tw-passagedata" in file.head or _holds_story(file):
        return 0.95
    found = [match.group(1) for match in _PASSAGE.finditer(file.head[:30_000])]
    if not found:
        return 0.0
    if file.suffix in (".tw", ".twee", ".twee3") or any(name in ("StoryData", "StoryTitle", "Start") for name in found):
        return 0.9
    if len(found) > 1 and ("[[" in file.head or "<<" in file.head):
        return 0.7
    return 0.4 if file.suffix in (".txt", ".md", "") else 0.0  # "::" begins a remark in a .bat


@reader("twee", "Twee script or Twine story", sniff=_sniff, extensions=(".twee", ".tw", ".twee3", ".html", ".htm"))
def read_twee(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """The prose of every passage, line by line, and its links as choices."""
    text = file.text(_MAX_BYTES).replace("\r\n", "\n").replace("\r", "\n")
    if "<tw-passagedata" in text:
        number, at = 1, 0
        for found in _HTML_PASSAGE.finditer(text):
            number, at = number + text.count("\n", at, found.start()), found.start()
            name, tags = (_attribute(pattern, found.group(1)) for pattern in (_HTML_NAME, _HTML_TAGS))
            yield from _passage(file, number, name, tags, html.unescape(found.group(2)))
        return
    if "tiddler=" in text and text.lstrip()[:1] == "<":
        number, at = 1, 0
        for found in _OLD_PASSAGE.finditer(text):
            number, at = number + text.count("\n", at, found.start()), found.start()
            body = html.unescape(found.group(3)).replace("\\n", "\n").replace("\\t", " ").replace("\\s", "\\")
            tags = _attribute(_HTML_TAGS, found.group(2))
            yield from _passage(file, number, html.unescape(found.group(1)), tags, body)
        return
    heads = list(_PASSAGE.finditer(text))
    number = at = 0
    for head, following in zip(heads, [*heads[1:], None]):
        number, at = number + text.count("\n", at, head.start()), head.start()
        body = text[head.end() : following.start() if following else len(text)]
        yield from _passage(file, number + 1, head.group(1).replace("\\", ""), head.group(2) or "", body)


def _attribute(pattern: re.Pattern[str], attributes: str) -> str:
    found = pattern.search(attributes)
    return html.unescape(found.group(1) or found.group(2) or "") if found else ""


def _passage(file: DumpFile, number: int, name: str, tags: str, body: str) -> Iterator[Line | None]:
    if name.casefold() in _NOT_PROSE or _NOT_PROSE_TAGS & set(tags.casefold().split()):
        return
    if len(body) > _MAX_PASSAGE:
        file.warn(f"passage {name[:40]!r} was cut at {_MAX_PASSAGE:,} characters")
        body = body[:_MAX_PASSAGE]
    body = _blank(_CHAPBOOK_CODE, _blank(_CODE, _blank(_COMMENTS, body)))
    if "--\n" in body and re.match(r"\s*(?:[\w.]+(?: \([^\n]*\))?: [^\n]*\n)+--\n", body[:5000]):
        body = body.split("--\n", 1)[1]  # Chapbook sets its variables above this line
    line_of = _line_counter(body, number)
    choices = [
        (line_of(match.start()), match.group(1) or match.group(2))
        for pattern in (_BUTTON, _HARLOWE_LINK)
        for match in pattern.finditer(body)
    ]
    body = _blank(_MACRO, body)
    line_of = _line_counter(body, number)
    choices += [(line_of(match.start()), _link_text(match.group(1))) for match in _LINK.finditer(body)]
    choices.sort(key=lambda choice: choice[0])
    choices.reverse()  # taken from the end
    prose = _without_harlowe("\n".join(_with_links(line) for line in body.split("\n")))
    for offset, text in enumerate(prose.split("\n")):
        while choices and choices[-1][0] < number + offset:
            place, label = choices.pop()
            yield file.line(place, _shown(label), kind="choice", scene=name)
        shown = _shown(text)
        if any(c.isalnum() for c in shown):
            yield file.line(number + offset, shown, kind="narration", scene=name)
    for place, label in reversed(choices):
        yield file.line(place, _shown(label), kind="choice", scene=name)


def _with_links(line: str) -> str:
    """A line of prose with the text of the links in it; nothing where there is hardly more than links."""
    bare = _LINK.sub(" ", line)
    if bare == line or len([word for word in bare.split() if word[:1].isalpha()]) < 3:
        return "" if bare != line else line
    return _LINK.sub(lambda found: _link_text(found.group(1)), line)


def _line_counter(body: str, number: int) -> Callable[[int], int]:
    starts = [0, *(match.end() for match in re.finditer("\n", body))]
    return lambda at: number + bisect_right(starts, at) - 1


def _blank(pattern: re.Pattern[str], text: str) -> str:
    """`text` without what `pattern` finds, its line breaks kept so that places stay true."""
    return pattern.sub(lambda found: "\n" * found.group(0).count("\n") or " ", text)


def _link_text(inside: str) -> str:
    """What is shown of `[[text|target]]`, `[[text->target]]` and `[[target<-text]]`."""
    for sign, side in (("->", 0), ("<-", 1), ("|", 0)):
        if sign in inside:
            return inside.partition(sign)[2 * side].strip()
    return inside.strip()


def _without_harlowe(text: str) -> str:
    """`text` without `(macro: …)` calls, however deep their brackets go, and without hooks' own marks."""
    out: list[str] = []
    at = unclosed = 0
    while found := _HARLOWE_MACRO.search(text, at):
        end = _call_end(text, found.start(), 5000 if unclosed < 50 else 100)
        if end < 0:  # never closed: the damage ends with its line
            unclosed += 1
            newline = text.find("\n", found.start())
            end = newline if newline >= 0 else len(text)
        out.append(text[at : found.start()])
        out.append("\n" * text.count("\n", found.start(), end))
        at = end
    out.append(text[at:])
    return _HOOK_NAME.sub("", _CHAPBOOK.sub(" ", "".join(out)))


def _call_end(text: str, at: int, limit: int) -> int:
    """Where the call that begins at `at` is closed, -1 when that is not within `limit` characters."""
    depth = 0
    quote = ""
    for i in range(at, min(len(text), at + limit)):
        char = text[i]
        if quote:
            if char == quote:
                quote = ""
        elif char == '"':
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return i + 1
    return -1


def _shown(text: str) -> str:
    text = _STYLE.sub("", plain_markup(html.unescape(text))).strip()
    for _ in range(20):  # what is left of hooks at the ends; "{name}" is what the story fills in
        before = text
        for opening, closing in ("[]", "{}"):
            if text.startswith(opening) and text.endswith(closing) and text.count(opening) == 1:
                text = text if _FILLED_IN.match(text) else text[1:-1].strip()
            if text.startswith((opening, closing)) and text.count(opening) != text.count(closing):
                text = text[1:].strip()
            if text.endswith((opening, closing)) and text.count(opening) != text.count(closing):
                text = text[:-1].strip()
        text = text.strip("\\|").strip()
        if text == before:
            break
    return text

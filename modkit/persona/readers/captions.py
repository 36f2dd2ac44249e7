"""Source engine captions: `closecaption_<language>.txt`, `subtitles_<language>.txt`.

KeyValues, UTF-16 or UTF-8, read line by line. The speaker is the one a caption names in bold, in
brackets, before a colon, or in a token that begins with `npc_`; what a token alone suggests is not
taken for one. A table of the same shape with the texts of menus is narration: nobody says them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modkit.persona.lines import Line
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_PAIR = re.compile(rf"\s*(?:{_QUOTED}|([^\s\"{{}}]+))\s*{_QUOTED}\s*(?:\[[^\]]*\]\s*)?(?://.*)?$")
_LOOSE_PAIR = re.compile(r'\s*"([^"]*)"\s+"(.*)"\s*$')  # a quotation mark inside, unescaped
_OPEN_PAIR = re.compile(r'\s*"([^"]*)"\s+"(.*)$')  # goes on in the next line
_GOES_ON = 20  # lines

_TOKENS = re.compile(r'(?mi)^[ \t]*"?tokens"?\s*(?:\{|$)')
_LANG = re.compile(r'(?i)\A\s*(?://[^\n]*\n\s*)*"?lang"?\s*(?:\{|\n)')

_SPEAKER = re.compile(r"\s*(?:<[^<>]*>\s*)*?<b>\s*([^<>:]{1,60}?)\s*:\s*<b>\s*:?", re.IGNORECASE)
_BRACKET = re.compile(r"\s*\[([^\W\d][\w .'’&-]{0,40}?) - [^\[\]]{1,80}\]\s*(?=\S)")
_PLAIN = re.compile(r"\s*([^\W\d_][\w.'’#-]{0,30}(?: [^\W_][\w.'’#-]{0,30}){0,3})\s?(?::\s+|：\s*)(?=\S)")
_NPC = re.compile(r"npc_([a-z0-9_]+?)[.\\/]", re.IGNORECASE)
_TAG = re.compile(r"<[^<>\n]{1,80}>|<(?:clr|playerclr|len|norepeat|delay)\b[:\d., ]{0,40}", re.IGNORECASE)
_STRAY = re.compile(r"^\s*(?:<|[a-z]{0,3}>)(?=\[)")  # what is left of a tag that lost its other half
_COLOURED = re.compile(r"\s*<(?:player)?clr:", re.IGNORECASE)
_CAPTIONS = ("closecaption", "subtitles")
_MARKS = re.compile(r"<(?:clr|sfx|norepeat|len|cr)\b", re.IGNORECASE)
_SMALL = 50  # captions; in a larger file a name before a colon comes back
_SOUND = re.compile(r"\s*(?:\[[^\[\]]*\]|\([^()]*\)|\*[^*]*\*)\s*$")


def _sniff(file: DumpFile) -> float:
    if _LANG.match(file.head) and _TOKENS.search(file.head[:4000]):
        return 0.95
    return 0.0


def _pairs(file: DumpFile) -> Iterator[tuple[int, str, str]]:
    """(line number, token, value) of every pair, a value over several lines joined."""
    key, parts, begun = "", [""], 0
    for number, line in file.lines():
        if begun:
            parts.append(line)
            if line.rstrip().endswith('"') or number - begun >= _GOES_ON:
                yield begun, key, "\n".join(parts).rstrip().removesuffix('"')
                begun = 0
            continue
        if line.lstrip().startswith("//"):
            continue
        if found := _PAIR.match(line):
            yield number, (found.group(1) or found.group(2) or ""), found.group(3)
        elif loose := _LOOSE_PAIR.match(line):
            yield number, loose.group(1), loose.group(2)
        elif opened := _OPEN_PAIR.match(line):
            key, parts, begun = opened.group(1), [opened.group(2)], number
    if begun:
        yield begun, key, parts[0]


def _is_speech(file: DumpFile) -> bool:
    """Whether this is a table of captions: by its name, its tokens (`scene.line_01`), or the marks of captions."""
    if file.path.name.casefold().startswith(_CAPTIONS) or _MARKS.search(file.head):
        return True
    tokens = [found.group(1) or found.group(2) or "" for line in file.head.split("\n") if (found := _PAIR.match(line))]
    tokens = [token for token in tokens if token.casefold() != "language"]
    return sum("." in token for token in tokens) >= 0.3 * len(tokens)


def _names(file: DumpFile) -> dict[str, int]:
    """How often each name stands before a colon; in a small file, once is as good as often."""
    counts: dict[str, int] = {}
    total = 0
    for _, _, value in _pairs(file):
        total += 1
        name = None if "<sfx>" in value.casefold() else _plain_name(_plain(value))
        if name and (name in counts or len(counts) < 10_000):
            counts[name] = counts.get(name, 0) + (2 if _COLOURED.match(value) else 1)
    return counts if total > _SMALL else dict.fromkeys(counts, 2)


def _plain_name(text: str) -> str | None:
    found = _PLAIN.match(text)
    if found is None:
        return None
    words = found.group(1).split(" ")
    if any(word[0].islower() for word in words) or words[0] in ("Warning", "Note", "Remember"):
        return None
    return found.group(1) if words[0][0].isupper() or len(found.group(1)) <= 12 else None


@reader("captions", "Source engine captions", sniff=_sniff, extensions=(".txt",))
def read_captions(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every caption; a sound such as "[door creaks]" is a direction, unless somebody is named who makes it."""
    lang: str | None = None
    spoken = _is_speech(file)
    names = _names(file) if spoken else {}
    for number, key, value in _pairs(file):
        if key.casefold() == "language":
            lang = value
            continue
        if key.casefold().startswith("[english]"):  # the original beside its translation
            continue
        value = value.replace('\\"', '"').replace("\\n", "\n").replace("\\t", " ").replace("\\\\", "\\")
        if not spoken:
            yield file.line(number, _plain(value), kind="narration", lang=lang, id=key)
            continue
        speaker, text = _spoken(value, names)
        if speaker is None and (npc := _NPC.match(key)):
            speaker = npc.group(1)
        if speaker is None and ("<sfx>" in value.casefold() or _SOUND.match(text)):
            yield file.line(number, text.strip().strip("[]()*"), kind="direction", lang=lang, id=key)
        else:
            yield file.line(number, text, speaker, lang=lang, id=key)


def _spoken(value: str, names: dict[str, int]) -> tuple[str | None, str]:
    """(speaker the caption names, its text without tags)."""
    found = _SPEAKER.match(value)
    if found:
        return found.group(1), _plain(value[found.end() :])
    text = _plain(value)
    bracket = _BRACKET.match(text)
    if bracket:
        return bracket.group(1), text[bracket.end() :]
    name = None if "<sfx>" in value.casefold() else _plain_name(text)
    plain = _PLAIN.match(text)
    return (name, text[plain.end() :]) if name and plain and names.get(name, 0) >= 2 else (None, text)


def _plain(value: str) -> str:
    return _STRAY.sub("", _TAG.sub("", re.sub(r"<cr>", " ", value, flags=re.IGNORECASE)))

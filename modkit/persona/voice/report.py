"""A page about a built persona that a writer would read: one HTML file with nothing outside it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from itertools import combinations, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from modkit.errors import PersonaError
from modkit.native.replacing import replace_with
from modkit.persona.lines import fold
from modkit.persona.prompt import one_line
from modkit.persona.readers.source import display_path
from modkit.persona.voice.census import Census
from modkit.persona.voice.said import Said, words_of
from modkit.persona.voice.statements import Statement

if TYPE_CHECKING:
    from modkit.persona.persona import Persona

__all__ = ["report_html", "write_report"]

_STYLE = """
:root{color-scheme:light dark;--ink:#22303c;--paper:#fbf9f4;--soft:#6c7a86;--line:#d9d3c4;--mark:#b4552d;--fill:#e7ddc8}
@media(prefers-color-scheme:dark){:root{--ink:#e4e0d6;--paper:#1a2027;--soft:#93a1ad;--line:#36414c;--mark:#e8a06f;
--fill:#33404c}}
body{font:16px/1.55 Georgia,serif;background:var(--paper);color:var(--ink);max-width:60rem;margin:2rem auto;
padding:0 1.2rem}
h1{font-size:2.1rem;margin:0}h2{margin-top:2.4rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
.soft,small,text.soft{color:var(--soft);fill:var(--soft)}svg{max-width:100%;height:auto;font:13px Georgia,serif}
svg text{fill:var(--ink)}svg .bar{fill:var(--mark);opacity:.8}svg .other{fill:var(--fill)}svg line{stroke:var(--soft)}
blockquote{margin:.8rem 0;padding:.1rem 0 .1rem 1rem;border-left:3px solid var(--mark)}
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem .25rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line)}td.n,th.n{text-align:right}.warn{color:var(--mark)}
"""
_NOT_NAMES = re.compile(
    r"^(?:\?+|-+|n/?a|none|null|unknown|narrator|test|todo|\d+|.*\.(?:wav|wem|ogg|txt))$", re.IGNORECASE
)


def write_report(persona: Persona, path: str | Path) -> None:
    """Write the page about `persona` to `path`, in one step. Raises PersonaError."""
    path = Path(path)
    page = report_html(persona)
    try:
        replace_with(path, page.encode())
    except OSError as error:
        raise PersonaError(f"{display_path(path)} cannot be written: {error.strerror or error}") from error


def report_html(persona: Persona) -> str:
    """The page as text. Everything a dump said is escaped: a line cannot become a part of the page."""
    census = Census.parse(persona.meta.get("census"))
    statements = persona.voice()
    said = persona.said()
    folder = _folder({line.source.file for line in persona.lines()})
    places = {line.id: place[folder:] for line, place in said}
    own = [line for line, _ in said]
    name = escape(persona.name)
    parts = [
        f"<h1>{name}</h1>",
        f'<p class="soft">{len(own)} lines of {name} in {census.scenes} scenes, of {census.read} read'
        f" from {len(census.speakers)} speakers; built {escape(persona.meta.get('built_at', ''))}.</p>",
        "<h2>What the model is told</h2>",
        f"<blockquote>{escape(persona.card)}</blockquote>".replace("\n", "<br>"),
        "<h2>Who with whom</h2>",
        _graph(persona.name, census),
        "<h2>Voice</h2>",
        _statements(statements, places, own),
        "<h2>Words</h2>",
        _vocabulary(own, statements),
        "<h2>Rhythm</h2>",
        "<p>Words in a line, and how many lines have so many.</p>",
        _histogram(own),
        "<h2>Sample lines</h2>",
        _samples(statements, own, places),
        "<h2>Gaps</h2>",
        _list(_gaps(persona.name, own, statements, census)),
        "<h2>Speakers to look at</h2>",
        _list(_suspicious(census)),
        "<h2>Said more than once</h2>",
        _duplicates(own),
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _folder(files: Iterable[str]) -> int:
    """How many characters at the beginning are the folder that all files are in; a page is for others to read."""
    folders = [re.findall(r"[^/\\]*[/\\]", file) for file in files]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders))
    return sum(len(parts[0]) for parts in shared)


def _graph(name: str, census: Census) -> str:
    """The people she talks with around her; a line is as thick as they talk much."""
    totals: Counter[str] = Counter()
    for a, b, count in census.talks:
        totals[b if fold(a) == fold(name) else a] += count
    people = totals.most_common(14)
    if not people:
        return "<p>The dump does not say who is spoken to.</p>"
    width, height, cx, cy = 720, 440, 360, 220
    most = people[0][1]
    rows = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Who {escape(name)} talks with">']
    dots = []
    for number, (other, count) in enumerate(people):
        angle = 2 * math.pi * number / len(people) - math.pi / 2
        x, y = cx + 250 * math.cos(angle), cy + 165 * math.sin(angle)
        rows.append(
            f'<line x1="{cx}" y1="{cy}" x2="{x:.0f}" y2="{y:.0f}" opacity="0.45"'
            f' stroke-width="{1 + 9 * count / most:.1f}"/>'
        )
        hers = sum(n for a, b, n in census.talks if fold(a) == fold(name) and b == other)
        dots.append(
            f'<circle class="other" cx="{x:.0f}" cy="{y:.0f}" r="{8 + 14 * math.sqrt(count / most):.0f}">'
            f"<title>{escape(other)}: {hers} lines to, {count - hers} from</title></circle>"
            f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle">{escape(one_line(other, 18))}</text>'
            f'<text class="soft" x="{x:.0f}" y="{y + 19:.0f}" text-anchor="middle">{hers} / {count - hers}</text>'
        )
    rows += [*dots, f'<circle class="bar" cx="{cx}" cy="{cy}" r="30"/>']
    rows.append(f'<text x="{cx}" y="{cy + 5}" text-anchor="middle">{escape(one_line(name, 12))}</text></svg>')
    return "".join(rows) + '<p class="soft">Numbers: lines to them / lines from them.</p>'


def _statements(statements: Sequence[Statement], places: dict[int, str], own: Sequence[Said]) -> str:
    rows = []
    texts = {line.id: line.text for line in own}
    for statement in statements:
        if statement.kind != "inference":
            continue
        cited = "; ".join(
            f'<span title="{escape(texts.get(number, ""))}">#{number} {escape(places.get(number, ""))}</span>'
            for number in statement.lines[:3]
        )
        rows.append(f"<tr><td>{escape(statement.text)}</td><td><small>{cited}</small></td></tr>")
    return f"<table><tr><th>Inferred</th><th>from</th></tr>{''.join(rows)}</table>" if rows else "<p>Too few lines.</p>"


def _vocabulary(own: Sequence[Said], statements: Sequence[Statement]) -> str:
    counts = Counter(word for line in own for word in line.words)
    hers = next((s.text.partition(": ")[2].rstrip(".").split(", ") for s in statements if s.key == "words"), [])
    if not hers:
        return "<p>No word stands out.</p>"
    most = max(counts[word] for word in hers)
    rows = [f'<svg viewBox="0 0 720 {24 * len(hers)}" role="img" aria-label="Words she says more often than others">']
    for number, word in enumerate(hers):
        y = 24 * number
        rows.append(
            f'<text x="150" y="{y + 16}" text-anchor="end">{escape(word)}</text>'
            f'<rect class="bar" x="160" y="{y + 4}" width="{500 * counts[word] / max(1, most):.0f}" height="15"/>'
            f'<text class="soft" x="{168 + 500 * counts[word] / max(1, most):.0f}" y="{y + 16}">{counts[word]}</text>'
        )
    words, kinds = sum(counts.values()), len(counts)
    return "".join(rows) + f'</svg><p class="soft">{words} words, {kinds} different ones.</p>'


def _histogram(own: Sequence[Said]) -> str:
    lengths = [min(len(line.words), 40) for line in own if line.words]
    if not lengths:
        return ""
    bins = Counter((length - 1) // 2 for length in lengths)
    most = max(bins.values())
    rows = ['<svg viewBox="0 0 720 190" role="img" aria-label="Length of lines in words">']
    for number in range(20):
        tall = 140 * bins[number] / most
        x = 20 + 34 * number
        label = f"{2 * number + 1}" if number < 19 else "39+"
        rows.append(
            f'<rect class="bar" x="{x}" y="{155 - tall:.0f}" width="28" height="{tall:.0f}">'
            f'<title>{bins[number]} lines</title></rect>'
            f'<text class="soft" x="{x + 14}" y="172" text-anchor="middle">{label}</text>'
        )
    return "".join(rows) + "</svg>"


def _samples(statements: Sequence[Statement], own: Sequence[Said], places: dict[int, str]) -> str:
    lines = {line.id: line for line in own}
    rows = []
    for statement in statements:
        line = lines.get(statement.lines[0]) if statement.kind == "quote" else None
        if line is not None:
            cue = f"<small>{escape(one_line(line.cue, 200))}</small><br>" if line.cue else ""
            place = f"<br><small>{escape(places.get(line.id, ''))}</small>"
            rows.append(f"<blockquote>{cue}{escape(line.text)}{place}</blockquote>")
    return "".join(rows) or "<p>None.</p>"


def _gaps(name: str, own: Sequence[Said], statements: Sequence[Statement], census: Census) -> list[str]:
    keys = {statement.key.partition(":")[0] for statement in statements}
    gaps = []
    if len(own) < 50:
        gaps.append(f"{len(own)} lines are few: below some fifty a voice is mostly chance.")
    for key, what in (("greeting", "greets anybody"), ("farewell", "says goodbye")):
        if key not in keys:
            gaps.append(f"No line in which {name} {what}: write one into the card.")
    for kind, what in (("message", "messages"), ("journal", "journal entries")):
        if not census.kinds.get(kind):
            gaps.append(f"No {what}: what {name} writes when nobody listens is missing, or was not given.")
    asked = sum(1 for line in own if line.cue)
    if own and asked < len(own) / 5:
        gaps.append(f"Only {asked} of {len(own)} lines answer something: how people talk to {name} is hardly known.")
    if census.unnamed > census.read / 3:
        gaps.append(f"{census.unnamed} of {census.read} lines have no speaker: is the file that names them missing?")
    return gaps or ["None that can be seen from here."]


def _suspicious(census: Census) -> list[str]:
    """Names that may be one person, and names that are no person's."""
    found = []
    names = list(census.speakers)[:200]
    for a, b in combinations(names, 2):
        if _alike(a, b):
            found.append(f"{a} ({census.speakers[a]}) and {b} ({census.speakers[b]}): the same? Then --alias {a}={b}")
    for name in names:
        if _NOT_NAMES.match(name.strip()) or len(name) > 40:
            found.append(f"{name} ({census.speakers[name]}): hardly somebody's name")
    return found[:40] or ["None."]


def _alike(a: str, b: str) -> bool:
    x, y = (re.sub(r"[\W_\d]+", "", fold(name)) for name in (a, b))
    if not x or not y or min(len(x), len(y)) < 3:
        return False
    if x == y or (len(x) > 3 and len(y) > 3 and (x.startswith(y) or y.startswith(x))):
        return True
    return abs(len(x) - len(y)) <= 1 and len(x) >= 5 and _one_apart(x, y)


def _one_apart(x: str, y: str) -> bool:
    """Whether one letter added, lost, changed or swapped with its neighbour makes `x` into `y`."""
    head = 0
    while head < min(len(x), len(y)) and x[head] == y[head]:
        head += 1
    a, b = x[head:], y[head:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])


def _duplicates(own: Sequence[Said]) -> str:
    same: dict[str, list[Said]] = {}
    for line in own:
        if len(line.words) >= 4:
            same.setdefault(" ".join(words_of(line.text)), []).append(line)
    twice = sorted((lines for lines in same.values() if len(lines) > 1), key=lambda lines: -len(lines))[:20]
    return _list([f"{len(lines)} times: {lines[0].text}" for lines in twice] or ["Nothing of four words or more."])


def _list(rows: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(row)}</li>' for row in rows)}</ul>"

"""From dumps to a `.persona` file: keep what one speaker said and heard, find the cue of every answer.

Runs on the calling thread and takes as long as the dumps are large; call it from a tool, not from a frame.
Lines go through a temporary table on disk, so memory does not grow with the dump.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import apsw

from modkit.errors import DumpError, PersonaError
from modkit.persona import store
from modkit.persona.indexing import Index, embed_lines
from modkit.persona.knowledge import Knowledge
from modkit.persona.lines import Line, Source, fold, is_player, tidy
from modkit.persona.readers import Problem, Reading
from modkit.persona.vectors import Embedder
from modkit.persona.voice import Census, Statement, describe, take_census, write_card_file
from modkit.persona.voice.said import own_lines

__all__ = ["BuildReport", "build", "default_card"]

MAX_CARD = 64 * 1024  # bytes

# How far a conversation reaches around her words, in lines: she hears what comes shortly before and after.
# In a scene the file names, people stay in the room; without scenes only the nearest lines are surely hers.
_EARSHOT_SCENE, _EARSHOT_FILE = 20, 2
_SPOKEN = ("dialogue", "message", "choice")

_RAW = """
CREATE TEMP TABLE raw (
    seq INTEGER PRIMARY KEY, speaker TEXT, kind TEXT, scene TEXT, idx INTEGER, addressee TEXT, lang TEXT,
    dump_id TEXT, file TEXT, place TEXT, text TEXT
)
"""


@dataclass
class BuildReport:
    """What a build did: lines of hers, lines she heard, lines read in all, and the files that gave none.

    `embedded` lines got a vector from the `embedder`, `reused` ones kept that of the persona built before.
    `gated` lines come to mind only under a condition. `opened` files had changed, or were not in the cache.
    """

    path: Path
    speaker: str
    own: int = 0
    heard: int = 0
    read: int = 0
    duplicates: int = 0
    seconds: float = 0.0
    opened: int = 0
    lore: int = 0
    gated: int = 0
    embedded: int = 0
    reused: int = 0
    embedder: str = ""
    problems: list[Problem] = field(default_factory=list)
    other_languages: dict[str, int] = field(default_factory=dict)


def build(
    dumps: Iterable[str | Path] | str | Path,
    speaker: str,
    out: str | Path,
    *,
    card: str | None = None,
    card_file: str | Path | None = None,
    aliases: Mapping[str, Iterable[str]] | None = None,
    players: Iterable[str] = (),
    lang: str | None = None,
    knowledge: Knowledge | str | Path | None = None,
    embedder: Embedder | None = None,
    cache: str | Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> BuildReport:
    """Write the persona of `speaker` from `dumps` (files and folders) to `out`, replacing it in one step.

    `card` is the text that describes her to the model (default: made from her name and sample lines). `card_file` is
    one that is written instead: what her lines say about her voice, as a text to edit; hand-made changes stay.
    `players` are names in the dump under which the player speaks, beside Player, You, PC and User. `lang`
    keeps one language of a dump that states several ("" the lines that state none; default: those, where translations
    lie beside an original, else the one most of her lines have). `knowledge`
    is a `Knowledge` or its TOML file: gates, quests, lore. With an `embedder` lines are found by meaning too;
    vectors of lines that stand in the old `out` already are taken from there. `cache` is a file in which what was read
    is kept, so that the next build opens only what has changed. `progress` gets a number from
    0.0 to 1.0. Raises DumpError when nothing could be read and PersonaError when the
    speaker is not in the dumps or `out` cannot be written.
    """
    started = time.monotonic()
    name = tidy(speaker)
    if not name:
        raise PersonaError("the speaker's name is empty: give the name the dump uses, such as --speaker Sable")
    known = Knowledge() if knowledge is None else knowledge
    known = known if isinstance(known, Knowledge) else Knowledge.read(known)
    part = 0.3 if embedder is not None else 1.0  # of the time, that reading takes
    told = None if progress is None else lambda share: progress(share * part)
    reading = Reading(dumps, aliases=aliases, progress=told, cache=cache)
    report = BuildReport(Path(out), name)
    with store.create(report.path) as connection:
        _gather(connection, reading, report)
        report.speaker = name = reading.join_name(name)
        index = Index(connection, known)
        _keep(connection, report, index, {fold(player) for player in players}, lang)
        report.lore = index.add_lore()
        report.gated = index.finish()
        census, found = _voice(connection, name, reading.duplicates)
        if card_file is not None:
            card = write_card_file(card_file, name, found)
        if embedder is not None:
            told = None if progress is None else lambda share: progress(part + share * (1.0 - part))
            report.embedded, report.reused = embed_lines(connection, embedder, report.path, told)
            report.embedder = embedder.name
        text = clean_card(card) if card is not None else default_card(name, _samples(connection))
        _write_meta(connection, reading, report, text, players)
        connection.execute("INSERT INTO meta (key, value) VALUES ('census', ?)", (census.as_json(),))
    report.problems, report.duplicates = reading.problems, reading.duplicates
    report.opened = reading.opened
    report.seconds = time.monotonic() - started
    return report


def _voice(connection: apsw.Connection, name: str, duplicates: int) -> tuple[Census, list[Statement]]:
    """Find out how she talks, and keep it in the table `voice`."""
    census, others = take_census(connection, name)
    census.duplicates = duplicates
    found = describe(name, [line for line, _ in own_lines(connection)], others)
    connection.executemany(
        "INSERT OR IGNORE INTO voice (key, kind, text, lines) VALUES (?, ?, ?, ?)",
        [(one.key, one.kind, one.text, " ".join(map(str, one.lines))) for one in found],
    )
    return census, found


def clean_card(text: str) -> str:
    """A card as it is used: stripped, without NULs. Raises PersonaError when empty or above 64 KB."""
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\0", "").strip()
    if not text:
        raise PersonaError("the card is empty: write a few sentences that say who she is")
    if len(text.encode("utf-8", "replace")) > MAX_CARD:
        raise PersonaError(
            f"the card is larger than {MAX_CARD // 1024} KB: no model has room for it beside a conversation"
        )
    return text.encode("utf-8", "replace").decode("utf-8")


def _gather(connection: apsw.Connection, reading: Reading, report: BuildReport) -> None:
    connection.execute(_RAW)

    def rows() -> Iterator[tuple[object, ...]]:
        for line in reading:
            report.read += 1
            yield (
                line.speaker, line.kind, line.scene, line.index, line.addressee, line.lang,
                line.id, line.source.file, line.source.place, line.text,
            )  # fmt: skip

    connection.executemany(
        "INSERT INTO raw (speaker, kind, scene, idx, addressee, lang, dump_id, file, place, text) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows(),
    )
    if not report.read:
        reasons = "; ".join(str(problem) for problem in reading.failed[:3]) or "the files hold no lines"
        raise DumpError(f"nothing could be read: {reasons}")


def _mother_tongue(languages: dict[str, int]) -> str:
    """The language to keep, of those there are with their lines: a game's own words before any translation of them."""
    most = max(languages.values())
    return "" if 2 * languages.get("", 0) >= most else max(languages, key=lambda language: languages[language])


def _keep(
    connection: apsw.Connection, report: BuildReport, index: Index, players: set[str], lang: str | None
) -> None:
    """Copy her lines and what she heard into `lines`, and index them."""
    languages: dict[str, int] = dict(
        connection.execute(
            "SELECT coalesce(lang, ''), count(*) FROM raw WHERE speaker = ? GROUP BY 1 ORDER BY 2 DESC",
            (report.speaker,),
        ).fetchall()  # type: ignore[arg-type]
    )
    if not languages:
        raise PersonaError(_nobody(connection, report.speaker))
    wanted = lang if lang is not None else _mother_tongue(languages)
    if wanted not in languages:
        stated = ", ".join(key or "none stated" for key in languages)
        raise PersonaError(f"{report.speaker} has no lines in language {wanted!r}; the dump has {stated}")
    report.other_languages = {key or "none stated": count for key, count in languages.items() if key != wanted}
    rows = connection.execute(
        "SELECT speaker, kind, scene, idx, addressee, lang, dump_id, file, place, text FROM raw "
        "WHERE coalesce(lang, '') = ? ORDER BY min(seq) OVER (PARTITION BY file, scene), seq",
        (wanted,),
    )
    lines = (Line(r[9], r[0], r[1], r[2], r[3], r[4], r[5], Source(r[7], r[8]), r[6]) for r in rows)
    exchanges: set[int] = set()
    for (_, scene), talk in groupby(lines, key=lambda line: (line.source.file, line.scene)):
        earshot = _EARSHOT_SCENE if scene else _EARSHOT_FILE
        for (line, cue), near in _with_near(_heard_or_said(talk, report.speaker, earshot)):
            own = line.speaker == report.speaker
            same = hash((line.speaker, line.text, cue.text if cue else None))
            if own and same in exchanges:
                continue  # the same words to the same cue, from a second file
            exchanges.add(same)
            index.add(line, cue, near if own or not _is_player(line, players) else None, own)
            report.own += own
            report.heard += not own
    connection.execute("DELETE FROM raw WHERE coalesce(lang, '') <> ?", (wanted,))  # how others talk, in her language


def _is_player(line: Line, players: set[str]) -> bool:
    return is_player(line.speaker, line.kind) or (line.speaker is not None and fold(line.speaker) in players)


def _heard_or_said(talk: Iterable[Line], name: str, earshot: int) -> Iterator[tuple[Line, Line | None]]:
    """(line, cue) for what `name` said or heard in one conversation. The cue is another's last line before hers."""
    before: deque[Line] = deque(maxlen=earshot)
    cue: Line | None = None
    after = 0
    for line in talk:
        if line.speaker == name:
            for earlier in before:
                yield earlier, None
            before.clear()
            after = earshot
            yield line, cue if line.kind in _SPOKEN else None
        elif line.kind in _SPOKEN and (line.speaker or line.kind == "choice"):
            cue = line
            if after > 0 or line.addressee == name:
                after -= 1
                yield line, None
            else:
                before.append(line)


def _with_near(talk: Iterable[tuple[Line, Line | None]]) -> Iterator[tuple[tuple[Line, Line | None], str]]:
    """Each line of a conversation with the words around it: its neighbours but for its cue.

    "Dann." says nothing alone; "Who sold it?" before it little; "Who put water in the oil?" before that, all.
    """
    before: deque[Line] = deque(maxlen=3)
    held: tuple[Line, Line | None] | None = None
    for item in talk:
        line = item[0]
        if held is not None:
            yield held, _words_near(held, before, line)
            before.append(held[0])
        held = item
    if held is not None:
        yield held, _words_near(held, before, None)


def _words_near(held: tuple[Line, Line | None], before: Iterable[Line], after: Line | None) -> str:
    line, cue = held
    if line.kind == "journal":  # written alone: its entries are near each other in the file, not in mind
        return ""
    words = [other.text for other in before if other is not cue]
    if after is not None and after.speaker == line.speaker:
        words.append(after.text)
    return " ".join(words)


def _nobody(connection: apsw.Connection, name: str) -> str:
    found = connection.execute(
        "SELECT speaker, count(*) FROM raw WHERE speaker IS NOT NULL GROUP BY speaker ORDER BY 2 DESC LIMIT 8"
    ).fetchall()
    if not found:
        return "the dumps state no speakers: add a speaker column, or give the file that says who speaks as well"
    names = ", ".join(f"{speaker} ({count})" for speaker, count in found)
    return f"nobody called {name} speaks in the dumps; most lines have {names}. Another spelling goes into --alias"


def _samples(connection: apsw.Connection) -> list[str]:
    """Four lines of hers of spread length: by length, at the 20th, 45th, 70th and 90th of a hundred."""
    rows = connection.execute(
        "SELECT DISTINCT text FROM lines WHERE own = 1 AND kind IN ('dialogue', 'message') "
        "AND length(text) BETWEEN 12 AND 240 AND text NOT LIKE '%[%' AND gate IS NULL ORDER BY length(text), id"
    ).fetchall()
    places = sorted({int(len(rows) * share) for share in (0.2, 0.45, 0.7, 0.9)})
    return [str(rows[place][0]) for place in places if place < len(rows)]


def default_card(name: str, samples: Iterable[str]) -> str:
    """A plain card: who she is, how she sounds, what to do. Better ones are written by hand."""
    said = "".join(f"\n* {sample}" for sample in samples)
    manner = f" This is how {name} speaks:{said}\n" if said else " "
    return f"You are {name}.{manner}Answer as {name}, in a few short sentences, from what you remember."


def _write_meta(
    connection: apsw.Connection, reading: Reading, report: BuildReport, card: str, players: Iterable[str]
) -> None:
    connection.executemany(
        "INSERT INTO files (path, reader, lines) VALUES (?, ?, ?)", [(path, kind, n) for path, kind, n in reading.files]
    )
    connection.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?)",
        [
            ("format", str(store.FORMAT)),
            ("speaker", report.speaker),
            ("embedder", report.embedder),
            ("card", card),
            ("players", "\n".join(tidy(player) for player in players)),
            ("built_at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())),
            ("tool", f"modkit/{_version()}"),
        ],
    )


def _version() -> str:
    import modkit

    return str(getattr(modkit, "__version__", "0"))

"""`modkit persona …`: characters built, looked at, exported and measured."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from modkit.cli.output import Bar, complain, remark, say
from modkit.errors import OptionError

__all__ = ["add_parsers"]


def add_parsers(commands: Any) -> None:
    """Adds these commands to the parser of `modkit`."""
    persona = commands.add_parser("persona", help="make and ask characters")
    verbs = persona.add_subparsers(title="commands", metavar="COMMAND", required=True)

    build = verbs.add_parser("build", help="make a .persona file of one speaker from dialogue dumps")
    build.add_argument("dumps", metavar="DUMP", nargs="+", help="a file or a folder")
    build.add_argument("--speaker", metavar="NAME", required=True, help="the name the dump uses")
    build.add_argument("-o", "--output", metavar="FILE", required=True)
    build.add_argument("--card", metavar="FILE", help="who she is: a text, or a character card (.json, .png, .charx)")
    build.add_argument(
        "--card-file", metavar="FILE", help="a card to edit: made from her lines, renewed with your changes kept"
    )
    build.add_argument("--player", metavar="NAME", action="append", default=[], help="who the player is in the dump")
    build.add_argument("--lang", metavar="LANG", help="one of a dump's languages (none: what states none)")
    build.add_argument("--no-cache", action="store_true", help="read every file anew, changed or not")
    build.add_argument("--knowledge", metavar="TOML", help="gates, quests and lore: see docs/personas.md")
    build.add_argument(
        "--embedder", metavar="GGUF", default="auto", help="find lines by meaning too: a model, auto (default) or none"
    )
    _alias_option(build)
    build.set_defaults(run=_build)

    lines = verbs.add_parser("lines", help="show what the readers find")
    lines.add_argument("dumps", metavar="DUMP", nargs="+", help="a file or a folder")
    lines.add_argument("--json", action="store_true", help="one JSON object a line")
    _alias_option(lines)
    lines.set_defaults(run=_lines)

    report = verbs.add_parser("report", help="write a page about a persona: voice, people, gaps")
    report.add_argument("file", metavar="FILE")
    report.add_argument("-o", "--output", metavar="HTML", required=True)
    report.set_defaults(run=_report)

    export = verbs.add_parser("export", help="write a persona as a character card for other tools")
    export.add_argument("file", metavar="FILE")
    export.add_argument("output", metavar="CARD", help="card.json, card.png or card.charx")
    export.add_argument("--picture", metavar="PNG", help="the portrait to put a .png card into")
    export.add_argument("--gated", action="store_true", help="also lines behind gates: what may not have happened yet")
    export.add_argument("--v2", action="store_true", help="a .json card of version 2 (default: 3)")
    export.set_defaults(run=_export)

    evaluation = verbs.add_parser("eval", help="measure how well a persona remembers and stays in character")
    evaluation.add_argument("file", metavar="FILE")
    evaluation.add_argument("--model", metavar="GGUF", help="ask this model too (default: retrieval alone)")
    evaluation.add_argument("--questions", metavar="FILE", help="your own: a question, a tab, how the answer begins")
    evaluation.add_argument("--embedder", metavar="GGUF", default="auto", help="a model, auto (default) or none")
    evaluation.add_argument("-n", type=int, default=100, help="how many questions (default: 100)")
    evaluation.add_argument("--replies", type=int, default=30, help="how many the model answers (default: 30)")
    evaluation.add_argument("--word", metavar="WORD", action="append", default=[], help="a word not of her world")
    evaluation.add_argument("--json", action="store_true")
    evaluation.set_defaults(run=_eval)

    ask = verbs.add_parser("ask", help="show what a question brings to mind")
    ask.add_argument("file", metavar="FILE")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("-k", type=int, default=3, help="how many (default: 3)")
    ask.add_argument("--embedder", metavar="GGUF", default="auto", help="a model, auto (default) or none")
    ask.add_argument(
        "--state", metavar="NAME=VALUE", action="append", default=[], help="what has happened, such as quest.q004=3"
    )
    for name in ("speaker", "kind", "scene", "quest"):
        ask.add_argument(f"--{name}", metavar="NAME", action="append", default=[], help=f"only of this {name}")
    ask.add_argument("--json", action="store_true")
    ask.set_defaults(run=_ask)


def _alias_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--alias",
        metavar="NAME=SPELLING,…",
        action="append",
        default=[],
        help="spellings that are one speaker, such as judy=Judy,JUDY_01; or a file of such lines",
    )


def _build(options: argparse.Namespace) -> int:
    from modkit.persona import build, open_embedder

    card = _card_of(options.card) if options.card else None
    embedder = open_embedder(options.embedder)
    bar = Bar(f"reading for {options.speaker}")
    try:
        report = build(
            options.dumps,
            options.speaker,
            options.output,
            card=card,
            card_file=options.card_file,
            aliases=_aliases(options.alias),
            players=options.player,
            lang="" if options.lang == "none" else options.lang,
            knowledge=options.knowledge,
            embedder=embedder,
            cache=None if options.no_cache else _cache_of(options.output),
            progress=bar,
        )
    finally:
        bar.close()
        if embedder is not None:
            embedder.close()
    remark(
        f"{report.path}: {report.own:,} lines of {report.speaker} and {report.heard:,} heard, "
        f"of {report.read:,} read ({report.seconds:.1f} s)"
    )
    if report.gated or report.lore:
        remark(f"{report.gated:,} lines behind gates, {report.lore:,} pieces of lore")
    remark(_how_found(report))
    if others := report.other_languages:
        each = ", ".join(f"{language} {count:,}" for language, count in sorted(others.items()))
        many = f"{sum(others.values()):,} lines in other languages"
        remark(f"{many} were left out ({each}): --lang chooses one")
    return _summary(report.problems)


def _cache_of(output: str) -> str:
    """Where the build of this file keeps what it read; in the user's own folder, so that it is never given away."""
    import hashlib

    from modkit.native.folders import data_folder

    name = hashlib.blake2b(os.fsencode(os.path.abspath(output)), digest_size=12).hexdigest()
    return str(data_folder() / "builds" / f"{name}.cache")


def _how_found(report: Any) -> str:
    if report.embedder:
        kept = f", {report.reused:,} kept from the last build" if report.reused else ""
        return f"found by words and by meaning: {report.embedded:,} vectors of {report.embedder}{kept}"
    return "found by words alone: no embedder (`modkit embedder install` gets one)"


def _lines(options: argparse.Namespace) -> int:
    from modkit.persona import Reading

    reading = Reading(options.dumps, aliases=_aliases(options.alias))
    for line in reading:
        if options.json:
            say(json.dumps(line.as_json(), ensure_ascii=False))
        else:
            who = line.speaker or f"({line.kind})"
            say(f"{who}: {line.text}    [{line.source}]")
    return _summary(reading.problems)


def _report(options: argparse.Namespace) -> int:
    from modkit.persona import Persona
    from modkit.persona.voice import write_report

    with Persona.open(options.file) as persona:
        write_report(persona, options.output)
    remark(f"{options.output}: a page about {persona.name}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from modkit.persona import Persona
    from modkit.persona.cards import persona_card, read_card, write_card

    with Persona.open(options.file) as persona:
        card = persona_card(persona, gated=options.gated)
    if options.picture:
        try:
            with open(options.picture, "rb") as file:
                card.picture = file.read()
        except OSError as error:
            raise OptionError(f"{options.picture} cannot be read: {error.strerror or error}") from error
    write_card(card, options.output, version=2 if options.v2 else 3)
    entries = len(card.book.entries) if card.book else 0
    remark(f"{options.output}: {read_card(options.output).name}, {entries} lorebook entries")
    left_out = card.extensions["modkit"]["left_out"]
    if left_out:
        remark(f"lines left out because they are behind gates: {left_out:,} (--gated takes them in)")
    return 0


def _ask(options: argparse.Namespace) -> int:
    from modkit.persona import Persona, open_embedder

    embedder = open_embedder(options.embedder)
    try:
        with Persona.open(options.file) as persona:
            found = persona.search(
                options.question,
                options.k,
                embedder=embedder if persona.embedder else None,
                state=_state_of(options.state),
                speakers=options.speaker,
                kinds=options.kind,
                scenes=options.scene,
                quests=options.quest,
            )
    finally:
        if embedder is not None:
            embedder.close()
    memories = found.memories
    if options.json:
        say(json.dumps([memory.as_json() for memory in memories], ensure_ascii=False, indent=2))
        return 0
    for memory in memories:
        say(f"{memory.score:7.2g}  {memory.speaker or '?'}: {memory.text}")
        if memory.cue:
            say(f"        after: {memory.cue}")
        say(f"        {memory.kind}, {memory.source}")
    if not memories:
        remark("nothing comes to mind")
    return 0


def _eval(options: argparse.Namespace) -> int:
    from contextlib import ExitStack

    from modkit.engine import Engine
    from modkit.persona import open_embedder
    from modkit.persona.evaluate import evaluate, read_questions
    from modkit.persona.guard import Guard

    questions = read_questions(options.questions) if options.questions else None
    bar = Bar("asking")
    with ExitStack() as stack:
        embedder = open_embedder(options.embedder)
        if embedder is not None:
            stack.enter_context(embedder)
        engine = stack.enter_context(Engine(options.model)) if options.model else None
        stack.callback(bar.close)
        report = evaluate(
            options.file,
            engine,
            embedder=embedder,
            questions=questions,
            count=options.n,
            replies=options.replies,
            guard=Guard(words=tuple(options.word)),
            progress=bar,
        )
    say(json.dumps(report.as_json(), ensure_ascii=False, indent=2) if options.json else report.table())
    return 0


def _state_of(given: Iterable[str]) -> dict[str, Any]:
    """`quest.q004=3` as a number, `flag.met=true` as a truth, `place=Inn` as a text, `flag.met` alone as true."""
    words: dict[str, Any] = {"true": True, "false": False, "none": None, "": True}
    state: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            state[name.strip()] = words[value.lower()] if value.lower() in words else float(value)
        except ValueError:
            state[name.strip()] = value
    return state


def _aliases(given: Iterable[str]) -> dict[str, list[str]]:
    from modkit.persona.lines import parse_alias

    aliases: dict[str, list[str]] = {}
    for text in given:
        rows = [text] if "=" in text else [row.strip() for row in _text_of(text).splitlines()]
        for row in rows:
            if row and not row.startswith("#"):
                name, others = parse_alias(row)
                aliases.setdefault(name, []).extend(others)
    return aliases


def _card_of(path: str) -> str:
    """The text of a card: a plain text file as it is, a character card with its macros filled in."""
    if not path.lower().endswith((".json", ".png", ".charx")):
        return _text_of(path)
    from modkit.persona.cards import read_card

    card = read_card(path)
    for warning in card.warnings:
        remark(warning)
    return card.text()


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read(1_000_000)
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise OptionError(f"{path} is not UTF-8 text: save it as UTF-8") from None


def _summary(problems: Sequence[Any]) -> int:
    """Name every file that gave trouble; 1 when one of them gave nothing."""
    expected = [problem for problem in problems if problem.expected]
    for problem in problems:
        if not problem.expected or len(expected) <= 3:
            remark(str(problem))
    if len(expected) > 3:
        some = ", ".join(problem.file for problem in expected[:2])
        many = f"{len(expected):,} files without dialogue, such as pictures and sounds,"
        remark(f"{many} were passed over ({some}, …)")
    failed = sum(1 for problem in problems if problem.fatal and not problem.expected)
    if failed:
        complain(f"{failed} {'file was' if failed == 1 else 'files were'} not read; the rest was")
    return 1 if failed else 0

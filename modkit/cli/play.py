"""`modkit generate`, `chat`, `play` and `serve`: the commands that run an engine."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable
from typing import Any

from modkit.cli.output import hear, listen, say, show, write
from modkit.errors import OptionError

__all__ = ["add_parsers"]


def add_parsers(commands: Any) -> None:
    """Adds these commands to the parser of `modkit`."""
    generate = commands.add_parser("generate", help="let a model go on with a text")
    generate.add_argument("model", metavar="MODEL")
    generate.add_argument("prompt", metavar="PROMPT")
    generate.add_argument("--max-tokens", type=int, default=256)
    generate.add_argument("--temperature", type=float, default=0.8)
    generate.add_argument("--seed", type=int)
    _add_engine_arguments(generate)
    generate.set_defaults(run=_generate)

    chat = commands.add_parser("chat", help="talk to a persona in the terminal")
    chat.add_argument("persona", metavar="PERSONA")
    chat.add_argument("--model", metavar="GGUF", default=os.environ.get("MODKIT_MODEL"))
    chat.add_argument("--save", metavar="FILE", help="go on where this save ends")
    chat.add_argument("--player", default="Player", help="the name you speak under (default: Player)")
    _add_engine_arguments(chat)
    chat.set_defaults(run=_chat)

    play = commands.add_parser("play", help="run a folder of mods without a window")
    play.add_argument("mods", metavar="MODS_DIR")
    play.add_argument("--seconds", type=float, help="how long (default: until Ctrl-C)")
    play.add_argument("--model", metavar="GGUF")
    play.add_argument("--save", metavar="FILE")
    play.add_argument("--watch", action="store_true", help="reload a mod when its files change")
    play.add_argument("--console", action="store_true", help="read commands from stdin (help shows them)")
    play.add_argument("--eval", action="store_true", help="let the console run Python")
    _add_engine_arguments(play)
    play.set_defaults(run=_play)

    serve = commands.add_parser("serve", help="let a host that is not Python talk to characters (docs/protocol.md)")
    serve.add_argument("personas", metavar="PERSONA", nargs="*")
    serve.add_argument("--model", metavar="GGUF", default=os.environ.get("MODKIT_MODEL"))
    serve.add_argument("--save", metavar="FILE", help="go on where this save ends")
    serve.add_argument("--player", default="Player", help="the name clients speak under (default: Player)")
    serve.add_argument("--root", metavar="DIR", help="let clients load personas and write copies of the save in here")
    serve.add_argument("--isolated", action="store_true", help="the engine in a child, restarted when it dies")
    serve.add_argument("--slots", type=int, default=1, help="conversations spoken in at once (default: 1)")
    _add_engine_arguments(serve)
    places = serve.add_argument_group("where clients come from (default: stdin and stdout)")
    places.add_argument("--port", type=int, metavar="N", help="a port of the loopback (0: a free one), with a token")
    places.add_argument("--unix", metavar="PATH", help="a Unix socket for this user")
    places.add_argument("--pipe", metavar="NAME", help="a pair of named pipes (Windows)")
    places.add_argument("--files", metavar="DIR", help="pairs of files in this folder")
    places.add_argument("--connect", metavar="FILE", help="write the port and its token here, for this user's eyes")
    places.add_argument("--until-eof", action="store_true", help="end when stdin does: for a host that started us")
    serve.set_defaults(run=_serve)


def _add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """How the model is run: the words of `Engine(...)` that a command line needs."""
    group = parser.add_argument_group("how the model is run")
    group.add_argument("--context", type=int, default=4096, metavar="N", help="tokens of a talk (default: 4096)")
    group.add_argument("--threads", type=int, metavar="N", help="default: half of the physical cores")
    group.add_argument("--gpu-layers", default="auto", metavar="N", help='layers on the GPU, "all" or "auto" (default)')
    group.add_argument("--vram", metavar="SIZE", help="of the GPU at most, e.g. 4GiB: the rest is the game's")
    group.add_argument("--draft-model", metavar="GGUF", help="a smaller model of the same family, to speak faster")


def _engine_options(options: argparse.Namespace) -> dict[str, Any]:
    layers = options.gpu_layers
    return {
        "context": options.context,
        "threads": options.threads,
        "gpu_layers": int(layers) if layers.isdecimal() else layers,  # what is neither, Engine refuses by name
        "vram_budget": options.vram,
        "draft_model": options.draft_model,
    }


def _generate(options: argparse.Namespace) -> int:
    from modkit.engine import Engine

    with Engine(options.model, **_engine_options(options)) as engine:
        stream = engine.generate(
            options.prompt, max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed
        )
        show(engine, stream)
    return 0


def _chat(options: argparse.Namespace) -> int:
    if not options.model:
        raise OptionError("name a model with --model FILE.gguf, or in MODKIT_MODEL")
    from modkit.engine import Engine
    from modkit.persona import NPC

    with (
        Engine(options.model, **_engine_options(options)) as engine,
        NPC(options.persona, engine, save=options.save, player=options.player) as npc,
    ):
        listen()
        while engine.loading:  # before anybody types: a file that is no good is said here
            engine.tick()
            time.sleep(0.005)
        engine.tick()
        for turn in npc.transcript[-3:]:
            say(f"{turn.player}: {turn.words}\n{npc.name}: {turn.reply.strip()}")
        while True:
            try:
                words = hear(f"{options.player}: ")
            except EOFError:
                return 0
            if words.strip():
                write(f"{npc.name}: ")
                show(engine, npc.say(words))


def _play(options: argparse.Namespace) -> int:
    from modkit.host.play import run_headless

    reports = run_headless(
        options.mods,
        options.seconds,
        options.model,
        options.save,
        say=say,
        watch=options.watch,
        commands=_typed() if options.console or options.eval else None,
        allow_eval=options.eval,
        engine_options=_engine_options(options),
    )
    return 0 if all(getattr(report, "problem", None) is None for report in reports.values()) else 1


def _typed() -> Iterable[str]:
    """Lines of stdin, past its buffer: a thread that waits in there would end the interpreter with an error."""
    rest = b""
    while data := os.read(0, 4096):
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)


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
        engine_options={**_engine_options(options), "slots": options.slots},
    )
    return 0

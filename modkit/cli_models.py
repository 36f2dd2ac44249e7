"""`modkit fit`: the commands about models and where they lie."""

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

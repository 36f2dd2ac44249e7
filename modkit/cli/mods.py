"""`modkit new` and `modkit check`: the commands for those who write mods."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from modkit.cli.output import say

__all__ = ["add_parsers"]


def add_parsers(commands: Any) -> None:
    """Adds these commands to the parser of `modkit`."""
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


def _new_mod(options: argparse.Namespace) -> int:
    from modkit.host.scaffold import new_mod

    folder = new_mod(options.name, options.parent)
    say(f"{folder}: modkit check {folder}, then modkit play {folder.parent} --watch")
    return 0


def _check(options: argparse.Namespace) -> int:
    from modkit.host.check import check_mod

    events = options.events.split(",") if options.events is not None else None
    found = [(mod, finding) for mod in options.mods for finding in check_mod(mod, events)]
    if options.json:
        say(json.dumps([{"mod": mod, **asdict(finding)} for mod, finding in found], ensure_ascii=False, indent=2))
    else:
        for mod, finding in found:
            say(f"{mod}: {finding}")
    return 1 if any(finding.error for _, finding in found) else 0

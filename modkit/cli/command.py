"""The `modkit` command: each subcommand is a few lines over the rooms it calls.

Exit codes: 0 done, 1 a failure that one line on stderr explains, 2 wrong usage. With `--json`, stdout
holds JSON and nothing else. The rooms are imported by the command that needs them, so help is quick.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from modkit.cli import models, mods, persona, play
from modkit.cli.output import complain, put
from modkit.errors import ModkitError, OptionError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit code."""
    try:
        return _main(argv)
    except OptionError as error:
        complain(str(error))
        return 2
    except ModkitError as error:
        complain(str(error))
        return 1
    except BrokenPipeError:  # `modkit persona lines … | head`
        _give_up_stdout()
        return 1
    except OSError as error:  # a full disk behind stdout
        _give_up_stdout()
        complain(f"{error.filename or 'stdout'} cannot be written or read: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        complain("stopped by Ctrl-C")
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
        put(file, message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="modkit", description="Living characters for games.")
    parser.add_argument("--verbose", action="store_true", help="show what the library logs")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (models, play, mods, persona):
        group.add_parsers(commands)
    return parser
